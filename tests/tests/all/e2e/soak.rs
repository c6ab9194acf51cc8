//! Long runs: flapping links, wrong clocks, repeated kills, and several groups.
//!
//! `LARDER_LONG=1` runs each test for its full length. Without it they are short.

use std::time::Duration;

use larder_tests::fake_clock::FakeClock;
use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    flapping_links_converge_without_growing_memory,
    a_wrong_clock_changes_no_merge_result,
    repeated_kills_lose_no_acknowledged_write_in_any_group,
    repeated_restarts_grow_neither_memory_nor_open_files,
}

fn is_long_run() -> bool {
    std::env::var_os("LARDER_LONG").is_some()
}

/// The resident memory in MiB and the number of open files of every daemon.
fn memory_and_open_files(nodes: &[TestNode<'_>]) -> Vec<(u64, usize)> {
    let daemons = nodes.iter().filter_map(|node| node.daemon.as_ref());
    daemons.map(|daemon| (daemon.resident_bytes() >> 20, daemon.open_file_count())).collect()
}

fn change_count(node: &TestNode<'_>) -> u64 {
    node.run_json(&["groups"])["groups"][0]["changes"].as_u64().expect("a count")
}

/// The time for which the flapping link is down, and then up. The test measures this workload, so it waits
/// for no condition.
const FLAP_INTERVAL: Duration = Duration::from_secs(1);

/// The link between two halves goes down and up every second while both sides write.
fn flapping_links_converge_without_growing_memory() {
    let lab = Lab::require(4);
    let nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=1"]);
    wait_until_converged(&nodes);
    let flaps = if is_long_run() { 60 } else { 6 };
    let mut curve = vec![memory_and_open_files(&nodes)];
    for flap in 0..flaps {
        lab.partition(&[&[0, 1], &[2, 3]]);
        nodes[0].run_ok(&["set", "config/a", &format!("keys.left{}=l{flap}", flap % 4)]);
        std::thread::sleep(FLAP_INTERVAL);
        lab.heal();
        nodes[3].run_ok(&["set", "config/a", &format!("keys.right{}=r{flap}", flap % 4)]);
        std::thread::sleep(FLAP_INTERVAL);
        curve.push(memory_and_open_files(&nodes));
    }
    wait_until_converged(&nodes);
    report!("flapping, (MiB, files) of each daemon: {curve:?}");
    let (first, last) = (&curve[0], memory_and_open_files(&nodes));
    for ((before, files), (after, open)) in first.iter().zip(&last) {
        assert!(*after <= before + 16, "memory grew from {before} to {after} MiB");
        assert!(*open <= files + 16, "open files grew from {files} to {open}");
    }
    for node in &nodes {
        wait_until(WAIT_LIMIT, "the last writes of both sides", || {
            let text = node.read_file("a");
            let last = flaps - 1;
            let both = [format!("left{}=l{last}", last % 4), format!("right{}=r{last}", last % 4)];
            both.iter().all(|line| text.contains(line)).then_some(())
        });
    }
}

fn conflicts(node: &TestNode<'_>) -> Vec<Value> {
    node.run_json(&["conflicts"])["conflicts"].as_array().cloned().unwrap_or_default()
}

fn cut_off_first_host(lab: &Lab, nodes: &[TestNode<'_>]) {
    lab.partition(&[&[0], &[1, 2]]);
    wait_until(WAIT_LIMIT, "the cut to be noticed", || {
        let peers = nodes[0].run_json(&["sync"])["peers"].as_array().cloned().unwrap_or_default();
        peers.iter().all(|peer| peer["state"] == "away" || peer["state"] == "indirect").then_some(())
    });
}

/// Both sides merge as usual, whatever one wall clock says, and no clock decides which value wins.
fn a_wrong_clock_changes_no_merge_result() {
    let lab = Lab::require(3);
    let clock = FakeClock::require(lab.log_dir(), "n0");
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[0].stop();
    nodes[0].env = clock.env();
    nodes[0].start(&["daemon"]);
    for (round, offset) in ["+1d", "-2d", "+30y"].into_iter().enumerate() {
        let name = |what: &str| format!("config/{what}{round}");
        let (both, one, gone) = (name("both"), name("one"), name("gone"));
        nodes[1].run_ok(&["set", &both, &format!("path=both{round}"), "keys.x=base", "keys.y=base"]);
        nodes[1].run_ok(&["set", &gone, &format!("path=gone{round}"), "keys.x=base"]);
        wait_until_converged(&nodes);
        nodes.iter().for_each(wait_until_applied);
        cut_off_first_host(&lab, &nodes);
        clock.set_offset(offset);
        nodes[0].run_ok(&["set", &both, "keys.x=ahead"]);
        nodes[0].run_ok(&["set", &one, &format!("path=one{round}"), "keys.left=1"]);
        nodes[0].run_ok(&["rm", &gone]);
        nodes[1].run_ok(&["set", &both, "keys.x=right", "keys.y=right"]);
        nodes[1].run_ok(&["set", &one, &format!("path=one{round}"), "keys.right=1"]);
        nodes[1].run_ok(&["set", &gone, "keys.x=edited"]);
        lab.heal();
        wait_until_converged(&nodes);
        nodes.iter().for_each(wait_until_applied);
        for node in &nodes {
            let fields = node.run_json(&["get", &one])["fields"].clone();
            assert_eq!((&fields["keys.left"], &fields["keys.right"]), (&"1".into(), &"1".into()), "{offset}");
            assert_eq!(node.run_json(&["get", &both])["fields"]["keys.y"], "right", "{offset}");
            let found = conflicts(node);
            let kinds: Vec<&str> = found.iter().filter_map(|one| one["kind"].as_str()).collect();
            assert_eq!(kinds, ["value", "edit/remove"], "{offset}: {found:?}");
        }
        let mine = nodes[0].read_file(&format!("both{round}"));
        assert!(mine.contains("x=ahead") && mine.contains("y=right"), "{offset}: {mine}");
        assert!(nodes[2].read_file(&format!("both{round}")).contains("x=right"), "{offset}");
        nodes[2].run_ok(&["resolve", &both, "keys.x", "--value", "settled"]);
        nodes[2].run_ok(&["resolve", &gone, "ensure", "--value", "absent"]);
        wait_until_converged(&nodes);
        assert!(conflicts(&nodes[0]).is_empty(), "{offset}");
        for node in &nodes {
            wait_until(WAIT_LIMIT, "the settled value", || {
                node.read_file(&format!("both{round}")).contains("x=settled").then_some(())
            });
        }
        // After the restart the clock is far back, like that of a host with an empty battery.
        nodes[0].kill();
        clock.set_offset("-50y");
        nodes[0].start(&["daemon"]);
        wait_until_converged(&nodes);
    }
}

/// Kills daemons at random moments while all of them write, in three groups that share hosts.
fn repeated_kills_lose_no_acknowledged_write_in_any_group() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    let members: [(&str, &[usize]); 3] = [("shop", &[0, 1, 2]), ("left", &[0, 1]), ("right", &[2, 1])];
    for (name, hosts) in &members[1..] {
        nodes[hosts[0]].run_ok(&["init", name]);
        let code = nodes[hosts[0]].run_ok(&["invite", "-g", name]).trim().to_owned();
        nodes[hosts[1]].run_ok(&["join", &code]);
    }
    let mut acknowledged: Vec<(&str, String)> = Vec::new();
    let rounds = if is_long_run() { 30 } else { 5 };
    for round in 0..rounds {
        for (name, hosts) in members {
            for index in hosts {
                let value = format!("keys.n{index}=r{round}");
                let ran = nodes[*index].run_larder(&[
                    "set",
                    &format!("config/{name}"),
                    &value,
                    "-g",
                    name,
                    "--json",
                ]);
                if ran.exit_code == 0 {
                    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
                    acknowledged.push((name, answer["change"].as_str().unwrap().to_owned()));
                }
            }
        }
        // The killed daemon may be handling changes that the others just sent.
        let victim = (round * 7 + 1) % 3;
        nodes[victim].kill();
        nodes[victim].start(&["daemon"]);
    }
    assert!(acknowledged.len() > rounds * 5, "{} writes", acknowledged.len());
    for (name, hosts) in members {
        let digest = |index: &usize| nodes[*index].run_json(&["heads", "-g", name])["digest"].clone();
        wait_until(WAIT_LIMIT, "equal digests", || {
            let digests: Vec<Value> = hosts.iter().map(digest).collect();
            digests.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        });
        for index in hosts {
            let log = nodes[*index].run_ok(&["log", "-n", "0", "-g", name, "--json"]);
            let lost = acknowledged.iter().find(|(group, change)| *group == name && !log.contains(change));
            assert_eq!(lost, None, "node {index}");
            for (other, _) in members.iter().filter(|(other, _)| *other != name) {
                assert!(!log.contains(&format!("config/{other}")), "{other} leaked into {name}");
            }
        }
    }
}

/// Repeated restarts of a neighbour cost neither memory nor open files.
fn repeated_restarts_grow_neither_memory_nor_open_files() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=1"]);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    let before = memory_and_open_files(&nodes[..1]);
    let changes = change_count(&nodes[0]);
    let rounds = if is_long_run() { 60 } else { 8 };
    for round in 0..rounds {
        if round % 2 == 0 {
            nodes[1].kill();
        } else {
            nodes[1].stop();
        }
        nodes[1].start(&["daemon"]);
        wait_until_converged(&nodes);
    }
    assert_eq!(change_count(&nodes[0]), changes, "a restart is no change");
    let after = memory_and_open_files(&nodes[..1]);
    report!("{rounds} restarts of a neighbour: {before:?} MiB and files before, {after:?} after");
    assert!(after[0].0 <= before[0].0 + 16 && after[0].1 <= before[0].1 + 8, "{before:?} {after:?}");
}
