//! Nodes: that they are there, who they are, and how they end.

use std::time::{Duration, Instant};

use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge};
use serde_json::Value;

use super::{LARDER, lab};

fn rows(node: &Node<'_>) -> Vec<Value> {
    node.json(&["nodes"])["nodes"].as_array().cloned().unwrap_or_default()
}

fn row(node: &Node<'_>, id: &str) -> Option<Value> {
    rows(node).into_iter().find(|row| row["id"] == id)
}

#[test]
fn up_with_nothing_configured_shows_the_node() {
    let lab = lab!(1, "up_with_nothing_configured_shows_the_node");
    let mut node = Node::on(&lab, 0, LARDER);
    let begun = Instant::now();
    node.start(&["up"]);
    let own = until(PATIENCE, "the node with its address", || {
        rows(&node).into_iter().find(|row| row["self"] == true && row["addrs"] != Value::Array(vec![]))
    });
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    assert_eq!(own["state"], "up");
    assert!(own["version"].as_str().unwrap().starts_with("larder "));
    assert!(own["addrs"][0].as_str().unwrap().ends_with("/tcp/7440"));
    assert!(node.log().contains(own["id"].as_str().unwrap()));
}

#[test]
fn another_address_and_port_is_still_the_same_node() {
    let lab = lab!(2, "another_address_and_port_is_still_the_same_node");
    let mut nodes = cluster(&lab, LARDER);
    let id = nodes[1].id();
    nodes[1].stop();
    lab.readdress(1, "10.77.9.9/16");
    nodes[1].start(&["daemon", "--listen", "/ip4/0.0.0.0/tcp/9000"]);
    let seen = until(PATIENCE, "the new address on the other node", || {
        row(&nodes[0], &id).filter(|row| row["addrs"].to_string().contains("/ip4/10.77.9.9/tcp/9000"))
    });
    assert_eq!((&seen["state"], &seen["alias"]), (&Value::from("up"), &Value::from("n1")));
    assert_eq!(rows(&nodes[0]).len(), 2);
    converge(&nodes);
}

#[test]
fn a_taken_port_gives_way_to_a_free_one_that_is_remembered() {
    let dir = std::env::temp_dir().join(format!("larder-port-{}", std::process::id()));
    let held = std::net::TcpListener::bind("0.0.0.0:7440");
    let mut node = Node::here(&dir, "port", LARDER);
    node.start(&["daemon", "--no-mdns"]);
    let port = |node: &Node<'_>| {
        let own = until(PATIENCE, "an address", || rows(node)[0]["addrs"][0].as_str().map(str::to_owned));
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

#[test]
fn an_alias_outlives_restarts_and_two_of_one_name_are_flagged() {
    let lab = lab!(3, "an_alias_outlives_restarts_and_two_of_one_name_are_flagged");
    let mut nodes = cluster(&lab, LARDER);
    let ids: Vec<String> = nodes.iter().map(Node::id).collect();
    nodes[0].ok(&["alias", "n1", "till"]);
    converge(&nodes);
    nodes[1].stop();
    nodes[1].start(&["daemon"]);
    until(PATIENCE, "the alias after the restart", || {
        row(&nodes[1], &ids[1]).filter(|row| row["alias"] == "till").map(drop)
    });
    nodes[0].ok(&["alias", &ids[2][..10], "till"]);
    converge(&nodes);
    let text = nodes[1].larder(&["nodes"]);
    assert!(text.err.contains("more than one node is called `till`"), "{}", text.err);
    let refused = nodes[0].larder(&["label", "till", "role=x"]);
    assert_eq!(refused.code, 4);
    assert!(refused.err.contains(&ids[1]) && refused.err.contains(&ids[2]), "{}", refused.err);
    assert_eq!(nodes[0].larder(&["label", &ids[1], "role=x"]).code, 0);
}

#[test]
fn a_killed_node_is_away_and_its_row_stays() {
    let lab = lab!(2, "a_killed_node_is_away_and_its_row_stays");
    let mut nodes = cluster(&lab, LARDER);
    let id = nodes[1].id();
    nodes[1].kill();
    let killed = Instant::now();
    let away = until(PATIENCE, "the killed node to be away", || {
        row(&nodes[0], &id).filter(|row| row["state"] == "away")
    });
    assert!(killed.elapsed() < Duration::from_secs(20), "it took {:?}", killed.elapsed());
    assert!(away["heard"].is_string());
    assert_eq!(nodes[0].larder(&["ping", "n1", "-c", "1"]).code, 1);
    nodes[0].stop();
    nodes[0].start(&["daemon"]);
    assert_eq!(row(&nodes[0], &id).unwrap()["state"], "away");
    nodes[1].start(&["daemon"]);
    until(PATIENCE, "the node to be up again", || row(&nodes[0], &id).filter(|row| row["state"] == "up"));
}

#[test]
fn ping_prints_times() {
    let lab = lab!(2, "ping_prints_times");
    let mut nodes = cluster(&lab, LARDER);
    let out = nodes[0].ok(&["ping", "n1", "-c", "2"]);
    assert_eq!(out.lines().filter(|line| line.contains("n1") && line.ends_with(" ms")).count(), 2, "{out}");
    assert!(nodes[0].json(&["ping", "n1", "-c", "1"])["ms"].as_f64().unwrap() > 0.0);
    nodes[1].stop();
    until(PATIENCE, "a stopped node to answer no ping", || {
        (nodes[0].larder(&["ping", "n1", "-c", "1"]).code == 1).then_some(())
    });
    assert_eq!(nodes[0].larder(&["ping", "nobody"]).code, 4);
}

#[test]
fn a_stop_takes_little_time_and_says_goodbye() {
    let lab = lab!(2, "a_stop_takes_little_time_and_says_goodbye");
    let mut nodes = cluster(&lab, LARDER);
    let took = nodes[1].stop();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert!(!nodes[1].data.join("larder.sock").exists());
    let away = nodes[1].larder(&["nodes"]);
    assert_eq!(away.code, 3);
    assert!(away.err.contains("no daemon answers") && away.err.contains("larder up"), "{}", away.err);
}

#[test]
fn a_copied_data_directory_harms_nobody_and_is_told_of() {
    let lab = lab!(3, "a_copied_data_directory_harms_nobody_and_is_told_of");
    let mut nodes: Vec<Node<'_>> = (0..3).map(|index| Node::on(&lab, index, LARDER)).collect();
    for node in &mut nodes[..2] {
        node.start(&["daemon"]);
    }
    nodes[0].ok(&["init", "shop"]);
    let code = nodes[0].invite(1);
    nodes[1].ok(&["join", &code]);
    nodes[1].ok(&["set", "config/a", "path=a", "keys.x=1"]);
    converge(&nodes[..2]);
    nodes[1].stop();
    let copied = std::process::Command::new("cp")
        .args(["-r", "--"])
        .arg(nodes[1].data.join("."))
        .arg(&nodes[2].data)
        .status();
    assert!(copied.unwrap().success());
    // Both write: the copy while the original is off, the original after that.
    nodes[2].start(&["daemon"]);
    until(PATIENCE, "the copy to say so", || {
        nodes[2].log().contains("copied, moved or restored").then_some(())
    });
    let told = nodes[2].ok(&["doctor"]) + &nodes[2].larder(&["nodes"]).err;
    assert_eq!(told.matches("was copied, moved or restored").count(), 2, "{told}");
    nodes[2].ok(&["set", "config/a", "keys.copy=1"]);
    converge(&[nodes[0].twin(), nodes[2].twin()]);
    nodes[1].start(&["daemon"]);
    nodes[1].ok(&["set", "config/a", "keys.original=1"]);
    nodes[2].stop();
    until(PATIENCE, "both writes on both others", || {
        let has = |node: &Node<'_>| {
            let fields = node.json(&["get", "config/a"])["fields"].to_string();
            fields.contains("keys.copy") && fields.contains("keys.original")
        };
        (has(&nodes[0]) && has(&nodes[1])).then_some(())
    });
    converge(&nodes[..2]);
    let warned = nodes[1].larder(&["nodes"]).err;
    assert!(warned.contains("a copy of its data directory"), "{warned}");
    assert_eq!(nodes[0].json(&["conflicts"])["conflicts"], Value::Array(vec![]));
}

#[test]
fn an_unknown_setting_is_named_with_its_place() {
    let dir = std::env::temp_dir().join(format!("larder-setting-{}", std::process::id()));
    let node = Node::here(&dir, "setting", LARDER);
    let file = node.data.join("larder.toml");
    std::fs::write(&file, "mdns = false\n\nlisten_on = []\n").unwrap();
    let ran = node.larder(&["daemon"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains(&format!("{}:3:1: unknown setting `listen_on`", file.display())), "{}", ran.err);
    drop(std::fs::remove_dir_all(dir));
}
