//! A machine is lost, and another takes its place.

use larder_tests::lab::until;
use larder_tests::node::{PATIENCE, cluster, converge};
use serde_json::Value;

use super::{LARDER, lab};

/// The new machine is called and labelled like the lost one and runs what was meant for it alone; the lost one, should it
/// come back, is called nothing and runs that no more.
#[test]
fn a_machine_takes_the_place_of_one_that_is_lost() {
    let lab = lab!(3, "a_machine_takes_the_place_of_one_that_is_lost");
    let mut nodes = cluster(&lab, LARDER);
    let (old, new) = (nodes[1].id(), nodes[2].id());
    nodes[0].ok(&["label", "n1", "line=2"]);
    nodes[0].ok(&["set", "config/db", "path=db", "select=line=2", "keys.url=all"]);
    nodes[0].ok(&["set", "config/db", "--node", "n1", "keys.url=alone"]);
    nodes[0].ok(&["set", "config/tape", "path=tape", &format!("select=node={}", &old[..8]), "keys.a=1"]);
    converge(&nodes);
    for file in ["db", "tape"] {
        until(PATIENCE, "it runs on the old one", || {
            nodes[1].data.join("files").join(file).exists().then_some(())
        });
    }

    let refused = nodes[2].larder(&["replace", "n1"]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(refused.err.contains("n1 is up"), "{}", refused.err);
    let itself = nodes[2].larder(&["replace", &new]);
    assert_eq!(itself.code, 2, "{}", itself.err);
    assert_eq!(nodes[2].larder(&["replace", "nobody"]).code, 4);

    nodes[1].stop();
    let replaced = until(PATIENCE, "the old one to count as away", || {
        let answer = nodes[2].larder(&["replace", "n1", "-m", "its disk died", "--json"]);
        assert!([0, 5].contains(&answer.code), "{}", answer.err);
        (answer.code == 0).then(|| serde_json::from_str::<Value>(&answer.out).unwrap())
    });
    assert_eq!((&replaced["old"], &replaced["alias"]), (&old.clone().into(), &"n1".into()));
    assert_eq!(replaced["labels"]["line"], "2");
    assert_eq!(replaced["resources"], serde_json::json!(["config/db", "config/tape"]));
    assert_eq!(replaced["is_member"], true);
    until(PATIENCE, "what was meant for the old one alone", || {
        (nodes[2].data.join("files/tape").exists() && nodes[2].file("db").contains("alone")).then_some(())
    });
    let again = nodes[2].ok(&["replace", &old]);
    assert_eq!(again, "", "there is nothing left to write");
    let log = nodes[2].ok(&["log", "-n", "1"]);
    assert!(log.contains("its disk died"), "{log}");

    // One change did it all, so one command takes it back and brings it again.
    nodes[2].ok(&["undo"]);
    let row = |on: usize, id: &str| -> Value {
        let rows = nodes[on].json(&["nodes"]);
        rows["nodes"].as_array().unwrap().iter().find(|row| row["id"] == id).cloned().unwrap()
    };
    assert_eq!((&row(2, &old)["alias"], &row(2, &new)["alias"]), (&"n1".into(), &"n2".into()));
    assert_eq!(row(2, &new)["labels"]["line"], Value::Null);
    nodes[2].ok(&["replace", "n1"]);
    assert_eq!((&row(2, &old)["alias"], &row(2, &new)["alias"]), (&Value::Null, &"n1".into()));

    // It comes back: it is for line 2 still, and nothing names it any more.
    nodes[1].start(&["daemon"]);
    converge(&nodes);
    until(PATIENCE, "what is for all of line 2", || nodes[1].file("db").contains("all").then_some(()));
    until(PATIENCE, "the old one to let go of what is not for it", || {
        let status = nodes[0].json(&["status", "config/tape"]);
        let on = status["resources"][0]["nodes"].as_array().cloned().unwrap_or_default();
        (on.len() == 1 && on[0]["id"] == new.as_str() && on[0]["state"] == "applied").then_some(())
    });
}
