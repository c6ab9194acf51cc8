//! A live daemon against a peer that tries everything, first as a stranger, then as an operator of the group.

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

/// How long a write on one honest node takes until the other has it in its file; the median of some.
fn latency(from: &Node<'_>, to: &Node<'_>, round: &str) -> Duration {
    let mut all = Vec::new();
    for nth in 0..15 {
        let value = format!("{round}{nth}");
        let begun = Instant::now();
        from.ok(&["set", "config/honest", "path=honest", &format!("keys.v={value}")]);
        until(PATIENCE, "the write on the other node", || to.file("honest").contains(&value).then_some(()));
        all.push(begun.elapsed());
    }
    all.sort_unstable();
    all[all.len() / 2]
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
    let quiet = latency(&nodes[1], &nodes[0], "quiet");
    let before = memory(&nodes[0]);
    let code = nodes[0].invite(1);
    let log = lab.logs().join("villain.log");
    let mut command = lab.host(2).command(VILLAIN);
    let peer = format!("/ip4/{}/tcp/7440", lab.addr(0));
    command.args(["--peer", &peer, "--code", &code, "--seconds", "20"]);
    let mut villain = Process::start(command, &log);
    until(PATIENCE, "the villain to be in", || {
        lines(&log).iter().any(|line| line["joined"] == true).then_some(())
    });
    let disturbed = latency(&nodes[1], &nodes[0], "loud");
    let status = until(Duration::from_secs(90), "the villain to be done", || villain.status());
    assert!(status.success(), "{:?}", lines(&log).last());
    let tried: std::collections::BTreeSet<String> =
        lines(&log).iter().filter_map(|line| Some(line["attack"].as_str()?.to_owned())).collect();
    let all = larder_tests::villain::AS_STRANGER.len() + larder_tests::villain::AS_MEMBER.len();
    assert_eq!(tried.len(), all, "{tried:?}");
    // Both daemons are up, agree, and write on; the villain has let nobody in.
    converge(&nodes);
    nodes[1].ok(&["set", "config/after", "path=after", "keys.v=1"]);
    converge(&nodes);
    let members = nodes[0].json(&["nodes"]);
    let roles: Vec<&Value> =
        members["nodes"].as_array().unwrap().iter().filter(|node| node["role"].is_string()).collect();
    assert_eq!(roles.len(), 3, "{roles:?}");
    assert!(
        !nodes[0].ok(&["nodes", "--wide"]).contains('\u{1b}'),
        "nothing of its host name reaches the terminal"
    );
    let after = memory(&nodes[0]);
    println!(
        "a write took {quiet:?} undisturbed and {disturbed:?} under attack; memory went from {} to {} MiB",
        before >> 20,
        after >> 20
    );
    assert!(after < before + MEMORY, "memory went from {before} to {after}");
    assert!(disturbed < 10 * quiet + Duration::from_secs(1), "{quiet:?} became {disturbed:?}");
    // It is put out, and stays out.
    nodes[0].ok(&["remove", "villain"]);
    converge(&nodes);
}
