//! The network: discovery, joining, and what non-members can see.

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, start_daemons, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    two_fresh_hosts_see_each_other,
    peers_are_found_by_address_and_remembered_when_multicast_is_blocked,
    static_addresses_and_multicast_work_together,
    a_write_reaches_an_unreachable_member_through_a_third,
    values_and_names_never_appear_in_captured_packets,
    unusable_codes_are_refused_with_a_reason,
    a_used_code_admits_nobody_else,
    a_join_waits_for_its_issuer_and_is_completed_by_the_daemon,
    groups_survive_restarts,
}

fn two_fresh_hosts_see_each_other() {
    let lab = Lab::require(2);
    let nodes = start_daemons(&lab, LARDER);
    let other = nodes[1].id();
    let seen = wait_until(WAIT_LIMIT, "the other host", || {
        let nodes = nodes[0].run_json(&["nodes"]);
        nodes["nodes"].as_array()?.iter().find(|node| node["id"] == other.as_str()).cloned()
    });
    assert_eq!((&seen["state"], &seen["role"]), (&Value::from("seen"), &Value::Null));
}

fn peers_are_found_by_address_and_remembered_when_multicast_is_blocked() {
    let lab = Lab::require(2);
    lab.block_multicast(1);
    let mut nodes: Vec<TestNode<'_>> = (0..2).map(|index| TestNode::on_host(&lab, index, LARDER)).collect();
    nodes[0].start(&["daemon"]);
    let peer = format!("/ip4/{}/tcp/7440", lab.addr(0));
    nodes[1].start(&["daemon", "--peer", &peer]);
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].create_invite(1);
    nodes[1].run_ok(&["join", &code]);
    wait_until_converged(&nodes);
    // Whichever node restarts, it finds the other by its address book alone.
    for index in [1, 0] {
        nodes[index].stop();
        nodes[index].start(&["daemon"]);
        nodes[index].run_ok(&["set", "config/a", &format!("keys.k{index}=1")]);
        wait_until_converged(&nodes);
    }
}

fn static_addresses_and_multicast_work_together() {
    let lab = Lab::require(3);
    let mut nodes: Vec<TestNode<'_>> = (0..3).map(|index| TestNode::on_host(&lab, index, LARDER)).collect();
    let peer = format!("/ip4/{}/tcp/7440", lab.addr(0));
    for node in &mut nodes {
        node.start(&["daemon", "--peer", &peer]);
    }
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].create_invite(2);
    nodes[1].run_ok(&["join", &code]);
    nodes[2].run_ok(&["join", &code]);
    wait_until_converged(&nodes);
    wait_until(WAIT_LIMIT, "links between all", || {
        let linked = |node: &TestNode<'_>| {
            let peers = node.run_json(&["sync"])["peers"].as_array().cloned().unwrap_or_default();
            peers.len() == 2 && peers.iter().all(|peer| peer["state"] == "in-sync")
        };
        nodes.iter().all(linked).then_some(())
    });
}

fn a_write_reaches_an_unreachable_member_through_a_third() {
    let lab = Lab::require(3);
    let mut nodes: Vec<TestNode<'_>> = (0..3).map(|index| TestNode::on_host(&lab, index, LARDER)).collect();
    // A blackhole route makes hosts 0 and 2 unreachable for each other. Host 1 reaches both.
    for (host, other) in [(0, 2), (2, 0)] {
        let to = format!("{}/32", lab.addr(other));
        let done = lab.host(host).command("ip").args(["route", "add", "blackhole", &to]).status();
        assert!(done.unwrap().success());
    }
    let peer = format!("/ip4/{}/tcp/7440", lab.addr(1));
    for node in &mut nodes {
        node.start(&["daemon", "--no-mdns", "--peer", &peer]);
    }
    nodes[1].run_ok(&["init", "shop"]);
    let code = nodes[1].create_invite(2);
    nodes[0].run_ok(&["join", &code]);
    nodes[2].run_ok(&["join", &code]);
    nodes[0].run_ok(&["set", "config/far", "path=far", "keys.x=1"]);
    wait_until(WAIT_LIMIT, "the write on the far side", || {
        (nodes[2].read_file("far").contains("x=1")).then_some(())
    });
    wait_until_converged(&nodes);
    wait_until(WAIT_LIMIT, "the far node to be heard of", || {
        nodes[0].run_json(&["sync"])["peers"].to_string().contains("indirect").then_some(())
    });
}

/// The capture runs on a host of the lab and records every packet of its interface, like `tcpdump`.
fn values_and_names_never_appear_in_captured_packets() {
    let lab = Lab::require(3);
    let file = lab.log_dir().join("capture");
    let mut capture = lab.host(2).command(env!("CARGO_BIN_EXE_larder-capture"));
    capture.arg(&file);
    let mut capture = lab.host(2).start("capture", capture);
    wait_until(WAIT_LIMIT, "the capture to begin", || file.exists().then_some(()));
    let nodes = start_daemons(&lab, LARDER);
    nodes[0].run_ok(&["init", "kestrelgroup"]);
    let code = nodes[0].create_invite(1);
    nodes[2].run_ok(&["join", &code, "--alias", "heronalias"]);
    nodes[2].run_ok(&[
        "set",
        "config/ospreyname",
        "path=falconpath",
        "keys.gullkey=ternvalue",
        "-m",
        "wrenwords",
    ]);
    wait_until_converged(&[nodes[0].as_client(), nodes[2].as_client()]);
    wait_until(WAIT_LIMIT, "the file", || {
        nodes[0].read_file("falconpath").contains("ternvalue").then_some(())
    });
    // The non-member sees that nodes exist, and nothing of the group.
    let seen = nodes[1].run_ok(&["nodes", "--json"]);
    let (first, second) = (nodes[0].id(), nodes[2].id());
    assert!(seen.contains(&first) && seen.contains(&second));
    capture.stop(WAIT_LIMIT);
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.len() > 10_000, "{} bytes captured", bytes.len());
    // The capture works: it contains protocol names, which are sent in the clear.
    assert!(
        contains_bytes(&bytes, b"/larder/")
            || contains_bytes(&bytes, b"_p2p")
            || contains_bytes(&bytes, b"multistream")
    );
    for word in
        ["kestrelgroup", "heronalias", "ospreyname", "falconpath", "gullkey", "ternvalue", "wrenwords"]
    {
        assert!(!contains_bytes(&bytes, word.as_bytes()), "{word} was on the wire");
        assert!(!seen.contains(word), "{word} was told to a stranger");
    }
    for secret in ["ternvalue", code.as_str()] {
        assert!(nodes.iter().all(|node| !node.read_log().contains(secret)), "{secret} stands in a log");
    }
}

fn contains_bytes(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|part| part == word)
}

fn unusable_codes_are_refused_with_a_reason() {
    let lab = Lab::require(2);
    let nodes = start_daemons(&lab, LARDER);
    nodes[0].run_ok(&["init", "shop"]);
    let refused = |code: &str, exit: i32, word: &str| {
        let ran = nodes[1].run_larder(&["join", code]);
        assert_eq!(ran.exit_code, exit, "{}", ran.stderr);
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    };
    let good = nodes[0].create_invite(1);
    let mut typo: Vec<char> = good.chars().collect();
    let last = typo.len() - 1;
    typo[last] = if typo[last] == 'z' { 'y' } else { 'z' };
    refused(&typo.iter().collect::<String>(), 2, "mistyped");
    refused("nonsense", 2, "not an invite code");

    let revoked = nodes[0].create_invite(1);
    let list = nodes[0].run_json(&["invite", "list"]);
    assert_eq!(list["invites"].as_array().unwrap().len(), 2);
    nodes[0].run_ok(&["invite", "revoke", &revoked]);
    refused(&revoked, 5, "revoked");

    let expired = nodes[0].run_ok(&["invite", "--expires", "1s"]).trim().to_owned();
    wait_until(WAIT_LIMIT, "the invite to expire", || {
        nodes[0].run_ok(&["invite", "list"]).contains("expired").then_some(())
    });
    refused(&expired, 5, "expired");

    nodes[1].run_ok(&["join", &good]);
    assert_eq!(nodes[1].run_larder(&["join", &good]).exit_code, 5);
    assert!(nodes[0].run_ok(&["invite", "list"]).contains("used"));
}

fn a_used_code_admits_nobody_else() {
    let lab = Lab::require(3);
    let nodes = start_daemons(&lab, LARDER);
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].create_invite(1);
    nodes[1].run_ok(&["join", &code]);
    let ran = nodes[2].run_larder(&["join", &code]);
    assert_eq!(ran.exit_code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("used already"), "{}", ran.stderr);
    assert_eq!(nodes[2].run_json(&["groups"])["groups"], Value::Array(vec![]));
}

fn a_join_waits_for_its_issuer_and_is_completed_by_the_daemon() {
    let lab = Lab::require(3);
    let mut nodes = start_daemons(&lab, LARDER);
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].create_invite(2);
    nodes[1].run_ok(&["join", &code]);
    nodes[0].stop();
    let ran = nodes[2].run_larder(&["join", &code, "--timeout", "3"]);
    assert_eq!(ran.exit_code, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("waiting for") || ran.stderr.contains("keeps trying"), "{}", ran.stderr);
    // The join continues after a restart.
    nodes[2].stop();
    nodes[2].start(&["daemon"]);
    nodes[0].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "the join to be finished", || {
        (nodes[2].run_json(&["groups"])["groups"].as_array()?.len() == 1).then_some(())
    });
    wait_until_converged(&nodes);
}

fn groups_survive_restarts() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["init", "second"]);
    let names = |node: &TestNode<'_>| {
        let groups = node.run_json(&["groups"])["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().map(|group| group["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&nodes[0]), ["second", "shop"]);
    let ran = nodes[0].run_larder(&["list"]);
    assert_eq!(ran.exit_code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("second, shop") || ran.stderr.contains("shop, second"), "{}", ran.stderr);
    nodes[0].run_ok(&["list", "--group", "second"]);
    for node in &mut nodes {
        node.kill();
        node.start(&["daemon"]);
    }
    assert_eq!(names(&nodes[0]), ["second", "shop"]);
    assert_eq!(names(&nodes[1]), ["shop"]);
    // A write in one group never shows in another.
    nodes[0].run_ok(&["set", "config/a", "keys.x=1", "-g", "second"]);
    nodes[0].run_ok(&["set", "config/b", "keys.x=1", "-g", "shop"]);
    let lists_resource_of_second = |text: &str| text.contains("config/a");
    assert!(
        !lists_resource_of_second(&nodes[0].run_ok(&["list", "-g", "shop"]))
            && lists_resource_of_second(&nodes[0].run_ok(&["list", "-g", "second"]))
    );
    wait_until(WAIT_LIMIT, "the write on the other node", || {
        nodes[1].run_ok(&["list"]).contains("config/b").then_some(())
    });
    assert!(!lists_resource_of_second(&nodes[1].run_ok(&["list"])));
}
