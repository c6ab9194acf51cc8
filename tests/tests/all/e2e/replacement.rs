//! A lost node is replaced by another.

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{WAIT_LIMIT, start_cluster, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    a_replacement_node_takes_over_alias_labels_and_targets,
}

/// The new node takes over the alias, the labels and the per-node values of the lost node. If the lost node
/// comes back, it has no alias and none of these values.
fn a_replacement_node_takes_over_alias_labels_and_targets() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    let (old, new) = (nodes[1].id(), nodes[2].id());
    nodes[0].run_ok(&["label", "n1", "line=2"]);
    nodes[0].run_ok(&["set", "config/db", "path=db", "select=line=2", "keys.url=all"]);
    nodes[0].run_ok(&["set", "config/db", "--node", "n1", "keys.url=alone"]);
    nodes[0].run_ok(&["set", "config/tape", "path=tape", &format!("select=node={}", &old[..8]), "keys.a=1"]);
    wait_until_converged(&nodes);
    for file in ["db", "tape"] {
        wait_until(WAIT_LIMIT, "it runs on the old one", || {
            nodes[1].data_dir.join("files").join(file).exists().then_some(())
        });
    }

    let refused = nodes[2].run_larder(&["replace", "n1"]);
    assert_eq!(refused.exit_code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("n1 is up"), "{}", refused.stderr);
    let itself = nodes[2].run_larder(&["replace", &new]);
    assert_eq!(itself.exit_code, 2, "{}", itself.stderr);
    assert_eq!(nodes[2].run_larder(&["replace", "nobody"]).exit_code, 4);

    nodes[1].stop();
    let replaced = wait_until(WAIT_LIMIT, "the old one to count as away", || {
        let answer = nodes[2].run_larder(&["replace", "n1", "-m", "its disk died", "--json"]);
        assert!([0, 5].contains(&answer.exit_code), "{}", answer.stderr);
        (answer.exit_code == 0).then(|| serde_json::from_str::<Value>(&answer.stdout).unwrap())
    });
    assert_eq!((&replaced["old"], &replaced["alias"]), (&old.clone().into(), &"n1".into()));
    assert_eq!(replaced["labels"]["line"], "2");
    assert_eq!(replaced["resources"], serde_json::json!(["config/db", "config/tape"]));
    assert_eq!(replaced["is_member"], true);
    wait_until(WAIT_LIMIT, "what was meant for the old one alone", || {
        (nodes[2].data_dir.join("files/tape").exists() && nodes[2].read_file("db").contains("alone"))
            .then_some(())
    });
    let again = nodes[2].run_ok(&["replace", &old]);
    assert_eq!(again, "", "there is nothing left to write");
    let log = nodes[2].run_ok(&["log", "-n", "1"]);
    assert!(log.contains("its disk died"), "{log}");

    // The replacement is one change, so `undo` takes it back and a second `replace` makes it again.
    nodes[2].run_ok(&["undo"]);
    let row = |on: usize, id: &str| -> Value {
        let rows = nodes[on].run_json(&["nodes"]);
        rows["nodes"].as_array().unwrap().iter().find(|row| row["id"] == id).cloned().unwrap()
    };
    assert_eq!((&row(2, &old)["alias"], &row(2, &new)["alias"]), (&"n1".into(), &"n2".into()));
    assert_eq!(row(2, &new)["labels"]["line"], Value::Null);
    nodes[2].run_ok(&["replace", "n1"]);
    assert_eq!((&row(2, &old)["alias"], &row(2, &new)["alias"]), (&Value::Null, &"n1".into()));

    // The old node comes back. It still has the label, but no alias and no resource of its own.
    nodes[1].start(&["daemon"]);
    wait_until_converged(&nodes);
    wait_until(WAIT_LIMIT, "what is for all of line 2", || {
        nodes[1].read_file("db").contains("all").then_some(())
    });
    wait_until(WAIT_LIMIT, "the old one to let go of what is not for it", || {
        let status = nodes[0].run_json(&["status", "config/tape"]);
        let on = status["resources"][0]["nodes"].as_array().cloned().unwrap_or_default();
        let state = |id: &str| on.iter().find(|row| row["id"] == id).map(|row| row["state"].clone());
        let (on_new, on_old) = (state(&new), state(&old));
        (on_new == Some("applied".into()) && on_old == Some("released".into())).then_some(())
    });
}
