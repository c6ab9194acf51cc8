//! What only shows after a while: links that flap, clocks that step, daemons that die again and again, many groups.
//!
//! `LARDER_LONG=1` plays each of them as long as the acceptance rows say; without it they are short.

use std::time::{Duration, Instant};

use larder_tests::clock::Clock;
use larder_tests::lab::{Lab, until};
use larder_tests::node::{Node, PATIENCE, cluster, converge, settle};
use serde_json::Value;

use super::{LARDER, lab};

fn long() -> bool {
    std::env::var_os("LARDER_LONG").is_some()
}

/// Resident memory in MiB and open files of every daemon.
fn weights(nodes: &[Node<'_>]) -> Vec<(u64, usize)> {
    let daemons = nodes.iter().filter_map(|node| node.daemon.as_ref());
    daemons.map(|daemon| (daemon.memory() >> 20, daemon.files())).collect()
}

fn count(node: &Node<'_>) -> u64 {
    node.json(&["groups"])["groups"][0]["changes"].as_u64().expect("a count")
}

fn pause(duration: Duration) {
    let begun = Instant::now();
    until(duration + PATIENCE, "time to pass", || (begun.elapsed() >= duration).then_some(()));
}

/// T10: the link between two halves comes and goes every second; both write.
#[test]
fn flapping_links_end_equal_and_cost_no_memory() {
    let lab = lab!(4, "flapping_links_end_equal_and_cost_no_memory");
    let nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["set", "config/a", "path=a", "keys.x=1"]);
    converge(&nodes);
    let flaps = if long() { 60 } else { 6 };
    let mut curve = vec![weights(&nodes)];
    for flap in 0..flaps {
        lab.split(&[&[0, 1], &[2, 3]]);
        nodes[0].ok(&["set", "config/a", &format!("keys.left{}=l{flap}", flap % 4)]);
        pause(Duration::from_secs(1));
        lab.heal();
        nodes[3].ok(&["set", "config/a", &format!("keys.right{}=r{flap}", flap % 4)]);
        pause(Duration::from_secs(1));
        curve.push(weights(&nodes));
    }
    converge(&nodes);
    eprintln!("flapping, (MiB, files) of each daemon: {curve:?}");
    let (first, last) = (&curve[0], weights(&nodes));
    for ((before, files), (after, open)) in first.iter().zip(&last) {
        assert!(*after <= before + 16, "memory grew from {before} to {after} MiB");
        assert!(*open <= files + 16, "open files grew from {files} to {open}");
    }
    for node in &nodes {
        until(PATIENCE, "the last writes of both sides", || {
            let text = node.file("a");
            let last = flaps - 1;
            let both = [format!("left{}=l{last}", last % 4), format!("right{}=r{last}", last % 4)];
            both.iter().all(|line| text.contains(line)).then_some(())
        });
    }
}

fn conflicts(node: &Node<'_>) -> Vec<Value> {
    node.json(&["conflicts"])["conflicts"].as_array().cloned().unwrap_or_default()
}

fn cut(lab: &Lab, nodes: &[Node<'_>]) {
    lab.split(&[&[0], &[1, 2]]);
    until(PATIENCE, "the cut to be noticed", || {
        let peers = nodes[0].json(&["sync"])["peers"].as_array().cloned().unwrap_or_default();
        peers.iter().all(|peer| peer["state"] == "away" || peer["state"] == "indirect").then_some(())
    });
}

/// E7: whatever one clock says, both sides are merged as ever, and no clock decides who wins.
#[test]
fn a_clock_that_is_wrong_changes_nothing() {
    let lab = lab!(3, "a_clock_that_is_wrong_changes_nothing");
    let mut nodes = cluster(&lab, LARDER);
    let Some(clock) = Clock::or_skip(lab.logs(), "n0", "a_clock_that_is_wrong_changes_nothing") else {
        return;
    };
    nodes[0].stop();
    nodes[0].env = clock.env();
    nodes[0].start(&["daemon"]);
    for (round, by) in ["+1d", "-2d", "+30y"].into_iter().enumerate() {
        let name = |what: &str| format!("config/{what}{round}");
        let (both, one, gone) = (name("both"), name("one"), name("gone"));
        nodes[1].ok(&["set", &both, &format!("path=both{round}"), "keys.x=base", "keys.y=base"]);
        nodes[1].ok(&["set", &gone, &format!("path=gone{round}"), "keys.x=base"]);
        converge(&nodes);
        nodes.iter().for_each(settle);
        cut(&lab, &nodes);
        clock.step(by);
        nodes[0].ok(&["set", &both, "keys.x=ahead"]);
        nodes[0].ok(&["set", &one, &format!("path=one{round}"), "keys.left=1"]);
        nodes[0].ok(&["rm", &gone]);
        nodes[1].ok(&["set", &both, "keys.x=right", "keys.y=right"]);
        nodes[1].ok(&["set", &one, &format!("path=one{round}"), "keys.right=1"]);
        nodes[1].ok(&["set", &gone, "keys.x=edited"]);
        lab.heal();
        converge(&nodes);
        nodes.iter().for_each(settle);
        for node in &nodes {
            let fields = node.json(&["get", &one])["fields"].clone();
            assert_eq!((&fields["keys.left"], &fields["keys.right"]), (&"1".into(), &"1".into()), "{by}");
            assert_eq!(node.json(&["get", &both])["fields"]["keys.y"], "right", "{by}");
            let found = conflicts(node);
            let kinds: Vec<&str> = found.iter().filter_map(|one| one["kind"].as_str()).collect();
            assert_eq!(kinds, ["value", "edit/remove"], "{by}: {found:?}");
        }
        let mine = nodes[0].file(&format!("both{round}"));
        assert!(mine.contains("x=ahead") && mine.contains("y=right"), "{by}: {mine}");
        assert!(nodes[2].file(&format!("both{round}")).contains("x=right"), "{by}");
        nodes[2].ok(&["resolve", &both, "keys.x", "--value", "settled"]);
        nodes[2].ok(&["resolve", &gone, "ensure", "--value", "absent"]);
        converge(&nodes);
        assert!(conflicts(&nodes[0]).is_empty(), "{by}");
        for node in &nodes {
            until(PATIENCE, "the settled value", || {
                node.file(&format!("both{round}")).contains("x=settled").then_some(())
            });
        }
        // Back over a restart, as a machine with an empty battery comes up.
        nodes[0].kill();
        clock.step("-50y");
        nodes[0].start(&["daemon"]);
        converge(&nodes);
    }
}

/// Kills daemons at random moments while all of them write, in three groups that share machines.
#[test]
fn a_storm_of_kills_loses_nothing_in_any_group() {
    let lab = lab!(3, "a_storm_of_kills_loses_nothing_in_any_group");
    let mut nodes = cluster(&lab, LARDER);
    let members: [(&str, &[usize]); 3] = [("shop", &[0, 1, 2]), ("left", &[0, 1]), ("right", &[2, 1])];
    for (name, of) in &members[1..] {
        nodes[of[0]].ok(&["init", name]);
        let code = nodes[of[0]].ok(&["invite", "-g", name]).trim().to_owned();
        nodes[of[1]].ok(&["join", &code]);
    }
    let mut acknowledged: Vec<(&str, String)> = Vec::new();
    let rounds = if long() { 30 } else { 5 };
    for round in 0..rounds {
        for (name, of) in members {
            for index in of {
                let value = format!("keys.n{index}=r{round}");
                let ran =
                    nodes[*index].larder(&["set", &format!("config/{name}"), &value, "-g", name, "--json"]);
                if ran.code == 0 {
                    let answer: Value = serde_json::from_str(&ran.out).unwrap();
                    acknowledged.push((name, answer["change"].as_str().unwrap().to_owned()));
                }
            }
        }
        // Whichever is in the middle of what the others just sent it.
        let victim = (round * 7 + 1) % 3;
        nodes[victim].kill();
        nodes[victim].start(&["daemon"]);
    }
    assert!(acknowledged.len() > rounds * 5, "{} writes", acknowledged.len());
    for (name, of) in members {
        let digest = |index: &usize| nodes[*index].json(&["heads", "-g", name])["digest"].clone();
        until(PATIENCE, "equal digests", || {
            let digests: Vec<Value> = of.iter().map(digest).collect();
            digests.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        });
        for index in of {
            let log = nodes[*index].ok(&["log", "-n", "0", "-g", name, "--json"]);
            let lost = acknowledged.iter().find(|(group, change)| *group == name && !log.contains(change));
            assert_eq!(lost, None, "node {index}");
            for (other, _) in members.iter().filter(|(other, _)| *other != name) {
                assert!(!log.contains(&format!("config/{other}")), "{other} leaked into {name}");
            }
        }
    }
}

/// N6 and memory: restarts by the dozen leave nothing behind that grows.
#[test]
fn restarts_leave_nothing_that_grows() {
    let lab = lab!(2, "restarts_leave_nothing_that_grows");
    let mut nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["set", "config/a", "path=a", "keys.x=1"]);
    nodes.iter().for_each(settle);
    converge(&nodes);
    let before = weights(&nodes[..1]);
    let changes = count(&nodes[0]);
    let rounds = if long() { 60 } else { 8 };
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        if round % 2 == 0 {
            nodes[1].kill();
        } else {
            slowest = slowest.max(nodes[1].stop());
        }
        nodes[1].start(&["daemon"]);
        converge(&nodes);
    }
    assert!(slowest < Duration::from_secs(5), "SIGTERM took {slowest:?}");
    assert_eq!(count(&nodes[0]), changes, "a restart is no change");
    let after = weights(&nodes[..1]);
    eprintln!("{rounds} restarts of a neighbour: {before:?} MiB and files before, {after:?} after");
    assert!(after[0].0 <= before[0].0 + 16 && after[0].1 <= before[0].1 + 8, "{before:?} {after:?}");
}
