//! Names of nodes, groups and tags: a name stands for one thing, or the command fails.

use larder_tests::lab::Lab;
use larder_tests::node::{TestNode, start_daemons, wait_until_converged};

use super::LARDER;

tests! {
    an_alias_does_not_redirect_a_command_to_another_node,
    a_hint_about_groups_of_one_name_shows_their_ids,
}

fn role_of(on: &TestNode<'_>, id: &str) -> String {
    let nodes = on.run_json(&["nodes"]);
    let row = nodes["nodes"].as_array().into_iter().flatten().find(|row| row["id"] == id).cloned();
    row.and_then(|row| row["role"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// A node that joins chooses its own alias. Here it is the id of a member.
fn an_alias_does_not_redirect_a_command_to_another_node() {
    let lab = Lab::require(3);
    let nodes = start_daemons(&lab, LARDER);
    let (admin, operator, joiner) = (&nodes[0], &nodes[1], &nodes[2]);
    admin.run_ok(&["init", "shop"]);
    operator.run_ok(&["join", &admin.create_invite(1), "--alias", "till"]);
    let (operator_id, joiner_id) = (operator.id(), joiner.id());
    joiner.run_ok(&["join", &admin.create_invite(1), "--alias", &operator_id]);
    wait_until_converged(&nodes);

    // The alias is shown to be ignored, and a full id names its owner.
    let status = admin.run_larder(&["status"]).stderr;
    assert!(status.contains(&format!("the alias `{operator_id}` of {}", &joiner_id[..7])), "{status}");
    admin.run_ok(&["role", &operator_id, "node"]);
    assert_eq!(
        (role_of(admin, &operator_id).as_str(), role_of(admin, &joiner_id).as_str()),
        ("node", "operator")
    );

    // No one can set such an alias later, whole or in part.
    for alias in [&operator_id[..], &operator_id[..7], &operator_id[..4].to_ascii_uppercase()] {
        let refused = joiner.run_larder(&["alias", &joiner_id, "--", alias]);
        assert_eq!(refused.exit_code, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains("begins the id of another node"), "{}", refused.stderr);
    }

    // A selector means the owner of the id.
    admin.run_ok(&["set", "config/db", "path=db", "keys.a=1", &format!("select=node={}", &operator_id[..7])]);
    wait_until_converged(&nodes);
    let targets = admin.run_json(&["status", "config/db"]);
    let rows = targets["resources"][0]["nodes"].as_array().cloned().unwrap_or_default();
    let rows: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(rows, [operator_id.as_str()], "{targets}");
}

fn a_hint_about_groups_of_one_name_shows_their_ids() {
    let lab = Lab::require(2);
    let nodes = start_daemons(&lab, LARDER);
    for node in &nodes {
        node.run_ok(&["init", "shop"]);
    }
    nodes[1].run_ok(&["join", &nodes[0].create_invite(1)]);
    let groups = nodes[1].run_json(&["groups"]);
    let ids: Vec<&str> =
        groups["groups"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids.len(), 2, "{groups}");
    let refused = nodes[1].run_larder(&["status"]);
    assert_eq!(refused.exit_code, 2, "{}", refused.stderr);
    for id in &ids {
        assert!(refused.stderr.contains(&format!("{} (shop)", &id[..7])), "{}", refused.stderr);
        nodes[1].run_ok(&["-g", &id[..7], "status"]);
    }
    let ambiguous = nodes[1].run_larder(&["-g", "shop", "status"]);
    assert_eq!(ambiguous.exit_code, 4, "{}", ambiguous.stderr);
    assert!(ids.iter().all(|id| ambiguous.stderr.contains(id)), "{}", ambiguous.stderr);
}
