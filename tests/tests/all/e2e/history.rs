//! The history commands: the same on every node, and without idle entries.

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    the_log_is_equal_on_all_nodes_and_draws_branches_and_merges,
    changes_can_be_shown_diffed_and_read_at_an_earlier_time,
    changes_can_be_undone_reverted_restored_and_tagged,
    blame_names_the_author_of_each_field_and_line,
    idle_nodes_write_nothing,
}

fn the_log_is_equal_on_all_nodes_and_draws_branches_and_merges() {
    let lab = Lab::require(3);
    let nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=1", "-m", "the base"]);
    wait_until_converged(&nodes);
    lab.partition(&[&[0], &[1, 2]]);
    wait_until(WAIT_LIMIT, "the cut to be noticed", || {
        let state = |index: usize| nodes[index].run_json(&["sync"])["peers"].to_string();
        (!state(0).contains("in-sync")).then_some(())
    });
    nodes[0].run_ok(&["set", "config/a", "keys.left=1", "-m", "the left"]);
    nodes[1].run_ok(&["set", "config/a", "keys.right=1", "-m", "the right"]);
    lab.heal();
    wait_until_converged(&nodes);
    nodes[2].run_ok(&["set", "config/a", "keys.x=2", "-m", "the join"]);
    wait_until_converged(&nodes);
    for node in &nodes {
        wait_until_applied(node);
    }
    wait_until_converged(&nodes);
    for args in [
        ["log", "-n", "0"].as_slice(),
        &["log", "--graph", "--ascii", "-n", "0"],
        &["log", "--all", "-n", "0", "-p"],
    ] {
        let logs: Vec<String> = nodes.iter().map(|node| node.run_ok(args)).collect();
        assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "{args:?}:\n{}\n{}", logs[0], logs[1]);
    }
    let graph = nodes[1].run_ok(&["log", "--graph", "--ascii"]);
    let lanes: Vec<&str> = graph
        .lines()
        .map(|line| {
            line.split_at(line.find(|c: char| !"*|\\/ ".contains(c)).unwrap_or(line.len())).0.trim_end()
        })
        .collect();
    let picture = lanes.join("\n");
    assert!(picture.contains("*\n|\\\n* |\n| |\n| *\n|/\n*"), "{graph}");
    let log = nodes[0].run_json(&["log"]);
    assert!(log["changes"].as_array().unwrap().iter().all(|change| change["verified"] == true));
    assert_eq!(log["changes"][0]["message"], "the join");
    assert_eq!(log["changes"][0]["deps"].as_array().unwrap().len(), 2);
}

fn changes_can_be_shown_diffed_and_read_at_an_earlier_time() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    let write = |args: &[&str]| node.run_json(args)["change"].as_str().unwrap().to_owned();
    let first = write(&["set", "config/a", "path=a", "keys.x=secret-one", "keys.y=1"]);
    let second = write(&["set", "config/a", "keys.x=secret-two", "-m", "why not"]);
    let third = write(&["unset", "config/a", "keys.y"]);
    let show = node.run_json(&["show", &second[..12]])["change"].clone();
    assert_eq!((&show["message"], &show["verified"]), (&"why not".into(), &true.into()));
    assert_eq!(show["command"], "set config/a keys.x=...");
    assert_eq!(
        (&show["edits"][0]["old"], &show["edits"][0]["new"]),
        (&"secret-one".into(), &"secret-two".into())
    );
    assert_eq!(node.run_json(&["show", "config/a"])["change"]["id"], third.as_str());
    let diff = node.run_json(&["diff", &format!("{}..{}", &first[..10], &third[..10])]);
    let edits = diff["edits"].as_array().unwrap();
    assert_eq!(edits.len(), 2, "{diff}");
    assert_eq!(
        (&edits[0]["field"], &edits[0]["old"], &edits[0]["new"]),
        (&"keys.x".into(), &"secret-one".into(), &"secret-two".into())
    );
    assert_eq!(
        (&edits[1]["field"], &edits[1]["op"], &edits[1]["new"]),
        (&"keys.y".into(), &"unset".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        node.run_json(&["diff", "--since", "1h ago"])["edits"].as_array().unwrap().len(),
        node.run_json(&["diff"])["edits"].as_array().unwrap().len()
    );
    assert_eq!(node.run_ok(&["get", "config/a", "keys.x", "--at", &first]), "secret-one\n");
    assert!(node.run_ok(&["export", "--at", &second[..9]]).contains("secret-two"));
    assert_eq!(node.run_ok(&["list", "--at", "2h ago"]), "");
    for args in [
        ["show", "ffffffffffff"].as_slice(),
        &["show", "config/none"],
        &["get", "config/a", "--at", "zz"],
        &["diff", "nothing..here"],
        &["show", "not/a/name"],
    ] {
        let ran = node.run_larder(args);
        assert_eq!(ran.exit_code, 4, "{args:?}: {}", ran.stderr);
    }
    let ambiguous = node.run_larder(&["show", ""]);
    assert_eq!(ambiguous.exit_code, 4, "{}", ambiguous.stderr);
    // The daemon's log contains no values.
    assert!(!node.read_log().contains("secret-"));
}

fn changes_can_be_undone_reverted_restored_and_tagged() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    let [here, there] = &nodes[..] else { panic!("two") };
    let write =
        |node: &TestNode<'_>, args: &[&str]| node.run_json(args)["change"].as_str().unwrap().to_owned();
    let field_output = |node: &TestNode<'_>, field: &str| node.run_larder(&["get", "config/a", field]).stdout;
    write(here, &["set", "config/a", "path=a", "keys.x=1", "keys.y=1"]);
    wait_until_converged(&nodes);
    here.run_ok(&["tag", "good", "-m", "it ran"]);
    wait_until_converged(&nodes);
    let wrong = write(there, &["set", "config/a", "keys.x=2", "keys.z=2", "-m", "try two"]);
    wait_until_converged(&nodes);
    write(here, &["set", "config/a", "keys.y=3"]);
    wait_until_converged(&nodes);
    // A node reverts a change of another node. Later changes stay.
    let reverted = write(here, &["revert", &wrong[..9]]);
    wait_until_converged(&nodes);
    let shown = there.run_json(&["show", &reverted])["change"].clone();
    assert_eq!(shown["message"], format!("reverts {}: try two", &wrong[..7]));
    assert_eq!((field_output(there, "keys.x").trim(), field_output(there, "keys.y").trim()), ("1", "3"));
    assert_eq!(there.run_larder(&["get", "config/a", "keys.z"]).exit_code, 4);
    // `undo` takes back this node's own changes only.
    write(there, &["set", "config/a", "keys.y=4"]);
    assert_eq!(there.run_json(&["undo"])["sources"].as_array().unwrap().len(), 1);
    assert_eq!(field_output(there, "keys.y").trim(), "3");
    let over = there.run_larder(&["undo"]);
    assert_eq!(
        (over.exit_code, field_output(there, "keys.y").trim()),
        (0, "3"),
        "{}: all is so already",
        over.stderr
    );
    // If another change overwrote one of the fields, the whole revert is refused.
    let mine = write(there, &["set", "config/a", "keys.x=5", "keys.w=5"]);
    wait_until_converged(&nodes);
    write(here, &["set", "config/a", "keys.x=6"]);
    wait_until_converged(&nodes);
    let refused = there.run_larder(&["revert", &mine]);
    assert_eq!(refused.exit_code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("config/a keys.x by "), "{}", refused.stderr);
    assert_eq!(field_output(there, "keys.w").trim(), "5");
    // A restore to the tag, first as a dry run. Every node knows the tag.
    let dry_run = there.run_json(&["restore", "config/a", "--at", "good", "--dry-run"]);
    assert_eq!(
        (dry_run["edits"].as_array().unwrap().len(), &dry_run["change"]),
        (3, &serde_json::Value::Null)
    );
    there.run_ok(&["restore", "config/a", "--at", "good"]);
    wait_until_converged(&nodes);
    assert_eq!((field_output(here, "keys.x").trim(), field_output(here, "keys.y").trim()), ("1", "1"));
    assert_eq!(here.run_json(&["diff", "good..", "config/a"])["edits"].as_array().unwrap().len(), 0);
    assert_eq!(here.run_json(&["tag"])["tags"][0]["message"], "it ran");
    for (args, code) in [
        (["tag", "good"].as_slice(), 5),
        (&["tag", "-d", "none"], 4),
        (&["tag", "2026-01-01"], 2),
        (&["restore"], 2),
        (&["restore", "--at", "never"], 4),
        (&["restore", "config/none", "--at", "good"], 4),
        (&["revert", "ffffffff"], 4),
        (&["set", "tag/x", "heads=1"], 2),
    ] {
        let ran = here.run_larder(args);
        assert_eq!(ran.exit_code, code, "{args:?}: {}", ran.stderr);
    }
}

fn blame_names_the_author_of_each_field_and_line() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    let write = |index: usize, fields: &[&str]| {
        let args: Vec<&str> = ["set", "file/motd"].iter().chain(fields).copied().collect();
        let id = nodes[index].run_json(&args)["change"].as_str().unwrap().to_owned();
        wait_until_converged(&nodes);
        id
    };
    let first = write(0, &["path=motd", "content=one\ntwo\nthree\n"]);
    let second = write(1, &["content=one\nTWO\nthree\nfour\n", "mode=0644"]);
    let text = |line: &serde_json::Value| line["text"].as_str().unwrap().to_owned();
    for node in &nodes {
        let blame = node.run_json(&["blame", "file/motd"]);
        assert_eq!((&blame["schema"], &blame["resource"]), (&"larder.blame/1".into(), &"file/motd".into()));
        let fields = blame["fields"].as_array().unwrap();
        let field_named = |name: &str| fields.iter().find(|field| field["field"] == name).unwrap();
        let brief = |field: &serde_json::Value| {
            let part = |name: &str| field[name].as_str().unwrap().to_owned();
            (part("change"), field["node"]["alias"].as_str().unwrap().to_owned())
        };
        assert_eq!(brief(field_named("path")), (first.clone(), "n0".to_owned()));
        assert_eq!(brief(field_named("mode")), (second.clone(), "n1".to_owned()));
        let lines = field_named("content")["lines"].as_array().unwrap();
        assert_eq!(lines.iter().map(text).collect::<Vec<_>>(), ["one", "TWO", "three", "four"]);
        let whose: Vec<String> = lines.iter().map(|line| brief(line).1).collect();
        assert_eq!(whose, ["n0", "n1", "n0", "n1"]);
    }
    let shown = nodes[0].run_ok(&["blame", "file/motd", "content"]);
    let rows: Vec<&str> = shown.lines().collect();
    assert_eq!(rows.len(), 5, "{shown}");
    assert!(rows[0].starts_with(&second[..7]) && rows[0].ends_with("@n1  content:"), "{shown}");
    assert!(rows[1].starts_with(&first[..7]) && rows[1].ends_with("@n0    1  one"), "{shown}");
    assert!(rows[2].starts_with(&second[..7]) && rows[2].ends_with("@n1    2  TWO"), "{shown}");
    let then = nodes[0].run_json(&["blame", "file/motd", "--at", &first]);
    assert_eq!(then["fields"].as_array().unwrap().len(), 2, "{then}");
    for args in [["blame", "file/none"].as_slice(), &["blame", "nothing"], &["blame", "file/motd", "owner"]] {
        assert_eq!(nodes[0].run_larder(args).exit_code, 4, "{args:?}");
    }
    // A difference of texts is shown by lines, with context.
    let diff = nodes[0].run_ok(&["diff", &format!("{}..{}", &first[..10], &second[..10])]);
    let hunk = "@@ -1,3 +1,4 @@\n     one\n    -two\n    +TWO\n     three\n    +four\n";
    assert!(diff.contains(hunk), "{diff}");
    assert!(nodes[1].run_ok(&["show", &second]).contains(hunk));
    assert!(nodes[1].run_ok(&["log", "-p", "-n", "1"]).contains("        -two\n        +TWO\n"));
    let manifest = "[file.motd]\ncontent = \"one\\nTWO\\nfour\\n\"\n";
    let plan = nodes[1].run_larder_with_stdin(&["plan", "-"], manifest).stdout;
    assert!(plan.contains("    content") && plan.contains("\n    -three\n     four\n"), "{plan}");
}

/// Waits until `node` received another presence message of every other node.
fn wait_for_presence_of_all(node: &TestNode<'_>) {
    let last_heard = || -> Vec<Value> {
        let rows = node.run_json(&["nodes"])["nodes"].as_array().cloned().unwrap_or_default();
        rows.iter().filter(|row| row["self"] != true).map(|row| row["heard"].clone()).collect()
    };
    let before = last_heard();
    wait_until(WAIT_LIMIT, "a presence message of every node", || {
        last_heard().iter().zip(&before).all(|(now, before)| now != before).then_some(())
    });
}

fn idle_nodes_write_nothing() {
    let lab = Lab::require(5);
    let nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=1"]);
    for node in &nodes {
        wait_until_applied(node);
    }
    wait_until_converged(&nodes);
    let all = |index: usize| {
        nodes[index].run_json(&["log", "--all", "-n", "0"])["changes"].as_array().unwrap().len()
    };
    let (before, digest) = (all(0), nodes[0].digest());
    // Presence is the slowest of all periodic timers: after a few rounds each timer ran.
    let rounds = if std::env::var_os("LARDER_LONG").is_some() { 100 } else { 3 };
    for _ in 0..rounds {
        wait_for_presence_of_all(&nodes[0]);
    }
    assert_eq!((all(0), nodes[0].digest()), (before, digest));
}
