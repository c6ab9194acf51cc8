//! Partitions: both sides write, and their changes merge after the heal.

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    an_isolated_node_writes_and_applies_alone,
    edits_of_different_keys_on_both_sides_are_merged,
    two_resources_with_one_path_are_held_until_one_moves,
    edits_of_one_key_on_both_sides_conflict_and_apply_nothing_until_resolved,
    a_resource_created_on_both_sides_has_the_fields_of_both,
    a_removal_and_a_concurrent_edit_conflict,
    an_isolated_nodes_edit_merges_with_those_of_four_others,
    pausing_sync_loses_no_change,
}

/// Cuts host 0 off from the others, and waits until its node has noticed.
fn cut_off_first_host(lab: &Lab, nodes: &[TestNode<'_>]) {
    let others: Vec<usize> = (1..lab.hosts().len()).collect();
    lab.partition(&[&[0], &others]);
    wait_until(WAIT_LIMIT, "the cut to be noticed", || {
        let peers = nodes[0].run_json(&["sync"])["peers"].as_array().cloned().unwrap_or_default();
        peers.iter().all(|peer| peer["state"] == "away" || peer["state"] == "indirect").then_some(())
    });
}

/// Heals the network and waits until all nodes converge without a command.
fn heal_and_converge(lab: &Lab, nodes: &[TestNode<'_>]) {
    lab.heal();
    wait_until_converged(nodes);
}

fn fields(node: &TestNode<'_>, resource: &str) -> Value {
    node.run_json(&["get", resource])["fields"].clone()
}

fn conflicts(node: &TestNode<'_>) -> Vec<Value> {
    node.run_json(&["conflicts"])["conflicts"].as_array().cloned().unwrap_or_default()
}

/// Writes `config/a` and waits for its file on all nodes.
fn write_base_everywhere(nodes: &[TestNode<'_>]) {
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=base", "keys.y=base"]);
    for node in nodes {
        wait_until(WAIT_LIMIT, "the first file", || node.read_file("a").contains("y=base").then_some(()));
        wait_until_applied(node);
    }
    wait_until_converged(nodes);
}

fn an_isolated_node_writes_and_applies_alone() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[1].kill();
    let ran = nodes[0].run_larder(&["set", "config/a", "path=a", "keys.x=1"]);
    assert_eq!(ran.exit_code, 0, "{}", ran.stderr);
    wait_until(WAIT_LIMIT, "the file", || (nodes[0].read_file("a") == "x=1\n").then_some(()));
}

fn edits_of_different_keys_on_both_sides_are_merged() {
    let lab = Lab::require(3);
    let nodes = start_cluster(&lab, LARDER);
    write_base_everywhere(&nodes);
    cut_off_first_host(&lab, &nodes);
    nodes[0].run_ok(&["set", "config/a", "keys.x=left"]);
    nodes[1].run_ok(&["set", "config/a", "keys.y=right"]);
    heal_and_converge(&lab, &nodes);
    for node in &nodes {
        wait_until(WAIT_LIMIT, "both keys in the file", || {
            let text = node.read_file("a");
            (text.contains("x=left") && text.contains("y=right")).then_some(())
        });
        assert!(conflicts(node).is_empty());
        // `--review` lists edits that merged without being seen together. It does not change the exit code.
        let review = node.run_json(&["conflicts", "--review", "--exit-code"])["conflicts"][0].clone();
        assert_eq!(
            (&review["kind"], &review["resource"]),
            (&"review".into(), &"config/a".into()),
            "{review}"
        );
        assert_eq!(review["values"].as_array().unwrap().len(), 2);
    }
    nodes[2].run_ok(&["set", "config/a", "keys.z=seen"]);
    assert_eq!(nodes[2].run_json(&["conflicts", "--review"])["conflicts"].as_array().unwrap().len(), 0);
}

fn two_resources_with_one_path_are_held_until_one_moves() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    node.run_ok(&["set", "file/one", "path=here", "content=one"]);
    wait_until(WAIT_LIMIT, "the file", || (node.read_file("here") == "one").then_some(()));
    node.run_ok(&["set", "file/two", "path=./here", "content=two"]);
    wait_until(WAIT_LIMIT, "both to be held", || {
        (node.run_json(&["status"])["summary"]["held"] == 2).then_some(())
    });
    assert_eq!(node.read_file("here"), "one", "the machine keeps what it runs");
    let claim = conflicts(node)[0].clone();
    assert_eq!((&claim["kind"], &claim["field"]), (&"claim".into(), &"path".into()), "{claim}");
    assert_eq!(node.run_larder(&["conflicts", "--exit-code"]).exit_code, 10);
    node.run_ok(&["set", "file/two", "path=there"]);
    wait_until(WAIT_LIMIT, "both files", || {
        (node.read_file("there") == "two" && node.read_file("here") == "one").then_some(())
    });
    assert!(conflicts(node).is_empty());
}

fn edits_of_one_key_on_both_sides_conflict_and_apply_nothing_until_resolved() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    write_base_everywhere(&nodes);
    cut_off_first_host(&lab, &nodes);
    nodes[0].run_ok(&["set", "config/a", "keys.x=left", "-m", "from the left"]);
    nodes[1].run_ok(&["set", "config/a", "keys.x=right"]);
    for (node, value) in [(&nodes[0], "x=left"), (&nodes[2], "x=right")] {
        wait_until(WAIT_LIMIT, "each side's value", || node.read_file("a").contains(value).then_some(()));
    }
    heal_and_converge(&lab, &nodes);
    let answers: Vec<Value> = nodes.iter().map(|node| fields(node, "config/a")).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    for node in &nodes {
        wait_until_applied(node);
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
    // Each node keeps its applied value, also after a restart.
    nodes[0].stop();
    nodes[0].start(&["daemon"]);
    wait_until_applied(&nodes[0]);
    assert!(nodes[0].read_file("a").contains("x=left") && nodes[2].read_file("a").contains("x=right"));
    let refused = nodes[0].run_larder(&["set", "config/a", "keys.x=third"]);
    assert_eq!(refused.exit_code, 5);
    assert!(refused.stderr.contains("larder resolve config/a keys.x"), "{}", refused.stderr);
    assert_eq!(nodes[0].run_larder(&["conflicts", "--exit-code"]).exit_code, 10);
    // After a resolution by one side's value, the conflict is gone on every node.
    let id = conflicts(&nodes[2])[0]["id"].as_str().unwrap().to_owned();
    nodes[2].run_ok(&["resolve", "config/a", "keys.x", "--take", "A", "--id", &id[..8], "-m", "A it is"]);
    wait_until_converged(&nodes);
    let value = fields(&nodes[0], "config/a")["keys.x"].as_str().unwrap().to_owned();
    for node in &nodes {
        assert!(conflicts(node).is_empty());
        wait_until(WAIT_LIMIT, "the settled value", || {
            node.read_file("a").contains(&format!("x={value}")).then_some(())
        });
    }
    assert!(nodes[0].run_ok(&["log", "-n", "1"]).contains("A it is"));
    let again = nodes[1].run_larder(&["resolve", "config/a", "keys.x", "--take", "A"]);
    assert_eq!(again.exit_code, 4, "{}", again.stderr);
}

fn a_resource_created_on_both_sides_has_the_fields_of_both() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    cut_off_first_host(&lab, &nodes);
    nodes[0].run_ok(&["set", "config/new", "path=new", "keys.left=1"]);
    nodes[1].run_ok(&["set", "config/new", "path=new", "keys.right=2"]);
    heal_and_converge(&lab, &nodes);
    for node in &nodes {
        assert_eq!(
            fields(node, "config/new"),
            serde_json::json!({ "keys.left": "1", "keys.right": "2", "path": "new" })
        );
        wait_until(WAIT_LIMIT, "the file of both", || {
            let text = node.read_file("new");
            (text.contains("left=1") && text.contains("right=2")).then_some(())
        });
    }
}

fn a_removal_and_a_concurrent_edit_conflict() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    write_base_everywhere(&nodes);
    cut_off_first_host(&lab, &nodes);
    nodes[0].run_ok(&["rm", "config/a"]);
    nodes[1].run_ok(&["set", "config/a", "keys.x=edited"]);
    wait_until(WAIT_LIMIT, "each side's file", || {
        (!nodes[0].read_file("a").contains("x=") && nodes[1].read_file("a").contains("x=edited"))
            .then_some(())
    });
    heal_and_converge(&lab, &nodes);
    for node in &nodes {
        let found = conflicts(node);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0]["kind"], &found[0]["field"]), (&"edit/remove".into(), &"ensure".into()));
        wait_until_applied(node);
    }
    assert!(nodes[1].read_file("a").contains("x=edited"), "a conflict moved a machine");
    nodes[0].run_ok(&["resolve", "config/a", "ensure", "--value", "present"]);
    wait_until_converged(&nodes);
    for node in &nodes {
        assert!(conflicts(node).is_empty());
        wait_until(WAIT_LIMIT, "the file again", || node.read_file("a").contains("x=edited").then_some(()));
    }
}

fn an_isolated_nodes_edit_merges_with_those_of_four_others() {
    let lab = Lab::require(5);
    let nodes = start_cluster(&lab, LARDER);
    write_base_everywhere(&nodes);
    cut_off_first_host(&lab, &nodes);
    nodes[0].run_ok(&["set", "config/a", "keys.x=one"]);
    for (nth, node) in nodes.iter().enumerate().skip(1) {
        node.run_ok(&["set", "config/a", &format!("keys.k{nth}=four")]);
    }
    heal_and_converge(&lab, &nodes);
    for node in &nodes {
        wait_until(WAIT_LIMIT, "the edit of the one", || {
            let text = node.read_file("a");
            (text.contains("x=one") && text.matches("=four").count() == 4).then_some(())
        });
    }
}

fn pausing_sync_loses_no_change() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["sync", "pause"]);
    nodes[0].run_ok(&["set", "config/a", "keys.x=1"]);
    nodes[1].run_ok(&["set", "config/b", "keys.x=1"]);
    nodes[0].stop();
    nodes[0].start(&["daemon"]);
    assert_eq!(nodes[0].run_json(&["sync", "status"])["paused"], true);
    assert_eq!(nodes[1].run_larder(&["get", "config/a"]).exit_code, 4);
    nodes[0].run_ok(&["sync", "resume"]);
    wait_until_converged(&nodes);
    assert_eq!(nodes[0].run_json(&["list"])["resources"].as_array().unwrap().len(), 2);
    nodes[0].run_ok(&["sync", "now"]);
}
