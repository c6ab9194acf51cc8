//! Groups of many nodes. These tests take figures, so they run on request, on a quiet computer.

use std::time::{Duration, Instant};

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, start_daemons, wait_until_converged};

use super::LARDER;

tests! {
    #[ignore = "thirty daemons on one computer: a figure to take on a quiet one, `cargo test \
        thirty_nodes -- --ignored --nocapture`"]
    thirty_nodes_learn_of_a_removal,
    #[ignore = "forty daemons on one computer (LARDER_HOSTS sets another number): a figure to take on a \
        quiet one, `cargo test --release a_large_group -- --ignored --nocapture`"]
    a_large_group_joins_and_heals,
}

/// The number of hosts of [`a_large_group_joins_and_heals`], unless `LARDER_HOSTS` sets it.
const LARGE_GROUP_HOSTS: usize = 40;

/// Measures the time from `remove` until all of thirty nodes show the removal.
fn thirty_nodes_learn_of_a_removal() {
    let lab = Lab::require(30);
    let nodes = start_cluster(&lab, LARDER);
    let removed = nodes[29].id();
    let begun = Instant::now();
    nodes[0].run_ok(&["remove", "n29"]);
    let answered = begun.elapsed();
    // The nodes are queried in parallel. One after another, the queries would take longer than the removal.
    let learned_after: Vec<Duration> = std::thread::scope(|scope| {
        let ask = |node| {
            wait_until(WAIT_LIMIT, "the news", || is_removed(node, &removed).then_some(()));
            begun.elapsed()
        };
        let queries: Vec<_> = nodes.iter().map(|node| scope.spawn(move || ask(node))).collect();
        queries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let last = learned_after.iter().max().unwrap();
    report!("`remove` answered after {answered:?}; the last of thirty showed it after {last:?}");
    wait_until_converged(&nodes[..29]);
    assert_eq!(nodes[29].run_larder(&["set", "config/db", "path=db", "keys.x=1"]).exit_code, 5);
}

fn is_removed(on: &TestNode<'_>, id: &str) -> bool {
    let nodes = on.run_json(&["nodes"]);
    nodes["nodes"].as_array().into_iter().flatten().any(|row| row["id"] == id && row["state"] == "removed")
}

/// The longest time that a host needed until `condition` held, all asked in parallel.
fn last_host_after(
    nodes: &[TestNode<'_>],
    what: &str,
    condition: impl Fn(&TestNode<'_>) -> bool + Sync,
) -> Duration {
    let begun = Instant::now();
    let wait = |node| {
        wait_until(4 * WAIT_LIMIT, what, || condition(node).then_some(()));
        begun.elapsed()
    };
    std::thread::scope(|scope| {
        let waits: Vec<_> = nodes.iter().map(|node| scope.spawn(|| wait(node))).collect();
        waits.into_iter().map(|one| one.join().unwrap()).max().unwrap_or_default()
    })
}

/// The processor time of all daemons.
fn cpu_time(nodes: &[TestNode<'_>]) -> Duration {
    nodes.iter().filter_map(|node| node.daemon.as_ref()).map(|daemon| daemon.cpu_time()).sum()
}

/// Measures how long the hosts need to join, and how long a heal of two halves needs.
fn a_large_group_joins_and_heals() {
    let hosts = std::env::var("LARDER_HOSTS").ok().and_then(|text| text.parse().ok());
    let hosts = hosts.unwrap_or(LARGE_GROUP_HOSTS);
    let lab = Lab::require(hosts);
    let nodes = start_daemons(&lab, LARDER);
    nodes[0].run_ok(&["init", "shop"]);
    let code = nodes[0].create_invite(hosts);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for node in &nodes[1..] {
            scope.spawn(|| node.run_ok(&["join", &code]));
        }
    });
    let joined = begun.elapsed();
    let is_whole = |node: &TestNode<'_>| {
        let rows = node.run_json(&["nodes"]);
        rows["nodes"]
            .as_array()
            .is_some_and(|rows| rows.iter().filter(|row| row["state"] == "up").count() == hosts)
    };
    last_host_after(&nodes, "all members to be up", is_whole);
    wait_until_converged(&nodes);

    let (left, right): (Vec<usize>, Vec<usize>) = (0..hosts).partition(|host| *host < hosts / 2);
    lab.partition(&[&left, &right]);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.left=1"]);
    nodes[hosts - 1].run_ok(&["set", "config/b", "path=b", "keys.right=1"]);
    last_host_after(&nodes, "the cut to be noticed", |node| !is_whole(node));
    let cpu_before = cpu_time(&nodes);
    lab.heal();
    let healed = last_host_after(&nodes, "both files", |node| {
        node.read_file("a") == "left=1\n" && node.read_file("b") == "right=1\n"
    });
    last_host_after(&nodes, "all members to be up again", is_whole);
    let cpu = cpu_time(&nodes).saturating_sub(cpu_before);
    wait_until_converged(&nodes);
    report!(
        "{hosts} hosts: all joined after {joined:.1?}; after a heal of {}|{} the last host has the other \
         side's change after {healed:.2?}; processor time of the heal {cpu:.1?}",
        left.len(),
        right.len()
    );
}
