//! A live daemon against a peer that tries everything, first as a stranger, then as an operator of the group.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use larder_tests::lab::{Process, until};
use larder_tests::node::{Node, PATIENCE, converge};
use serde_json::Value;

use super::{LARDER, lab};

const VILLAIN: &str = env!("CARGO_BIN_EXE_larder-villain");
/// What of a daemon's memory a villain may take: the bounds of one group for what does not count, and room for history.
const MEMORY: u64 = 160 << 20;

/// Bytes that a daemon holds in memory.
fn memory(node: &Node<'_>) -> u64 {
    node.daemon.as_ref().expect("a daemon").memory()
}

/// How long writes on one honest node took until the other had them in its file, one after the other as long as there are to
/// be `more`; sorted.
fn latencies(
    from: &Node<'_>,
    to: &Node<'_>,
    round: &str,
    mut more: impl FnMut(usize) -> bool,
) -> Vec<Duration> {
    let mut all = Vec::new();
    while more(all.len()) {
        let value = format!("{round}{}.", all.len());
        let begun = Instant::now();
        from.ok(&["set", "config/honest", "path=honest", &format!("keys.v={value}")]);
        until(PATIENCE, "the write on the other node", || to.file("honest").contains(&value).then_some(()));
        all.push(begun.elapsed());
    }
    all.sort_unstable();
    all
}

fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_villain_that_tries_everything_harms_nobody() {
    let lab = lab!(3, "a_villain_that_tries_everything_harms_nobody");
    let mut nodes: Vec<Node<'_>> = (0..2).map(|index| Node::on(&lab, index, LARDER)).collect();
    for node in &mut nodes {
        node.start(&["daemon"]);
    }
    nodes[0].ok(&["init", "shop"]);
    let code = nodes[0].invite(1);
    nodes[1].ok(&["join", &code, "--alias", "n1"]);
    converge(&nodes);
    let quiet = latencies(&nodes[1], &nodes[0], "quiet", |count| count < 50);
    let before = memory(&nodes[0]);
    let code = nodes[0].invite(1);
    let log = lab.logs().join("villain.log");
    let mut command = lab.host(2).command(VILLAIN);
    let peer = format!("/ip4/{}/tcp/7440", lab.addr(0));
    command.args(["--peer", &peer, "--code", &code, "--seconds", "30"]);
    let mut villain = Process::start(command, &log);
    let all = larder_tests::villain::AS_STRANGER.len() + larder_tests::villain::AS_MEMBER.len();
    let begun = Instant::now();
    let is_at_it = |_| {
        let lines = lines(&log);
        let tried: BTreeSet<&str> = lines.iter().filter_map(|line| line["attack"].as_str()).collect();
        assert!(begun.elapsed() < 3 * PATIENCE, "of {all} attacks these were tried: {tried:?}");
        tried.len() < all
    };
    let loud = latencies(&nodes[1], &nodes[0], "loud", is_at_it);
    // Both daemons are up, agree, and write on; the villain has let nobody in.
    converge(&nodes);
    nodes[1].ok(&["set", "config/after", "path=after", "keys.v=1"]);
    converge(&nodes);
    nobody_else_is_in(&nodes[0]);
    let after = memory(&nodes[0]);
    let (median, worst) = (|of: &[Duration]| of[of.len() / 2], |of: &[Duration]| of[of.len() - 1]);
    println!(
        "a write took {:?} undisturbed, at worst {:?}; under attack {:?}, at worst {:?} of {}; memory from {} to {} MiB",
        median(&quiet),
        worst(&quiet),
        median(&loud),
        worst(&loud),
        loud.len(),
        before >> 20,
        after >> 20
    );
    assert!(after < before + MEMORY, "memory went from {before} to {after}");
    assert!(median(&loud) < 10 * median(&quiet) + Duration::from_secs(1), "{quiet:?} became {loud:?}");
    let ran = nodes[0].larder(&["status"]);
    let status = ran.out + &ran.err;
    for bound in ["connections from one address at once", "beacons from one address in a second"] {
        assert!(status.contains(bound), "nothing is said of {bound}: {status}");
    }
    put_out(&nodes, &mut villain, &log);
}

/// It is put out while it goes on, and stays out, whatever it says then.
fn put_out(nodes: &[Node<'_>], villain: &mut Process, log: &Path) {
    nodes[0].ok(&["remove", "villain"]);
    converge(nodes);
    let heads = || nodes[0].json(&["heads"])["heads"].clone();
    let before = heads();
    assert!(villain.status().is_none(), "it goes on");
    let status = until(Duration::from_secs(90), "the villain to be done", || villain.status());
    assert!(status.success(), "{:?}", lines(log).last());
    converge(nodes);
    assert_eq!(heads(), before, "a removed member changed something");
    for node in nodes {
        let log = node.log();
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!log.contains(steers), "{:?}", log.lines().find(|line| line.contains(steers)));
    }
}

fn nobody_else_is_in(node: &Node<'_>) {
    let members = node.json(&["nodes"]);
    let roles: Vec<&Value> =
        members["nodes"].as_array().unwrap().iter().filter(|node| node["role"].is_string()).collect();
    assert_eq!(roles.len(), 3, "{roles:?}");
    assert!(
        !node.ok(&["nodes", "--wide"]).contains('\u{1b}'),
        "nothing of its host name reaches the terminal"
    );
}
