//! A daemon against a hostile peer that tries every attack, first as a non-member and then as an operator.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use larder_tests::lab::{Lab, Process, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    an_adversary_that_tries_every_attack_harms_nobody,
}

const ADVERSARY: &str = env!("CARGO_BIN_EXE_larder-adversary");
/// The memory that an adversary may cost a daemon: the limits of one group for unaccepted data, and the
/// history that the adversary may write.
const MAX_MEMORY_GROWTH_BYTES: u64 = 160 << 20;

/// The resident memory of the daemon, in bytes.
fn daemon_memory(node: &TestNode<'_>) -> u64 {
    node.daemon.as_ref().expect("a daemon").resident_bytes()
}

/// Makes writes on one node, one after another while `wants_more` is true. Returns the sorted durations until
/// the file of the other node contained each.
fn write_latencies(
    from: &TestNode<'_>,
    to: &TestNode<'_>,
    round: &str,
    mut wants_more: impl FnMut(usize) -> bool,
) -> Vec<Duration> {
    let mut all = Vec::new();
    while wants_more(all.len()) {
        let value = format!("{round}{}.", all.len());
        let begun = Instant::now();
        from.run_ok(&["set", "config/honest", "path=honest", &format!("keys.v={value}")]);
        wait_until(WAIT_LIMIT, "the write on the other node", || {
            to.read_file("honest").contains(&value).then_some(())
        });
        all.push(begun.elapsed());
    }
    all.sort_unstable();
    all
}

fn json_lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn an_adversary_that_tries_every_attack_harms_nobody() {
    let lab = Lab::require(3);
    let mut nodes: Vec<TestNode<'_>> = (0..2).map(|index| TestNode::on_host(&lab, index, LARDER)).collect();
    for node in &mut nodes {
        node.start(&["daemon"]);
    }
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].create_invite(1);
    nodes[1].run_ok(&["join", &code, "--alias", "n1"]);
    wait_until_converged(&nodes);
    let undisturbed = write_latencies(&nodes[1], &nodes[0], "quiet", |count| count < 50);
    let before = daemon_memory(&nodes[0]);
    let code = nodes[0].create_invite(1);
    let log = lab.log_dir().join("adversary.log");
    let mut command = lab.host(2).command(ADVERSARY);
    let peer = format!("/ip4/{}/tcp/7440", lab.addr(0));
    command.args(["--peer", &peer, "--code", &code, "--seconds", "30"]);
    let mut adversary = Process::start(command, &log);
    let all = larder_tests::adversary::AS_STRANGER.len() + larder_tests::adversary::AS_MEMBER.len();
    let begun = Instant::now();
    let has_untried_attacks = |_| {
        let lines = json_lines(&log);
        let tried: BTreeSet<&str> = lines.iter().filter_map(|line| line["attack"].as_str()).collect();
        assert!(begun.elapsed() < 3 * WAIT_LIMIT, "of {all} attacks these were tried: {tried:?}");
        tried.len() < all
    };
    let under_attack = write_latencies(&nodes[1], &nodes[0], "loud", has_untried_attacks);
    // The adversary stopped neither daemon, did not make them diverge, and admitted no node.
    wait_until_converged(&nodes);
    nodes[1].run_ok(&["set", "config/after", "path=after", "keys.v=1"]);
    wait_until_converged(&nodes);
    assert_only_three_members(&nodes[0]);
    let after = daemon_memory(&nodes[0]);
    let (median, worst) = (
        |durations: &[Duration]| durations[durations.len() / 2],
        |durations: &[Duration]| durations[durations.len() - 1],
    );
    report!(
        "a write took {:?} undisturbed, at worst {:?}; under attack {:?}, at worst {:?} of {}; memory from \
         {} to {} MiB",
        median(&undisturbed),
        worst(&undisturbed),
        median(&under_attack),
        worst(&under_attack),
        under_attack.len(),
        before >> 20,
        after >> 20
    );
    assert!(after < before + MAX_MEMORY_GROWTH_BYTES, "memory went from {before} to {after}");
    let ran = nodes[0].run_larder(&["status"]);
    let status = ran.stdout + &ran.stderr;
    for bound in ["connections from one address at once", "beacons from one address in a second"] {
        assert!(status.contains(bound), "nothing is said of {bound}: {status}");
    }
    remove_adversary(&nodes, &mut adversary, &log);
}

/// Removes the adversary while it still attacks, and checks that nothing that it sends afterwards has an
/// effect.
fn remove_adversary(nodes: &[TestNode<'_>], adversary: &mut Process, log: &Path) {
    nodes[0].run_ok(&["remove", "adversary"]);
    wait_until_converged(nodes);
    let heads = || nodes[0].run_json(&["heads"])["heads"].clone();
    let before = heads();
    assert!(adversary.exit_status().is_none(), "it goes on");
    let status = wait_until(Duration::from_secs(90), "the adversary to end", || adversary.exit_status());
    assert!(status.success(), "{:?}", json_lines(log).last());
    wait_until_converged(nodes);
    assert_eq!(heads(), before, "a removed member changed something");
    for node in nodes {
        let log = node.read_log();
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!log.contains(steers), "{:?}", log.lines().find(|line| line.contains(steers)));
    }
}

fn assert_only_three_members(node: &TestNode<'_>) {
    let members = node.run_json(&["nodes"]);
    let roles: Vec<&Value> =
        members["nodes"].as_array().unwrap().iter().filter(|node| node["role"].is_string()).collect();
    assert_eq!(roles.len(), 3, "{roles:?}");
    assert!(
        !node.run_ok(&["nodes", "--wide"]).contains('\u{1b}'),
        "nothing of its host name reaches the terminal"
    );
}
