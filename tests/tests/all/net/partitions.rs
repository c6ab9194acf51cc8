//! Partitions of the network, and links after the heal.

use std::time::Duration;

use larder_tests::lab::{Lab, monotonic_ms, wait_until};

use super::{start_mesh, wait_until_apart, wait_until_linked, wait_until_single_connections};

tests! {
    links_recover_after_a_short_cut_of_an_idle_pair,
    links_recover_after_a_cut_of_a_busy_pair,
    links_recover_after_a_long_cut_of_six_hosts,
    a_link_recovers_when_its_cable_is_plugged_in_again,
    #[ignore = "minutes of measuring"]
    measure_partitions_of_a_pair,
    #[ignore = "minutes of measuring"]
    measure_partitions_of_ten_hosts,
    #[ignore = "minutes of measuring"]
    measure_partitions_of_thirty_hosts,
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Cuts the hosts into two halves for `length`, heals the network, and reports how long both took.
fn cut_and_heal(count: usize, length: Duration, args: &[&str], name: &str) {
    let lab = Lab::require(count);
    let mut probes = start_mesh(&lab, args);
    wait_until_linked(&mut probes, PATIENCE);
    let hosts: Vec<usize> = (0..count).collect();
    let (left, right) = hosts.split_at(count / 2);
    let cut = monotonic_ms();
    lab.partition(&[left, right]);
    let lost = wait_until_apart(&mut probes, &[left, right], PATIENCE) - cut;
    wait_until(length + PATIENCE, "the end of the cut", || {
        (monotonic_ms() - cut >= length.as_secs_f64() * 1000.0).then_some(())
    });
    let healed = monotonic_ms();
    lab.heal();
    let renewed = wait_until_linked(&mut probes, PATIENCE) - healed;
    report!("{name}: noticed after {lost:.0} ms, renewed {renewed:.0} ms after the heal");
    wait_until_single_connections(&mut probes);
}

fn links_recover_after_a_short_cut_of_an_idle_pair() {
    cut_and_heal(2, Duration::from_secs(3), &[], "pair, idle, 3 s");
}

fn links_recover_after_a_cut_of_a_busy_pair() {
    let busy = ["--every", "100", "--size", "2000"];
    cut_and_heal(2, Duration::from_secs(4), &busy, "pair, busy, 4 s");
}

fn links_recover_after_a_long_cut_of_six_hosts() {
    cut_and_heal(6, Duration::from_secs(20), &[], "3|3, idle, 20 s");
}

fn a_link_recovers_when_its_cable_is_plugged_in_again() {
    let lab = Lab::require(2);
    let mut probes = start_mesh(&lab, &[]);
    wait_until_linked(&mut probes, PATIENCE);
    lab.set_cable_plugged(0, false);
    wait_until_apart(&mut probes, &[&[0], &[1]], PATIENCE);
    let plugged = monotonic_ms();
    lab.set_cable_plugged(0, true);
    let renewed = wait_until_linked(&mut probes, PATIENCE) - plugged;
    report!("cable: renewed after {renewed:.0} ms");
}

/// A measurement, not a check. Run it with `cargo test -p larder-tests -- --ignored --nocapture
/// measure_partitions_of_a_pair`.
fn measure_partitions_of_a_pair() {
    measure_partitions(2);
}

fn measure_partitions_of_ten_hosts() {
    measure_partitions(10);
}

fn measure_partitions_of_thirty_hosts() {
    measure_partitions(30);
}

fn measure_partitions(count: usize) {
    for seconds in [2, 20, 60] {
        let name = format!("{}|{}, {seconds} s", count / 2, count / 2);
        measure_partition(count, seconds, &name);
    }
}

/// Measures as [`cut_and_heal`] does, but does not wait until a short cut is noticed.
fn measure_partition(count: usize, seconds: u64, name: &str) {
    let lab = Lab::require(count);
    let start = monotonic_ms();
    let mut probes = start_mesh(&lab, &[]);
    let mesh_after = wait_until_linked(&mut probes, PATIENCE) - start;
    // The first exchanges of the new connections end in this time.
    let quiet = monotonic_ms();
    wait_until(PATIENCE, "quiet", || (monotonic_ms() - quiet > 3000.0).then_some(()));
    let cpu: Vec<_> = probes.iter().map(|probe| probe.process.cpu_time()).collect();
    let idle = monotonic_ms();
    wait_until(PATIENCE, "ten idle seconds", || (monotonic_ms() - idle > 10_000.0).then_some(()));
    let spent: f64 =
        probes.iter().zip(cpu).map(|(probe, before)| (probe.process.cpu_time() - before).as_secs_f64()).sum();
    let share = spent / count as f64 / ((monotonic_ms() - idle) / 1000.0) * 100.0;
    let hosts: Vec<usize> = (0..count).collect();
    let (left, right) = hosts.split_at(count / 2);
    let cut = monotonic_ms();
    lab.partition(&[left, right]);
    wait_until(Duration::from_secs(seconds + 20), "the cut", || {
        (monotonic_ms() - cut >= seconds as f64 * 1000.0).then_some(())
    });
    let healed = monotonic_ms();
    lab.heal();
    let links_of_probe = |probe: &mut larder_tests::probe::Probe| probe.member_links();
    let renewed = wait_until(PATIENCE, "renewed", || {
        let links: Vec<_> = probes.iter_mut().map(links_of_probe).collect();
        let all = links.iter().all(|links| links.len() == count - 1);
        // A cut may be too short to be noticed. The links that survive it must work, so the check waits until
        // broken ones would be found.
        let settled = monotonic_ms() - healed > 4000.0;
        (all && settled)
            .then(|| links.iter().flat_map(|l| l.values()).map(|l| l.up_at_ms).fold(healed, f64::max))
    }) - healed;
    let downs: Vec<_> = probes.iter_mut().flat_map(|probe| probe.events_named("down")).collect();
    let time = |event: &serde_json::Value| event["t"].as_f64().unwrap_or(0.0);
    let noticed = downs.iter().map(time).filter(|t| (cut..healed).contains(t)).fold(cut, f64::max) - cut;
    let mut late: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for event in downs.iter().filter(|event| time(event) >= healed) {
        *late.entry(event["reason"].to_string()).or_default() += 1;
    }
    report!("{name}: links that ended after the heal: {late:?}");
    report!(
        "{name}: mesh {mesh_after:.0} ms; idle {share:.3} % of a core each; noticed {noticed:.0} ms after \
         the cut; renewed {renewed:.0} ms after the heal"
    );
}
