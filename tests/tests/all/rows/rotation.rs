//! A node gets another key, and stays what it was.

use std::path::Path;

use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge};
use serde_json::Value;

use super::{LARDER, lab};

fn row(on: &Node<'_>, id: &str) -> Option<Value> {
    let nodes = on.json(&["nodes"]);
    nodes["nodes"].as_array()?.iter().find(|node| node["id"] == id).cloned()
}

fn state(on: &Node<'_>, id: &str) -> Value {
    row(on, id).map_or(Value::Null, |row| row["state"].clone())
}

fn copy(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    let copied = std::process::Command::new("cp").arg("-a").arg("--").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The node stands where it stood, under another id, and goes on; whoever still has the old key writes to nobody.
#[test]
fn a_node_gets_a_new_key_and_stays_what_it_was() {
    let lab = lab!(3, "a_node_gets_a_new_key_and_stays_what_it_was");
    let mut nodes = cluster(&lab, LARDER);
    let old = nodes[0].id();
    nodes[0].ok(&["alias", &old, "boss"]);
    nodes[0].ok(&["label", "boss", "line=2"]);
    nodes[0].ok(&["set", "config/db", "path=db", "select=line=2", "keys.url=one"]);
    converge(&nodes);
    until(PATIENCE, "it is applied", || nodes[0].data.join("files/db").exists().then_some(()));

    let running = nodes[0].larder(&["rotate"]);
    assert_eq!(running.code, 5, "{}", running.err);
    assert!(running.err.contains("a daemon runs") && running.err.contains("stop it"), "{}", running.err);
    nodes[2].stop();
    let refused = nodes[2].larder(&["rotate"]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(refused.err.contains("only an admin can") && refused.err.contains("shop"), "{}", refused.err);
    nodes[2].start(&["daemon"]);
    until(PATIENCE, "that one to be who it was", || (state(&nodes[2], &old) == "up").then_some(()));

    nodes[0].stop();
    let before = lab.logs().join("before");
    copy(&nodes[0].data, &before);
    let rotated: Value =
        serde_json::from_str(&nodes[0].ok(&["rotate", "-m", "the disk was away", "--json"])).unwrap();
    let new = rotated["new"].as_str().unwrap().to_owned();
    assert_eq!((rotated["old"].as_str(), &rotated["groups"][0]), (Some(old.as_str()), &"shop".into()));
    nodes[0].start(&["daemon"]);
    assert_eq!(nodes[0].id(), new);
    converge(&nodes);
    for node in &nodes {
        until(PATIENCE, "all to see the new one", || (state(node, &new) == "up").then_some(()));
        let row = row(node, &new).unwrap();
        assert_eq!(
            (&row["role"], &row["alias"], &row["labels"]["line"]),
            (&"admin".into(), &"boss".into(), &"2".into())
        );
        assert_eq!(state(node, &old), "left");
    }
    // It writes, is written to, lets in and shuts out, and runs what is meant for it.
    nodes[0].ok(&["set", "config/db", "keys.url=two"]);
    converge(&nodes);
    until(PATIENCE, "it is applied", || nodes[0].file("db").contains("two").then_some(()));
    nodes[1].ok(&["set", "config/db", "keys.by=n1"]);
    converge(&nodes);
    until(PATIENCE, "it is applied", || nodes[0].file("db").contains("by=n1").then_some(()));
    assert_eq!(nodes[0].json(&["conflicts"])["conflicts"].as_array().map(Vec::len), Some(0));
    let log = nodes[1].ok(&["log", "--all", "-n", "0"]);
    assert!(log.contains("the disk was away"), "{log}");
    nodes[0].ok(&["log", "--verify"]);
    nodes[0].ok(&["forget", &old]);
    until(PATIENCE, "it to be forgotten", || (state(&nodes[1], &old) != "left").then_some(()));

    // A copy from before has the old key: it is told that it left, and nobody takes what it writes.
    nodes[0].stop();
    let after = lab.logs().join("after");
    std::fs::rename(&nodes[0].data, &after).unwrap();
    std::fs::rename(&before, &nodes[0].data).unwrap();
    nodes[0].start(&["daemon"]);
    until(PATIENCE, "it to hear", || {
        (nodes[0].larder(&["set", "config/db", "keys.late=1"]).code == 5).then_some(())
    });
    let late = nodes[1].json(&["get", "config/db"]);
    assert_eq!(late["fields"]["keys.late"], Value::Null);
    nodes[0].stop();
    std::fs::remove_dir_all(&nodes[0].data).unwrap();
    std::fs::rename(&after, &nodes[0].data).unwrap();
    nodes[0].start(&["daemon"]);
    nodes[0].ok(&["set", "config/db", "keys.last=1"]);
    converge(&nodes);
}

/// The power goes while the key is changed: the store tells which of the two it is.
#[test]
fn a_rotation_that_stops_halfway_is_ended_or_taken_back() {
    let dir = std::env::temp_dir().join(format!("larder-rotation-{}", std::process::id()));
    let mut node = Node::here(&dir, "alone", LARDER);
    node.start(&["up", "shop", "--no-mdns"]);
    let first = node.id();
    node.stop();
    let (key, next) = (node.data.join("node.key"), node.data.join("node.key.next"));
    let old = std::fs::read(&key).unwrap();

    // Before the store knew: as if nothing had been.
    std::fs::write(&next, format!("larder-key-1 {}\n", "07".repeat(32))).unwrap();
    node.start(&["daemon", "--no-mdns"]);
    assert_eq!(node.id(), first);
    node.stop();
    assert!(!next.exists());

    // After: the next start puts the key in place.
    node.ok(&["rotate"]);
    let new = std::fs::read(&key).unwrap();
    assert_ne!(new, old);
    std::fs::rename(&key, &next).unwrap();
    std::fs::write(&key, &old).unwrap();
    node.start(&["daemon", "--no-mdns"]);
    let second = node.id();
    assert_ne!(second, first);
    assert_eq!((std::fs::read(&key).unwrap(), next.exists()), (new, false));
    node.ok(&["set", "config/db", "keys.url=one"]);
    node.stop();

    // A key that is no key changes nothing, and a node may rotate again and again.
    std::fs::write(&next, "junk").unwrap();
    node.ok(&["rotate"]);
    node.start(&["daemon", "--no-mdns"]);
    assert!(node.id() != second && node.ok(&["get", "config/db", "keys.url"]).contains("one"));
    node.ok(&["set", "config/db", "keys.url=two"]);
    let nowhere = node.larder(&["--data", "/nonexistent", "rotate"]);
    assert_eq!(nowhere.code, 4, "{}", nowhere.err);
    drop(node);
    drop(std::fs::remove_dir_all(dir));
}
