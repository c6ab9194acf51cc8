//! Partitions: both sides work on, and what they did is merged.

use std::time::Duration;

use larder_tests::lab::{Lab, until};
use larder_tests::node::{Node, PATIENCE, cluster, converge, settle};
use serde_json::Value;

use super::{LARDER, lab};

/// Cuts host 0 off from the others, and waits until it knows.
fn cut(lab: &Lab, nodes: &[Node<'_>]) {
    let others: Vec<usize> = (1..lab.hosts().len()).collect();
    lab.split(&[&[0], &others]);
    until(PATIENCE, "the cut to be noticed", || {
        let peers = nodes[0].json(&["sync"])["peers"].as_array().cloned().unwrap_or_default();
        peers.iter().all(|peer| peer["state"] == "away" || peer["state"] == "indirect").then_some(())
    });
}

/// Heals, and waits for what has to come by itself.
fn heal(lab: &Lab, nodes: &[Node<'_>]) {
    lab.heal();
    converge(nodes);
}

fn fields(node: &Node<'_>, resource: &str) -> Value {
    node.json(&["get", resource])["fields"].clone()
}

fn conflicts(node: &Node<'_>) -> Vec<Value> {
    node.json(&["conflicts"])["conflicts"].as_array().cloned().unwrap_or_default()
}

/// `config/a` with its file, on all nodes.
fn give_all(nodes: &[Node<'_>]) {
    nodes[0].ok(&["set", "config/a", "path=a", "keys.x=base", "keys.y=base"]);
    for node in nodes {
        until(PATIENCE, "the first file", || node.file("a").contains("y=base").then_some(()));
        settle(node);
    }
    converge(nodes);
}

#[test]
fn alone_a_node_writes_and_applies_at_once() {
    let lab = lab!(2, "alone_a_node_writes_and_applies_at_once");
    let mut nodes = cluster(&lab, LARDER);
    nodes[1].kill();
    let ran = nodes[0].larder(&["set", "config/a", "path=a", "keys.x=1"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.took < Duration::from_secs(2), "it took {:?}", ran.took);
    until(PATIENCE, "the file", || (nodes[0].file("a") == "x=1\n").then_some(()));
}

#[test]
fn different_keys_of_both_sides_are_everywhere() {
    let lab = lab!(3, "different_keys_of_both_sides_are_everywhere");
    let nodes = cluster(&lab, LARDER);
    give_all(&nodes);
    cut(&lab, &nodes);
    nodes[0].ok(&["set", "config/a", "keys.x=left"]);
    nodes[1].ok(&["set", "config/a", "keys.y=right"]);
    heal(&lab, &nodes);
    for node in &nodes {
        until(PATIENCE, "both keys in the file", || {
            let text = node.file("a");
            (text.contains("x=left") && text.contains("y=right")).then_some(())
        });
        assert!(conflicts(node).is_empty());
        // Who wants to look at what nobody saw as a whole can, and a script is not stopped by it.
        let review = node.json(&["conflicts", "--review", "--exit-code"])["conflicts"][0].clone();
        assert_eq!(
            (&review["kind"], &review["resource"]),
            (&"review".into(), &"config/a".into()),
            "{review}"
        );
        assert_eq!(review["values"].as_array().unwrap().len(), 2);
    }
    nodes[2].ok(&["set", "config/a", "keys.z=seen"]);
    assert_eq!(nodes[2].json(&["conflicts", "--review"])["conflicts"].as_array().unwrap().len(), 0);
}

#[test]
fn a_path_that_two_resources_want_is_left_alone_until_one_gives_way() {
    let lab = lab!(1, "a_path_that_two_resources_want_is_left_alone_until_one_gives_way");
    let nodes = cluster(&lab, LARDER);
    let node = &nodes[0];
    node.ok(&["set", "file/one", "path=here", "content=one"]);
    until(PATIENCE, "the file", || (node.file("here") == "one").then_some(()));
    node.ok(&["set", "file/two", "path=./here", "content=two"]);
    until(PATIENCE, "both to be held", || (node.json(&["status"])["summary"]["held"] == 2).then_some(()));
    assert_eq!(node.file("here"), "one", "the machine keeps what it runs");
    let claim = conflicts(node)[0].clone();
    assert_eq!((&claim["kind"], &claim["field"]), (&"claim".into(), &"path".into()), "{claim}");
    assert_eq!(node.larder(&["conflicts", "--exit-code"]).code, 10);
    node.ok(&["set", "file/two", "path=there"]);
    until(PATIENCE, "both files", || {
        (node.file("there") == "two" && node.file("here") == "one").then_some(())
    });
    assert!(conflicts(node).is_empty());
}

#[test]
fn one_key_of_both_sides_is_a_conflict_that_changes_nothing_until_it_is_settled() {
    let lab = lab!(3, "one_key_of_both_sides_is_a_conflict_that_changes_nothing_until_it_is_settled");
    let mut nodes = cluster(&lab, LARDER);
    give_all(&nodes);
    cut(&lab, &nodes);
    nodes[0].ok(&["set", "config/a", "keys.x=left", "-m", "from the left"]);
    nodes[1].ok(&["set", "config/a", "keys.x=right"]);
    for (node, value) in [(&nodes[0], "x=left"), (&nodes[2], "x=right")] {
        until(PATIENCE, "each side's value", || node.file("a").contains(value).then_some(()));
    }
    heal(&lab, &nodes);
    let answers: Vec<Value> = nodes.iter().map(|node| fields(node, "config/a")).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    for node in &nodes {
        settle(node);
        let found = conflicts(node);
        assert_eq!(found.len(), 1, "{found:?}");
        let one = &found[0];
        assert_eq!(
            (&one["kind"], &one["field"], &one["base"]),
            (&"value".into(), &"keys.x".into(), &"base".into())
        );
        let values = one["values"].as_array().unwrap();
        for (value, alias) in [("left", "n0"), ("right", "n1")] {
            let side = values.iter().find(|side| side["value"] == value).unwrap();
            assert_eq!(side["node"]["alias"], alias);
            assert!(
                !side["user"].as_str().unwrap().is_empty() && side["time"].as_str().unwrap().ends_with('Z')
            );
        }
    }
    // Each keeps what it runs, over a restart too.
    nodes[0].stop();
    nodes[0].start(&["daemon"]);
    settle(&nodes[0]);
    assert!(nodes[0].file("a").contains("x=left") && nodes[2].file("a").contains("x=right"));
    let refused = nodes[0].larder(&["set", "config/a", "keys.x=third"]);
    assert_eq!(refused.code, 5);
    assert!(refused.err.contains("larder resolve config/a keys.x"), "{}", refused.err);
    assert_eq!(nodes[0].larder(&["conflicts", "--exit-code"]).code, 10);
    // Settled by one side's own value, it is gone everywhere.
    let id = conflicts(&nodes[2])[0]["id"].as_str().unwrap().to_owned();
    nodes[2].ok(&["resolve", "config/a", "keys.x", "--take", "A", "--id", &id[..8], "-m", "A it is"]);
    converge(&nodes);
    let value = fields(&nodes[0], "config/a")["keys.x"].as_str().unwrap().to_owned();
    for node in &nodes {
        assert!(conflicts(node).is_empty());
        until(PATIENCE, "the settled value", || node.file("a").contains(&format!("x={value}")).then_some(()));
    }
    assert!(nodes[0].ok(&["log", "-n", "1"]).contains("A it is"));
    let again = nodes[1].larder(&["resolve", "config/a", "keys.x", "--take", "A"]);
    assert_eq!(again.code, 4, "{}", again.err);
}

#[test]
fn the_same_resource_made_on_both_sides_has_the_fields_of_both() {
    let lab = lab!(2, "the_same_resource_made_on_both_sides_has_the_fields_of_both");
    let nodes = cluster(&lab, LARDER);
    cut(&lab, &nodes);
    nodes[0].ok(&["set", "config/new", "path=new", "keys.left=1"]);
    nodes[1].ok(&["set", "config/new", "path=new", "keys.right=2"]);
    heal(&lab, &nodes);
    for node in &nodes {
        assert_eq!(
            fields(node, "config/new"),
            serde_json::json!({ "keys.left": "1", "keys.right": "2", "path": "new" })
        );
        until(PATIENCE, "the file of both", || {
            let text = node.file("new");
            (text.contains("left=1") && text.contains("right=2")).then_some(())
        });
    }
}

#[test]
fn removed_here_and_edited_there_is_a_conflict() {
    let lab = lab!(2, "removed_here_and_edited_there_is_a_conflict");
    let nodes = cluster(&lab, LARDER);
    give_all(&nodes);
    cut(&lab, &nodes);
    nodes[0].ok(&["rm", "config/a"]);
    nodes[1].ok(&["set", "config/a", "keys.x=edited"]);
    until(PATIENCE, "each side's file", || {
        (!nodes[0].file("a").contains("x=") && nodes[1].file("a").contains("x=edited")).then_some(())
    });
    heal(&lab, &nodes);
    for node in &nodes {
        let found = conflicts(node);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0]["kind"], &found[0]["field"]), (&"edit/remove".into(), &"ensure".into()));
        settle(node);
    }
    assert!(nodes[1].file("a").contains("x=edited"), "a conflict moved a machine");
    nodes[0].ok(&["resolve", "config/a", "ensure", "--value", "present"]);
    converge(&nodes);
    for node in &nodes {
        assert!(conflicts(node).is_empty());
        until(PATIENCE, "the file again", || node.file("a").contains("x=edited").then_some(()));
    }
}

#[test]
fn one_against_four_keeps_its_edit_and_nobody_types_anything() {
    let lab = lab!(5, "one_against_four_keeps_its_edit_and_nobody_types_anything");
    let nodes = cluster(&lab, LARDER);
    give_all(&nodes);
    cut(&lab, &nodes);
    nodes[0].ok(&["set", "config/a", "keys.x=one"]);
    for (nth, node) in nodes.iter().enumerate().skip(1) {
        node.ok(&["set", "config/a", &format!("keys.k{nth}=four")]);
    }
    heal(&lab, &nodes);
    for node in &nodes {
        until(PATIENCE, "the edit of the one", || {
            let text = node.file("a");
            (text.contains("x=one") && text.matches("=four").count() == 4).then_some(())
        });
    }
}

#[test]
fn paused_syncing_loses_nothing() {
    let lab = lab!(2, "paused_syncing_loses_nothing");
    let mut nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["sync", "pause"]);
    nodes[0].ok(&["set", "config/a", "keys.x=1"]);
    nodes[1].ok(&["set", "config/b", "keys.x=1"]);
    nodes[0].stop();
    nodes[0].start(&["daemon"]);
    assert_eq!(nodes[0].json(&["sync", "status"])["paused"], true);
    assert_eq!(nodes[1].larder(&["get", "config/a"]).code, 4);
    nodes[0].ok(&["sync", "resume"]);
    converge(&nodes);
    assert_eq!(nodes[0].json(&["list"])["resources"].as_array().unwrap().len(), 2);
    nodes[0].ok(&["sync", "now"]);
}
