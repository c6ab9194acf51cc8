//! What can be said of the past and be checked: signatures, clocks, and what machines run of what was wanted.

use larder::store::Store;
use larder_core::delta::Delta;
use larder_core::group::Group;
use larder_core::id::{ChangeId, GroupId};
use larder_core::store::{GroupRow, Row, Rows, SnapshotBody, SnapshotRow, Table, key, layout};
use larder_core::value::Value;
use larder_tests::clock::Clock;
use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge, settle};

use super::{LARDER, lab};

/// A node of its own, in a group of its own.
fn alone(name: &str) -> (std::path::PathBuf, Node<'static>) {
    let dir = std::env::temp_dir().join(format!("larder-{name}-{}", std::process::id()));
    let node = Node::here(&dir, name, LARDER);
    (dir, node)
}

const UP: [&str; 5] = ["up", "shop", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];

fn write(node: &Node<'_>, args: &[&str]) -> String {
    node.json(args)["change"].as_str().unwrap().to_owned()
}

/// Puts another value into a stored change, and a snapshot in front of it, so that no start reads the change again.
fn tamper(store: &Store, id: &str) {
    let (group, row) = store.rows(Table::Groups, &[]).unwrap().pop().unwrap();
    let id_of_group = GroupId::from_slice(&group).unwrap();
    let genesis = layout::<GroupRow>(&row).unwrap().genesis;
    let loaded = Group::load(store, id_of_group, genesis).unwrap();
    let shard = loaded.desired().unwrap();
    let chains = shard.graph().chains().map(|chain| (chain.grant, chain.incarnation, chain.len())).collect();
    let body = SnapshotBody { chains, heads: shard.graph().heads(), document: shard.document().save() };
    let place = key::epoch(id_of_group, shard.root().epoch());
    let mut rows = vec![Row::put_layout(Table::Snapshots, place, &SnapshotRow::seal(&body))];
    for (key, value) in store.rows(Table::Changes, &group).unwrap() {
        if ChangeId::from_slice(&key[56..]).unwrap().to_string() == id {
            let mut delta = Delta::decode(&value).unwrap();
            delta.puts[0].value = Value::from("9.99");
            rows.push(Row::put(Table::Changes, key, delta.encode()));
        }
    }
    assert_eq!(rows.len(), 2, "the change is found");
    store.commit(&rows).unwrap();
}

#[test]
fn a_store_that_was_tampered_with_is_named() {
    let (dir, mut node) = alone("verify");
    node.start(&UP);
    write(&node, &["set", "config/a", "path=a", "keys.price=1.00"]);
    let second = write(&node, &["set", "config/a", "keys.price=2.00"]);
    write(&node, &["set", "config/a", "keys.price=3.00"]);
    settle(&node);
    let found = node.json(&["log", "--verify"]);
    let all = node.json(&["log", "--all", "-n", "0"])["changes"].as_array().unwrap().len() as u64;
    assert_eq!(found["schema"], "larder.verify/1");
    assert_eq!(found["changes"].as_u64().unwrap() + found["records"].as_u64().unwrap(), all, "{found}");
    assert!(found["changes"].as_u64().unwrap() >= 4, "what was observed is looked at too: {found}");
    assert_eq!(found["failed"].as_array().unwrap().len(), 0);
    let ran = node.larder(&["log", "--verify"]);
    assert!(ran.out.ends_with("every one as its author signed it\n") && ran.err.is_empty(), "{ran:?}");
    node.stop();
    let store = Store::open(&node.data.join("store.redb")).unwrap();
    tamper(&store, &second);
    drop(store);
    node.start(&["daemon", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert_eq!(node.ok(&["get", "config/a", "keys.price"]), "3.00\n");
    let ran = node.larder(&["log", "--verify"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains(&second) && ran.out.ends_with("1 failure\n"), "{ran:?}");
    let ran = node.larder(&["log", "--verify", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &found["failed"][0]["id"]), (1, &second.into()));
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn a_time_says_which_changes_it_stands_for() {
    let (dir, mut node) = alone("moment");
    node.start(&UP);
    let change = write(&node, &["set", "config/a", "path=a", "keys.x=1"]);
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
        let at = |time: &str| node.larder(&[args, &["--at", time]].concat());
        let (now, named) = (at("now"), at(&change));
        let told = format!("now: as of change {}\n", &change[..7]);
        assert!(now.err.contains(&told), "{args:?}: {}", now.err);
        assert!(!named.err.contains("as of"), "{args:?}: {}", named.err);
        assert_eq!(now.out, named.out, "{args:?}");
        let json = node.json(&[args, &["--at", "now"]].concat());
        assert_eq!(json["at"], serde_json::json!([change]), "{args:?}");
    }
    let early = node.larder(&["list", "--at", "2h ago"]);
    assert!(early.err.contains("2h ago: before the first change"), "{}", early.err);
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn a_clock_that_disagrees_is_marked() {
    let (dir, mut node) = alone("clockwise");
    let Some(clock) = Clock::or_skip(&dir, "clockwise", "a_clock_that_disagrees_is_marked") else { return };
    node.env = clock.env();
    node.start(&UP);
    let right = write(&node, &["set", "config/a", "path=a", "keys.x=1"]);
    clock.step("+1d");
    let ahead = write(&node, &["set", "config/a", "keys.x=2"]);
    clock.step("+0");
    let behind = write(&node, &["set", "config/a", "keys.x=3"]);
    let after = write(&node, &["set", "config/a", "keys.x=4"]);
    let log = node.json(&["log"]);
    let said = |id: &str| {
        let row = log["changes"].as_array().unwrap().iter().find(|row| row["id"] == *id).unwrap();
        row["clock"].as_str().map(str::to_owned)
    };
    let told = [&right, &ahead, &behind, &after].map(|id| said(id));
    assert_eq!(told, [None, Some("ahead".to_owned()), Some("behind".to_owned()), None], "{log}");
    let marked: Vec<String> =
        node.ok(&["log"]).lines().filter(|line| line.contains(" (clock?) ")).map(str::to_owned).collect();
    assert_eq!(marked.len(), 2, "{marked:?}");
    assert!(marked[0].starts_with(&behind[..7]) && marked[1].starts_with(&ahead[..7]), "{marked:?}");
    assert!(node.ok(&["show", &behind]).contains("(clock? it is earlier than what this was built on)"));
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn what_nodes_run_is_compared_with_what_is_wanted() {
    let lab = lab!(2, "what_nodes_run_is_compared_with_what_is_wanted");
    let mut nodes = cluster(&lab, LARDER);
    let first = write(&nodes[0], &["set", "file/motd", "path=motd", "content=one\ntwo\n"]);
    converge(&nodes);
    nodes.iter().for_each(settle);
    converge(&nodes);
    let nothing = nodes[0].larder(&["diff", "--nodes"]);
    assert_eq!((nothing.out.as_str(), nothing.code), ("", 0));
    assert!(nothing.err.contains("Every node runs what is wanted."), "{}", nothing.err);
    nodes[1].stop();
    let second = write(&nodes[0], &["set", "file/motd", "content=one\nTWO\n", "mode=0644"]);
    until(PATIENCE, "n0 applied it", || {
        let rows = nodes[0].json(&["status", "file/motd"])["resources"][0]["nodes"].clone();
        rows.as_array()?.iter().any(|row| row["alias"] == "n0" && row["state"] == "applied").then_some(())
    });
    let diff = nodes[0].json(&["diff", "--nodes", "file/motd"]);
    assert_eq!(diff["schema"], "larder.nodediff/1");
    let row = &diff["resources"][0];
    assert_eq!((&row["resource"], &row["wanted"]), (&"file/motd".into(), &second.clone().into()));
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
    let text = nodes[0].ok(&["diff", "--nodes"]);
    assert!(text.starts_with("file/motd on n1  pending"), "{text}");
    assert!(text.contains(&format!("runs {}, wanted {}", &first[..7], &second[..7])), "{text}");
    assert!(text.contains("\n    -two\n    +TWO\n"), "{text}");
    // What could not be applied anywhere was applied by nobody.
    nodes[0].ok(&["set", "file/shadow", "path=/etc/shadow", "content=x"]);
    until(PATIENCE, "it is blocked here", || {
        let diff = nodes[0].json(&["diff", "--nodes", "file/shadow"]);
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
        assert_eq!(nodes[0].larder(args).code, code, "{args:?}");
    }
}
