//! Key rotation: a node gets another key and keeps its role, alias and labels.

use std::path::{Path, PathBuf};

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    a_node_with_a_rotated_key_keeps_role_alias_and_labels,
    an_interrupted_rotation_is_completed_or_rolled_back,
}

fn node_row(on: &TestNode<'_>, id: &str) -> Option<Value> {
    let nodes = on.run_json(&["nodes"]);
    nodes["nodes"].as_array()?.iter().find(|node| node["id"] == id).cloned()
}

fn node_state(on: &TestNode<'_>, id: &str) -> Value {
    node_row(on, id).map_or(Value::Null, |row| row["state"].clone())
}

fn copy_dir(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    let copied = std::process::Command::new("cp").arg("-a").arg("--").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Starts a copy of the data directory with the old key. The copy learns that its grant ended, and no member
/// accepts its writes. Returns the path to which the current data directory was moved.
fn assert_copy_with_old_key_is_excluded(lab: &Lab, nodes: &mut [TestNode<'_>], copy: &Path) -> PathBuf {
    nodes[0].stop();
    let after = lab.log_dir().join("after");
    std::fs::rename(&nodes[0].data_dir, &after).unwrap();
    std::fs::rename(copy, &nodes[0].data_dir).unwrap();
    nodes[0].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "it to hear", || {
        (nodes[0].run_larder(&["set", "config/db", "keys.late=1"]).exit_code == 5).then_some(())
    });
    let late = nodes[1].run_json(&["get", "config/db"]);
    assert_eq!(late["fields"]["keys.late"], Value::Null);
    after
}

/// The node keeps its role, alias and labels under a new id. A copy with the old key cannot write.
fn a_node_with_a_rotated_key_keeps_role_alias_and_labels() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    let old = nodes[0].id();
    nodes[0].run_ok(&["alias", &old, "boss"]);
    nodes[0].run_ok(&["label", "boss", "line=2"]);
    nodes[0].run_ok(&["set", "config/db", "path=db", "select=line=2", "keys.url=one"]);
    wait_until_converged(&nodes);
    wait_until(WAIT_LIMIT, "it is applied", || nodes[0].data_dir.join("files/db").exists().then_some(()));

    let running = nodes[0].run_larder(&["rotate"]);
    assert_eq!(running.exit_code, 5, "{}", running.stderr);
    assert!(
        running.stderr.contains("a daemon uses") && running.stderr.contains("stop it"),
        "{}",
        running.stderr
    );
    nodes[2].stop();
    let refused = nodes[2].run_larder(&["rotate"]);
    assert_eq!(refused.exit_code, 5, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("only an admin can") && refused.stderr.contains("shop"),
        "{}",
        refused.stderr
    );
    nodes[2].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "that one to be who it was", || {
        (node_state(&nodes[2], &old) == "up").then_some(())
    });

    nodes[0].stop();
    let before = lab.log_dir().join("before");
    copy_dir(&nodes[0].data_dir, &before);
    let rotated: Value =
        serde_json::from_str(&nodes[0].run_ok(&["rotate", "-m", "the disk was away", "--json"])).unwrap();
    let new = rotated["new"].as_str().unwrap().to_owned();
    assert_eq!((rotated["old"].as_str(), &rotated["groups"][0]), (Some(old.as_str()), &"shop".into()));
    nodes[0].start(&["daemon"]);
    assert_eq!(nodes[0].id(), new);
    wait_until_converged(&nodes);
    for node in &nodes {
        wait_until(WAIT_LIMIT, "all to see the new one", || (node_state(node, &new) == "up").then_some(()));
        let row = node_row(node, &new).unwrap();
        assert_eq!(
            (&row["role"], &row["alias"], &row["labels"]["line"]),
            (&"admin".into(), &"boss".into(), &"2".into())
        );
        assert_eq!(node_state(node, &old), "left");
    }
    // The node writes, receives writes, changes membership records, and applies what is selected for it.
    nodes[0].run_ok(&["set", "config/db", "keys.url=two"]);
    wait_until_converged(&nodes);
    wait_until(WAIT_LIMIT, "it is applied", || nodes[0].read_file("db").contains("two").then_some(()));
    nodes[1].run_ok(&["set", "config/db", "keys.by=n1"]);
    wait_until_converged(&nodes);
    wait_until(WAIT_LIMIT, "it is applied", || nodes[0].read_file("db").contains("by=n1").then_some(()));
    assert_eq!(nodes[0].run_json(&["conflicts"])["conflicts"].as_array().map(Vec::len), Some(0));
    let log = nodes[1].run_ok(&["log", "--all", "-n", "0"]);
    assert!(log.contains("the disk was away"), "{log}");
    nodes[0].run_ok(&["log", "--verify"]);
    nodes[0].run_ok(&["forget", &old]);
    wait_until(WAIT_LIMIT, "it to be forgotten", || (node_state(&nodes[1], &old) != "left").then_some(()));

    let after = assert_copy_with_old_key_is_excluded(&lab, &mut nodes, &before);
    nodes[0].stop();
    std::fs::remove_dir_all(&nodes[0].data_dir).unwrap();
    std::fs::rename(&after, &nodes[0].data_dir).unwrap();
    nodes[0].start(&["daemon"]);
    nodes[0].run_ok(&["set", "config/db", "keys.last=1"]);
    wait_until_converged(&nodes);
}

/// The power fails during a rotation. The store decides which of the two keys is valid.
fn an_interrupted_rotation_is_completed_or_rolled_back() {
    let dir = std::env::temp_dir().join(format!("larder-rotation-{}", std::process::id()));
    let mut node = TestNode::without_host(&dir, "alone", LARDER);
    node.start(&["up", "shop", "--no-mdns"]);
    let first = node.id();
    node.stop();
    let (key, next) = (node.data_dir.join("node.key"), node.data_dir.join("node.key.next"));
    let old = std::fs::read(&key).unwrap();

    // If the store does not know the new key, the rotation is rolled back.
    std::fs::write(&next, format!("larder-key-1 {}\n", "07".repeat(32))).unwrap();
    node.start(&["daemon", "--no-mdns"]);
    assert_eq!(node.id(), first);
    node.stop();
    assert!(!next.exists());

    // If the store knows the new key, the next start puts it in place.
    node.run_ok(&["rotate"]);
    let new = std::fs::read(&key).unwrap();
    assert_ne!(new, old);
    std::fs::rename(&key, &next).unwrap();
    std::fs::write(&key, &old).unwrap();
    node.start(&["daemon", "--no-mdns"]);
    let second = node.id();
    assert_ne!(second, first);
    assert_eq!((std::fs::read(&key).unwrap(), next.exists()), (new, false));
    node.run_ok(&["set", "config/db", "keys.url=one"]);
    node.stop();

    // An invalid key file changes nothing, and a node can rotate again.
    std::fs::write(&next, "junk").unwrap();
    node.run_ok(&["rotate"]);
    node.start(&["daemon", "--no-mdns"]);
    assert!(node.id() != second && node.run_ok(&["get", "config/db", "keys.url"]).contains("one"));
    node.run_ok(&["set", "config/db", "keys.url=two"]);
    let nowhere = node.run_larder(&["--data", "/nonexistent", "rotate"]);
    assert_eq!(nowhere.exit_code, 4, "{}", nowhere.stderr);
    drop(node);
    drop(std::fs::remove_dir_all(dir));
}
