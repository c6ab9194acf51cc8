//! The network alone: probes on hosts, no groups.

mod cutting;
mod finding;
mod hostile;
mod strangers;

use std::collections::BTreeSet;
use std::time::Duration;

use larder_tests::lab::{Lab, until};
use larder_tests::probe::Probe;

const PROBE: &str = env!("CARGO_BIN_EXE_larder-probe");

/// A probe on host `index`; every host's seed is its number.
fn probe(lab: &Lab, index: usize, args: &[&str]) -> Probe {
    Probe::start(
        lab.host(index).command(PROBE),
        index as u64,
        args,
        &lab.logs().join(format!("probe-{index}.log")),
    )
}

/// Probes on all hosts of `lab`, all of them members.
fn mesh(lab: &Lab, args: &[&str]) -> Vec<Probe> {
    let count = lab.hosts().len();
    let members = format!("0-{}", count - 1);
    let args = [&["--members", &members], args].concat();
    (0..count).map(|index| probe(lab, index, &args)).collect()
}

/// Waits until all are linked with all, and returns when the last link came up.
fn until_linked(probes: &mut [Probe], deadline: Duration) -> f64 {
    let count = probes.len();
    until(deadline, "a full mesh", || {
        let links: Vec<_> = probes.iter_mut().map(Probe::links).collect();
        let all = links.iter().all(|links| links.len() == count - 1);
        all.then(|| links.iter().flat_map(|l| l.values()).map(|l| l.since).fold(0.0, f64::max))
    })
}

/// Waits until each has exactly one connection with each.
fn until_single(probes: &mut [Probe]) {
    let count = probes.len();
    until(Duration::from_secs(15), "one connection a pair", || {
        let single = |probe: &mut Probe| {
            let connections = probe.connections();
            connections.len() == count - 1 && connections.values().all(|count| *count == 1)
        };
        probes.iter_mut().all(single).then_some(())
    });
}

/// Waits until no link is left between different `sets`, and returns the last moment at which one was lost.
fn until_apart(probes: &mut [Probe], sets: &[&[usize]], deadline: Duration) -> f64 {
    let apart = |index: usize| -> BTreeSet<u64> {
        let own = sets.iter().find(|set| set.contains(&index)).copied().unwrap_or_default();
        sets.iter().flat_map(|set| set.iter()).filter(|i| !own.contains(i)).map(|i| *i as u64).collect()
    };
    until(deadline, "links across the cut are lost", || {
        let lost = |(index, probe): (usize, &mut Probe)| {
            let links = probe.links();
            apart(index).iter().all(|peer| !links.contains_key(peer))
        };
        probes.iter_mut().enumerate().all(lost).then_some(())
    });
    let downs = probes.iter_mut().flat_map(|probe| probe.all("down"));
    downs.filter_map(|event| event["t"].as_f64()).fold(0.0, f64::max)
}
