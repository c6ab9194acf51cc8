//! Nodes: discovery, identity, copies, and shutdown.

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    up_without_configuration_shows_the_own_node,
    a_node_keeps_its_identity_at_a_new_address_and_port,
    a_taken_port_is_replaced_by_a_free_one_that_is_remembered,
    an_alias_survives_restarts_and_duplicates_are_flagged,
    a_killed_node_is_listed_as_away,
    ping_prints_round_trip_times,
    a_daemon_stops_on_sigterm_and_removes_its_socket,
    a_copied_data_directory_is_reported_and_harms_nobody,
    an_unknown_setting_is_reported_with_its_position,
}

fn node_rows(node: &TestNode<'_>) -> Vec<Value> {
    node.run_json(&["nodes"])["nodes"].as_array().cloned().unwrap_or_default()
}

fn node_row(node: &TestNode<'_>, id: &str) -> Option<Value> {
    node_rows(node).into_iter().find(|row| row["id"] == id)
}

fn up_without_configuration_shows_the_own_node() {
    let lab = Lab::require(1);
    let mut node = TestNode::on_host(&lab, 0, LARDER);
    node.start(&["up"]);
    let own = wait_until(WAIT_LIMIT, "the node with its address", || {
        node_rows(&node).into_iter().find(|row| row["self"] == true && row["addrs"] != Value::Array(vec![]))
    });
    assert_eq!(own["state"], "up");
    assert!(own["version"].as_str().unwrap().starts_with("larder "));
    assert!(own["addrs"][0].as_str().unwrap().ends_with("/tcp/7440"));
    assert!(node.read_log().contains(own["id"].as_str().unwrap()));
}

fn a_node_keeps_its_identity_at_a_new_address_and_port() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    let id = nodes[1].id();
    nodes[1].stop();
    lab.change_address(1, "10.77.9.9/16");
    nodes[1].start(&["daemon", "--listen", "/ip4/0.0.0.0/tcp/9000"]);
    let seen = wait_until(WAIT_LIMIT, "the new address on the other node", || {
        node_row(&nodes[0], &id).filter(|row| row["addrs"].to_string().contains("/ip4/10.77.9.9/tcp/9000"))
    });
    assert_eq!((&seen["state"], &seen["alias"]), (&Value::from("up"), &Value::from("n1")));
    assert_eq!(node_rows(&nodes[0]).len(), 2);
    wait_until_converged(&nodes);
}

fn a_taken_port_is_replaced_by_a_free_one_that_is_remembered() {
    let dir = std::env::temp_dir().join(format!("larder-port-{}", std::process::id()));
    let held = std::net::TcpListener::bind("0.0.0.0:7440");
    let mut node = TestNode::without_host(&dir, "port", LARDER);
    node.start(&["daemon", "--no-mdns"]);
    let port = |node: &TestNode<'_>| {
        let own = wait_until(WAIT_LIMIT, "an address", || {
            node_rows(node)[0]["addrs"][0].as_str().map(str::to_owned)
        });
        own.rsplit('/').next().unwrap().to_owned()
    };
    let first = port(&node);
    assert_ne!(first, "7440");
    node.stop();
    drop(held);
    node.start(&["daemon", "--no-mdns"]);
    assert_eq!(port(&node), first);
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

fn an_alias_survives_restarts_and_duplicates_are_flagged() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    let ids: Vec<String> = nodes.iter().map(TestNode::id).collect();
    nodes[0].run_ok(&["alias", "n1", "till"]);
    wait_until_converged(&nodes);
    nodes[1].stop();
    nodes[1].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "the alias after the restart", || {
        node_row(&nodes[1], &ids[1]).filter(|row| row["alias"] == "till").map(drop)
    });
    nodes[0].run_ok(&["alias", &ids[2][..10], "till"]);
    wait_until_converged(&nodes);
    let text = nodes[1].run_larder(&["nodes"]);
    assert!(text.stderr.contains("several nodes have the alias `till`"), "{}", text.stderr);
    let refused = nodes[0].run_larder(&["label", "till", "role=x"]);
    assert_eq!(refused.exit_code, 4);
    assert!(refused.stderr.contains(&ids[1]) && refused.stderr.contains(&ids[2]), "{}", refused.stderr);
    assert_eq!(nodes[0].run_larder(&["label", &ids[1], "role=x"]).exit_code, 0);
}

fn a_killed_node_is_listed_as_away() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    let id = nodes[1].id();
    nodes[1].kill();
    let away = wait_until(WAIT_LIMIT, "the killed node to be away", || {
        node_row(&nodes[0], &id).filter(|row| row["state"] == "away")
    });
    assert!(away["heard"].is_string());
    assert_eq!(nodes[0].run_larder(&["ping", "n1", "-c", "1"]).exit_code, 1);
    nodes[0].stop();
    nodes[0].start(&["daemon"]);
    assert_eq!(node_row(&nodes[0], &id).unwrap()["state"], "away");
    nodes[1].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "the node to be up again", || {
        node_row(&nodes[0], &id).filter(|row| row["state"] == "up")
    });
}

fn ping_prints_round_trip_times() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    let out = nodes[0].run_ok(&["ping", "n1", "-c", "2"]);
    assert_eq!(out.lines().filter(|line| line.contains("n1") && line.ends_with(" ms")).count(), 2, "{out}");
    assert!(nodes[0].run_json(&["ping", "n1", "-c", "1"])["ms"].as_f64().unwrap() > 0.0);
    nodes[1].stop();
    wait_until(WAIT_LIMIT, "a stopped node to answer no ping", || {
        (nodes[0].run_larder(&["ping", "n1", "-c", "1"]).exit_code == 1).then_some(())
    });
    assert_eq!(nodes[0].run_larder(&["ping", "nobody"]).exit_code, 4);
}

fn a_daemon_stops_on_sigterm_and_removes_its_socket() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[1].stop();
    assert!(!nodes[1].data_dir.join("larder.sock").exists());
    let away = nodes[1].run_larder(&["nodes"]);
    assert_eq!(away.exit_code, 3);
    assert!(
        away.stderr.contains("no daemon answers") && away.stderr.contains("larder up"),
        "{}",
        away.stderr
    );
}

fn a_copied_data_directory_is_reported_and_harms_nobody() {
    let lab = Lab::require(3);
    let mut nodes: Vec<TestNode<'_>> = (0..3).map(|index| TestNode::on_host(&lab, index, LARDER)).collect();
    for node in &mut nodes[..2] {
        node.start(&["daemon"]);
    }
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].create_invite(1);
    nodes[1].run_ok(&["join", &code]);
    nodes[1].run_ok(&["set", "config/a", "path=a", "keys.x=1"]);
    wait_until_converged(&nodes[..2]);
    nodes[1].stop();
    let copied = std::process::Command::new("cp")
        .args(["-r", "--"])
        .arg(nodes[1].data_dir.join("."))
        .arg(&nodes[2].data_dir)
        .status();
    assert!(copied.unwrap().success());
    // Both write: the copy while the original is stopped, then the original.
    nodes[2].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "the copy to say so", || {
        nodes[2].read_log().contains("copied, moved or restored").then_some(())
    });
    let warnings = nodes[2].run_ok(&["doctor"]) + &nodes[2].run_larder(&["nodes"]).stderr;
    assert_eq!(warnings.matches("was copied, moved or restored").count(), 2, "{warnings}");
    nodes[2].run_ok(&["set", "config/a", "keys.copy=1"]);
    wait_until_converged(&[nodes[0].as_client(), nodes[2].as_client()]);
    nodes[1].start(&["daemon"]);
    nodes[1].run_ok(&["set", "config/a", "keys.original=1"]);
    nodes[2].stop();
    wait_until(WAIT_LIMIT, "both writes on both others", || {
        let has = |node: &TestNode<'_>| {
            let fields = node.run_json(&["get", "config/a"])["fields"].to_string();
            fields.contains("keys.copy") && fields.contains("keys.original")
        };
        (has(&nodes[0]) && has(&nodes[1])).then_some(())
    });
    wait_until_converged(&nodes[..2]);
    let warned = nodes[1].run_larder(&["nodes"]).stderr;
    assert!(warned.contains("a copy of the data directory"), "{warned}");
    assert_eq!(nodes[0].run_json(&["conflicts"])["conflicts"], Value::Array(vec![]));
}

fn an_unknown_setting_is_reported_with_its_position() {
    let dir = std::env::temp_dir().join(format!("larder-setting-{}", std::process::id()));
    let node = TestNode::without_host(&dir, "setting", LARDER);
    let file = node.data_dir.join("larder.toml");
    std::fs::write(&file, "mdns = false\n\nlisten_on = []\n").unwrap();
    let ran = node.run_larder(&["daemon"]);
    assert_eq!(ran.exit_code, 2);
    assert!(
        ran.stderr.contains(&format!("{}:3:1: unknown setting `listen_on`", file.display())),
        "{}",
        ran.stderr
    );
    drop(std::fs::remove_dir_all(dir));
}
