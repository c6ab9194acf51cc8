//! The network: finding each other, getting in, and what strangers may know.

use std::time::{Duration, Instant};

use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge, daemons};
use serde_json::Value;

use super::{LARDER, lab};

#[test]
fn two_fresh_hosts_see_each_other() {
    let lab = lab!(2, "two_fresh_hosts_see_each_other");
    let nodes = daemons(&lab, LARDER);
    let started = Instant::now();
    let other = nodes[1].id();
    let seen = until(PATIENCE, "the other host", || {
        let nodes = nodes[0].json(&["nodes"]);
        nodes["nodes"].as_array()?.iter().find(|node| node["id"] == other.as_str()).cloned()
    });
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    assert_eq!((&seen["state"], &seen["role"]), (&Value::from("seen"), &Value::Null));
}

#[test]
fn peers_are_found_by_address_where_multicast_is_blocked_and_remembered() {
    let lab = lab!(2, "peers_are_found_by_address_where_multicast_is_blocked_and_remembered");
    lab.block_multicast(1);
    let mut nodes: Vec<Node<'_>> = (0..2).map(|index| Node::on(&lab, index, LARDER)).collect();
    nodes[0].start(&["daemon"]);
    let peer = format!("/ip4/{}/tcp/7440", lab.addr(0));
    nodes[1].start(&["daemon", "--peer", &peer]);
    nodes[0].ok(&["init", "shop"]);
    let code = nodes[0].invite(1);
    nodes[1].ok(&["join", &code]);
    converge(&nodes);
    // From memory alone, with nothing named: whichever of the two restarts.
    for index in [1, 0] {
        nodes[index].stop();
        nodes[index].start(&["daemon"]);
        nodes[index].ok(&["set", "config/a", &format!("keys.k{index}=1")]);
        converge(&nodes);
    }
}

#[test]
fn addresses_and_multicast_work_at_the_same_time() {
    let lab = lab!(3, "addresses_and_multicast_work_at_the_same_time");
    let mut nodes: Vec<Node<'_>> = (0..3).map(|index| Node::on(&lab, index, LARDER)).collect();
    let peer = format!("/ip4/{}/tcp/7440", lab.addr(0));
    for node in &mut nodes {
        node.start(&["daemon", "--peer", &peer]);
    }
    nodes[0].ok(&["init", "shop"]);
    let code = nodes[0].invite(2);
    nodes[1].ok(&["join", &code]);
    nodes[2].ok(&["join", &code]);
    converge(&nodes);
    until(PATIENCE, "links between all", || {
        let linked = |node: &Node<'_>| {
            let peers = node.json(&["sync"])["peers"].as_array().cloned().unwrap_or_default();
            peers.len() == 2 && peers.iter().all(|peer| peer["state"] == "in-sync")
        };
        nodes.iter().all(linked).then_some(())
    });
}

#[test]
fn a_write_goes_over_a_third_where_two_cannot_meet() {
    let lab = lab!(3, "a_write_goes_over_a_third_where_two_cannot_meet");
    let mut nodes: Vec<Node<'_>> = (0..3).map(|index| Node::on(&lab, index, LARDER)).collect();
    // 0 and 2 are forbidden to each other by a route that leads nowhere; 1 sees both.
    for (host, other) in [(0, 2), (2, 0)] {
        let to = format!("{}/32", lab.addr(other));
        let done = lab.host(host).command("ip").args(["route", "add", "blackhole", &to]).status();
        assert!(done.unwrap().success());
    }
    let peer = format!("/ip4/{}/tcp/7440", lab.addr(1));
    for node in &mut nodes {
        node.start(&["daemon", "--no-mdns", "--peer", &peer]);
    }
    nodes[1].ok(&["init", "shop"]);
    let code = nodes[1].invite(2);
    nodes[0].ok(&["join", &code]);
    nodes[2].ok(&["join", &code]);
    nodes[0].ok(&["set", "config/far", "path=far", "keys.x=1"]);
    until(PATIENCE, "the write on the far side", || (nodes[2].file("far").contains("x=1")).then_some(()));
    converge(&nodes);
    until(PATIENCE, "the far node to be heard of", || {
        nodes[0].json(&["sync"])["peers"].to_string().contains("indirect").then_some(())
    });
}

/// Everything that crosses a wire of the lab is looked at: on the host itself, as `tcpdump` would.
#[test]
fn no_value_and_no_name_is_ever_on_the_wire() {
    let lab = lab!(3, "no_value_and_no_name_is_ever_on_the_wire");
    let file = lab.logs().join("capture");
    let mut capture = lab.host(2).command(env!("CARGO_BIN_EXE_larder-capture"));
    capture.arg(&file);
    let mut capture = lab.host(2).start("capture", capture);
    until(PATIENCE, "the capture to begin", || file.exists().then_some(()));
    let nodes = daemons(&lab, LARDER);
    nodes[0].ok(&["init", "kestrelgroup"]);
    let code = nodes[0].invite(1);
    nodes[2].ok(&["join", &code, "--alias", "heronalias"]);
    nodes[2].ok(&[
        "set",
        "config/ospreyname",
        "path=falconpath",
        "keys.gullkey=ternvalue",
        "-m",
        "wrenwords",
    ]);
    converge(&[nodes[0].twin(), nodes[2].twin()]);
    until(PATIENCE, "the file", || nodes[0].file("falconpath").contains("ternvalue").then_some(()));
    // The stranger sees that there are nodes, and nothing else.
    let seen = nodes[1].ok(&["nodes", "--json"]);
    let (first, second) = (nodes[0].id(), nodes[2].id());
    assert!(seen.contains(&first) && seen.contains(&second));
    capture.stop(PATIENCE);
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.len() > 10_000, "{} bytes captured", bytes.len());
    // What a node is and where stands in the open.
    assert!(has(&bytes, b"/larder/") || has(&bytes, b"_p2p") || has(&bytes, b"multistream"));
    for word in
        ["kestrelgroup", "heronalias", "ospreyname", "falconpath", "gullkey", "ternvalue", "wrenwords"]
    {
        assert!(!has(&bytes, word.as_bytes()), "{word} was on the wire");
        assert!(!seen.contains(word), "{word} was told to a stranger");
    }
    for secret in ["ternvalue", code.as_str()] {
        assert!(nodes.iter().all(|node| !node.log().contains(secret)), "{secret} stands in a log");
    }
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

#[test]
fn codes_that_cannot_be_used_are_refused_with_the_reason() {
    let lab = lab!(2, "codes_that_cannot_be_used_are_refused_with_the_reason");
    let nodes = daemons(&lab, LARDER);
    nodes[0].ok(&["init", "shop"]);
    let refused = |code: &str, exit: i32, word: &str| {
        let ran = nodes[1].larder(&["join", code]);
        assert_eq!(ran.code, exit, "{}", ran.err);
        assert!(ran.err.contains(word), "{}", ran.err);
    };
    let good = nodes[0].invite(1);
    let mut typo: Vec<char> = good.chars().collect();
    let last = typo.len() - 1;
    typo[last] = if typo[last] == 'z' { 'y' } else { 'z' };
    refused(&typo.iter().collect::<String>(), 2, "mistyped");
    refused("nonsense", 2, "not an invite code");

    let revoked = nodes[0].invite(1);
    let list = nodes[0].json(&["invite", "list"]);
    assert_eq!(list["invites"].as_array().unwrap().len(), 2);
    nodes[0].ok(&["invite", "revoke", &revoked]);
    refused(&revoked, 5, "revoked");

    let expired = nodes[0].ok(&["invite", "--expires", "1s"]).trim().to_owned();
    until(PATIENCE, "the invite to expire", || {
        nodes[0].ok(&["invite", "list"]).contains("expired").then_some(())
    });
    refused(&expired, 5, "expired");

    let begun = Instant::now();
    nodes[1].ok(&["join", &good]);
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    assert_eq!(nodes[1].larder(&["join", &good]).code, 5);
    assert!(nodes[0].ok(&["invite", "list"]).contains("used"));
}

#[test]
fn a_used_code_lets_nobody_else_in() {
    let lab = lab!(3, "a_used_code_lets_nobody_else_in");
    let nodes = daemons(&lab, LARDER);
    nodes[0].ok(&["init", "shop"]);
    let code = nodes[0].invite(1);
    nodes[1].ok(&["join", &code]);
    let ran = nodes[2].larder(&["join", &code]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(ran.err.contains("used already"), "{}", ran.err);
    assert_eq!(nodes[2].json(&["groups"])["groups"], Value::Array(vec![]));
}

#[test]
fn a_join_waits_for_its_issuer_and_is_finished_by_the_daemon() {
    let lab = lab!(3, "a_join_waits_for_its_issuer_and_is_finished_by_the_daemon");
    let mut nodes = daemons(&lab, LARDER);
    nodes[0].ok(&["init", "shop"]);
    let code = nodes[0].invite(2);
    nodes[1].ok(&["join", &code]);
    nodes[0].stop();
    let ran = nodes[2].larder(&["join", &code, "--timeout", "3"]);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.err.contains("waiting for") || ran.err.contains("keeps trying"), "{}", ran.err);
    // Over a restart too.
    nodes[2].stop();
    nodes[2].start(&["daemon"]);
    nodes[0].start(&["daemon"]);
    until(PATIENCE, "the join to be finished", || {
        (nodes[2].json(&["groups"])["groups"].as_array()?.len() == 1).then_some(())
    });
    converge(&nodes);
}

#[test]
fn groups_outlive_restarts() {
    let lab = lab!(2, "groups_outlive_restarts");
    let mut nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["init", "second"]);
    let names = |node: &Node<'_>| {
        let groups = node.json(&["groups"])["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().map(|group| group["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&nodes[0]), ["second", "shop"]);
    let ran = nodes[0].larder(&["list"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("second, shop") || ran.err.contains("shop, second"), "{}", ran.err);
    nodes[0].ok(&["list", "--group", "second"]);
    for node in &mut nodes {
        node.kill();
        node.start(&["daemon"]);
    }
    assert_eq!(names(&nodes[0]), ["second", "shop"]);
    assert_eq!(names(&nodes[1]), ["shop"]);
    // What is written to one never shows in the other.
    nodes[0].ok(&["set", "config/a", "keys.x=1", "-g", "second"]);
    nodes[0].ok(&["set", "config/b", "keys.x=1", "-g", "shop"]);
    let id = |text: &str| text.contains("config/a");
    assert!(!id(&nodes[0].ok(&["list", "-g", "shop"])) && id(&nodes[0].ok(&["list", "-g", "second"])));
    until(PATIENCE, "the write on the other node", || {
        nodes[1].ok(&["list"]).contains("config/b").then_some(())
    });
    assert!(!id(&nodes[1].ok(&["list"])));
}
