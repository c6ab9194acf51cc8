//! The network crate alone: probes on hosts, without groups.

mod discovery;
mod guests;
mod hostile_streams;
mod partitions;

use std::collections::BTreeSet;
use std::time::Duration;

use larder_tests::lab::{Lab, wait_until};
use larder_tests::probe::Probe;

const PROBE: &str = env!("CARGO_BIN_EXE_larder-probe");

/// Starts a probe on host `index`. Its seed is the index.
fn start_probe(lab: &Lab, index: usize, args: &[&str]) -> Probe {
    Probe::start(
        lab.host(index).command(PROBE),
        index as u64,
        args,
        &lab.log_dir().join(format!("probe-{index}.log")),
    )
}

/// Starts a probe on every host of `lab`. All are members.
fn start_mesh(lab: &Lab, args: &[&str]) -> Vec<Probe> {
    let count = lab.hosts().len();
    let members = format!("0-{}", count - 1);
    let args = [&["--members", &members], args].concat();
    (0..count).map(|index| start_probe(lab, index, &args)).collect()
}

/// Waits until every probe has a link with every other. Returns the time when the last link opened.
fn wait_until_linked(probes: &mut [Probe], deadline: Duration) -> f64 {
    let count = probes.len();
    wait_until(deadline, "a full mesh", || {
        let links: Vec<_> = probes.iter_mut().map(Probe::member_links).collect();
        let all = links.iter().all(|links| links.len() == count - 1);
        all.then(|| links.iter().flat_map(|l| l.values()).map(|l| l.up_at_ms).fold(0.0, f64::max))
    })
}

/// Waits until every probe has exactly one connection with every other.
fn wait_until_single_connections(probes: &mut [Probe]) {
    let count = probes.len();
    wait_until(Duration::from_secs(15), "one connection a pair", || {
        let single = |probe: &mut Probe| {
            let connections = probe.connections();
            connections.len() == count - 1 && connections.values().all(|count| *count == 1)
        };
        probes.iter_mut().all(single).then_some(())
    });
}

/// Waits until no link between different `sets` is left. Returns the time when the last one was lost.
fn wait_until_apart(probes: &mut [Probe], sets: &[&[usize]], deadline: Duration) -> f64 {
    let peers_across = |index: usize| -> BTreeSet<u64> {
        let own = sets.iter().find(|set| set.contains(&index)).copied().unwrap_or_default();
        sets.iter().flat_map(|set| set.iter()).filter(|i| !own.contains(i)).map(|i| *i as u64).collect()
    };
    wait_until(deadline, "links across the cut are lost", || {
        let lost = |(index, probe): (usize, &mut Probe)| {
            let links = probe.member_links();
            peers_across(index).iter().all(|peer| !links.contains_key(peer))
        };
        probes.iter_mut().enumerate().all(lost).then_some(())
    });
    let downs = probes.iter_mut().flat_map(|probe| probe.events_named("down"));
    downs.filter_map(|event| event["t"].as_f64()).fold(0.0, f64::max)
}

pub(crate) fn tests() -> Vec<crate::harness::Test> {
    [discovery::tests(), guests::tests(), hostile_streams::tests(), partitions::tests()]
        .into_iter()
        .flatten()
        .collect()
}
