//! Verified history: signatures, clocks, and the revisions that hosts applied.

use larder::store::Store;
use larder_core::delta::Delta;
use larder_core::group::Group;
use larder_core::id::{ChangeId, GroupId};
use larder_core::store::{GroupRow, Row, RowReader, SnapshotBody, SnapshotRow, Table, decode_layout, key};
use larder_core::value::Value;
use larder_tests::fake_clock::FakeClock;
use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};

use super::LARDER;

tests! {
    verify_names_a_tampered_change,
    a_time_argument_reports_the_changes_it_resolves_to,
    changes_written_by_a_wrong_clock_are_marked,
    node_diff_compares_applied_with_desired_state,
}

/// A node without a network, in a group of its own.
fn new_isolated_node(name: &str) -> (std::path::PathBuf, TestNode<'static>) {
    let dir = std::env::temp_dir().join(format!("larder-{name}-{}", std::process::id()));
    let node = TestNode::without_host(&dir, name, LARDER);
    (dir, node)
}

const UP_ARGS: [&str; 5] = ["up", "shop", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];

fn run_write(node: &TestNode<'_>, args: &[&str]) -> String {
    node.run_json(args)["change"].as_str().unwrap().to_owned()
}

/// Changes a value in a stored change. Adds a snapshot after it, so that no start reads the change again.
fn tamper_with_change(store: &Store, id: &str) {
    let (group, row) = store.read_rows(Table::Groups, &[]).unwrap().pop().unwrap();
    let id_of_group = GroupId::from_slice(&group).unwrap();
    let genesis = decode_layout::<GroupRow>(&row).unwrap().genesis;
    let loaded = Group::load(store, id_of_group, genesis).unwrap();
    let shard = loaded.desired().unwrap();
    let chains = shard.graph().chains().map(|chain| (chain.grant, chain.incarnation, chain.len())).collect();
    let body = SnapshotBody { chains, heads: shard.graph().heads(), document: shard.document().save() };
    let snapshot_key = key::for_shard(id_of_group, shard.root().shard_id());
    let mut rows = vec![Row::put_encoded(Table::Snapshots, snapshot_key, &SnapshotRow::seal(&body))];
    for (key, value) in store.read_rows(Table::Changes, &group).unwrap() {
        if ChangeId::from_slice(&key[56..]).unwrap().to_string() == id {
            let mut delta = Delta::decode(&value).unwrap();
            delta.puts[0].value = Value::from("9.99");
            rows.push(Row::put(Table::Changes, key, delta.encode()));
        }
    }
    assert_eq!(rows.len(), 2, "the change is found");
    store.commit(&rows).unwrap();
}

fn verify_names_a_tampered_change() {
    let (dir, mut node) = new_isolated_node("verify");
    node.start(&UP_ARGS);
    run_write(&node, &["set", "config/a", "path=a", "keys.price=1.00"]);
    let second = run_write(&node, &["set", "config/a", "keys.price=2.00"]);
    run_write(&node, &["set", "config/a", "keys.price=3.00"]);
    wait_until_applied(&node);
    let found = node.run_json(&["log", "--verify"]);
    let all = node.run_json(&["log", "--all", "-n", "0"])["changes"].as_array().unwrap().len() as u64;
    assert_eq!(found["schema"], "larder.verify/1");
    assert_eq!(found["changes"].as_u64().unwrap() + found["records"].as_u64().unwrap(), all, "{found}");
    assert!(found["changes"].as_u64().unwrap() >= 4, "what was observed is looked at too: {found}");
    assert_eq!(found["failed"].as_array().unwrap().len(), 0);
    let ran = node.run_larder(&["log", "--verify"]);
    assert!(ran.stdout.ends_with("all signatures are valid\n") && ran.stderr.is_empty(), "{ran:?}");
    node.stop();
    let store = Store::open(&node.data_dir.join("store.redb")).unwrap();
    tamper_with_change(&store, &second);
    drop(store);
    node.start(&["daemon", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert_eq!(node.run_ok(&["get", "config/a", "keys.price"]), "3.00\n");
    let ran = node.run_larder(&["log", "--verify"]);
    assert_eq!(ran.exit_code, 1, "{ran:?}");
    assert!(ran.stdout.contains(&second) && ran.stdout.ends_with("1 failure\n"), "{ran:?}");
    let ran = node.run_larder(&["log", "--verify", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.exit_code, &found["failed"][0]["id"]), (1, &second.into()));
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

fn a_time_argument_reports_the_changes_it_resolves_to() {
    let (dir, mut node) = new_isolated_node("moment");
    node.start(&UP_ARGS);
    let change = run_write(&node, &["set", "config/a", "path=a", "keys.x=1"]);
    for args in [
        ["list"].as_slice(),
        &["get", "config/a"],
        &["get", "config/a", "keys.x"],
        &["export"],
        &["conflicts"],
        &["log"],
        &["show", "config/a"],
        &["diff"],
        &["blame", "config/a"],
    ] {
        let run_at = |time: &str| node.run_larder(&[args, &["--at", time]].concat());
        let (now, named) = (run_at("now"), run_at(&change));
        let resolution_note = format!("now: as of change {}\n", &change[..7]);
        assert!(now.stderr.contains(&resolution_note), "{args:?}: {}", now.stderr);
        assert!(!named.stderr.contains("as of"), "{args:?}: {}", named.stderr);
        assert_eq!(now.stdout, named.stdout, "{args:?}");
        let json = node.run_json(&[args, &["--at", "now"]].concat());
        assert_eq!(json["at"], serde_json::json!([change]), "{args:?}");
    }
    let early = node.run_larder(&["list", "--at", "2h ago"]);
    assert!(early.stderr.contains("2h ago: before the first change"), "{}", early.stderr);
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

fn changes_written_by_a_wrong_clock_are_marked() {
    let (dir, mut node) = new_isolated_node("clockwise");
    let clock = FakeClock::require(&dir, "clockwise");
    node.env = clock.env();
    node.start(&UP_ARGS);
    let right = run_write(&node, &["set", "config/a", "path=a", "keys.x=1"]);
    clock.set_offset("+1d");
    let ahead = run_write(&node, &["set", "config/a", "keys.x=2"]);
    clock.set_offset("+0");
    let behind = run_write(&node, &["set", "config/a", "keys.x=3"]);
    let after = run_write(&node, &["set", "config/a", "keys.x=4"]);
    let log = node.run_json(&["log"]);
    let clock_mark = |id: &str| {
        let row = log["changes"].as_array().unwrap().iter().find(|row| row["id"] == *id).unwrap();
        row["clock"].as_str().map(str::to_owned)
    };
    let marks = [&right, &ahead, &behind, &after].map(|id| clock_mark(id));
    assert_eq!(marks, [None, Some("ahead".to_owned()), Some("behind".to_owned()), None], "{log}");
    let marked: Vec<String> =
        node.run_ok(&["log"]).lines().filter(|line| line.contains(" (clock?) ")).map(str::to_owned).collect();
    assert_eq!(marked.len(), 2, "{marked:?}");
    assert!(marked[0].starts_with(&behind[..7]) && marked[1].starts_with(&ahead[..7]), "{marked:?}");
    assert!(node.run_ok(&["show", &behind]).contains("(clock? earlier than the changes it builds on)"));
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

fn node_diff_compares_applied_with_desired_state() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    let first = run_write(&nodes[0], &["set", "file/motd", "path=motd", "content=one\ntwo\n"]);
    wait_until_converged(&nodes);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    let nothing = nodes[0].run_larder(&["diff", "--nodes"]);
    assert_eq!((nothing.stdout.as_str(), nothing.exit_code), ("", 0));
    assert!(nothing.stderr.contains("Every node has applied its desired state."), "{}", nothing.stderr);
    nodes[1].stop();
    let second = run_write(&nodes[0], &["set", "file/motd", "content=one\nTWO\n", "mode=0644"]);
    wait_until(WAIT_LIMIT, "n0 applied it", || {
        let rows = nodes[0].run_json(&["status", "file/motd"])["resources"][0]["nodes"].clone();
        rows.as_array()?.iter().any(|row| row["alias"] == "n0" && row["state"] == "applied").then_some(())
    });
    let diff = nodes[0].run_json(&["diff", "--nodes", "file/motd"]);
    assert_eq!(diff["schema"], "larder.nodediff/1");
    let row = &diff["resources"][0];
    assert_eq!((&row["resource"], &row["newest_change"]), (&"file/motd".into(), &second.clone().into()));
    let lags = row["nodes"].as_array().unwrap();
    assert_eq!(lags.len(), 1, "{diff}");
    assert_eq!(
        (&lags[0]["alias"], &lags[0]["state"], &lags[0]["exact"]),
        (&"n1".into(), &"pending".into(), &true.into())
    );
    assert!(first.starts_with(lags[0]["applied"].as_str().unwrap()), "{diff}");
    let fields: Vec<&str> =
        lags[0]["edits"].as_array().unwrap().iter().filter_map(|edit| edit["field"].as_str()).collect();
    assert_eq!(fields, ["content", "mode"], "{diff}");
    let text = nodes[0].run_ok(&["diff", "--nodes"]);
    assert!(text.starts_with("file/motd on n1  pending"), "{text}");
    assert!(text.contains(&format!("applied {}, desired {}", &first[..7], &second[..7])), "{text}");
    assert!(text.contains("\n    -two\n    +TWO\n"), "{text}");
    // A resource that is blocked on every host has no applied revision.
    nodes[0].run_ok(&["set", "file/shadow", "path=/etc/shadow", "content=x"]);
    wait_until(WAIT_LIMIT, "it is blocked here", || {
        let diff = nodes[0].run_json(&["diff", "--nodes", "file/shadow"]);
        let lag = diff["resources"][0]["nodes"].as_array()?.iter().find(|lag| lag["alias"] == "n0")?.clone();
        (lag["state"] == "blocked" && lag["applied"].is_null() && lag["edits"].as_array()?.len() == 2)
            .then_some(())
    });
    for (args, code) in [
        (["diff", "--nodes", "file/none"].as_slice(), 4),
        (&["diff", "--nodes", "a..b"], 2),
        (&["diff", "--nodes", "--since", "1h ago"], 2),
        (&["diff", "--nodes", "--at", "now"], 2),
        (&["log", "--verify", "--graph"], 2),
    ] {
        assert_eq!(nodes[0].run_larder(args).exit_code, code, "{args:?}");
    }
}
