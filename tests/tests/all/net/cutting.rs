//! Cuts and heals.

use std::time::Duration;

use larder_tests::lab::{Lab, now, until};

use super::{mesh, until_apart, until_linked, until_single};

const PATIENCE: Duration = Duration::from_secs(20);

/// Cuts `lab` into two halves for `length`, heals it, and prints what it took. (noticed, renewed) in ms.
fn cut_and_heal(count: usize, length: Duration, args: &[&str], name: &str) -> Option<(f64, f64)> {
    let lab = Lab::or_skip(count, name)?;
    let mut probes = mesh(&lab, args);
    until_linked(&mut probes, PATIENCE);
    let hosts: Vec<usize> = (0..count).collect();
    let (left, right) = hosts.split_at(count / 2);
    let cut = now();
    lab.split(&[left, right]);
    let lost = until_apart(&mut probes, &[left, right], PATIENCE) - cut;
    until(length + PATIENCE, "the end of the cut", || {
        (now() - cut >= length.as_secs_f64() * 1000.0).then_some(())
    });
    let healed = now();
    lab.heal();
    let renewed = until_linked(&mut probes, PATIENCE) - healed;
    println!("{name}: noticed after {lost:.0} ms, renewed {renewed:.0} ms after the heal");
    until_single(&mut probes);
    Some((lost, renewed))
}

#[test]
fn a_short_cut_of_an_idle_link() {
    if let Some((noticed, renewed)) = cut_and_heal(2, Duration::from_secs(3), &[], "pair, idle, 3 s") {
        assert!(noticed < 6000.0 && renewed < 3000.0, "{noticed} {renewed}");
    }
}

#[test]
fn a_cut_of_a_busy_link() {
    let busy = ["--every", "100", "--size", "2000"];
    if let Some((noticed, renewed)) = cut_and_heal(2, Duration::from_secs(4), &busy, "pair, busy, 4 s") {
        assert!(noticed < 6000.0 && renewed < 3000.0, "{noticed} {renewed}");
    }
}

#[test]
fn a_long_cut_of_six() {
    if let Some((noticed, renewed)) = cut_and_heal(6, Duration::from_secs(20), &[], "3|3, idle, 20 s") {
        assert!(noticed < 6000.0 && renewed < 3000.0, "{noticed} {renewed}");
    }
}

#[test]
fn a_cable_that_is_plugged_in_again() {
    let Some(lab) = Lab::or_skip(2, "a cable is unplugged") else { return };
    let mut probes = mesh(&lab, &[]);
    until_linked(&mut probes, PATIENCE);
    lab.cable(0, false);
    until_apart(&mut probes, &[&[0], &[1]], PATIENCE);
    let plugged = now();
    lab.cable(0, true);
    let renewed = until_linked(&mut probes, PATIENCE) - plugged;
    println!("cable: renewed after {renewed:.0} ms");
    assert!(renewed < 3000.0);
}

/// Figures for the record, not for every run: `cargo test -p larder-tests -- --ignored --nocapture figures_of_a_pair`.
#[test]
#[ignore = "minutes of measuring"]
fn figures_of_a_pair() {
    figures(2);
}

#[test]
#[ignore = "minutes of measuring"]
fn figures_of_ten() {
    figures(10);
}

#[test]
#[ignore = "minutes of measuring"]
fn figures_of_thirty() {
    figures(30);
}

fn figures(count: usize) {
    for seconds in [2, 20, 60] {
        let name = format!("{}|{}, {seconds} s", count / 2, count / 2);
        cut_short_or_long(count, seconds, &name);
    }
}

/// As [`cut_and_heal`], without waiting for the notice where the cut is shorter than that.
fn cut_short_or_long(count: usize, seconds: u64, name: &str) {
    let Some(lab) = Lab::or_skip(count, name) else { return };
    let start = now();
    let mut probes = mesh(&lab, &[]);
    let mesh_after = until_linked(&mut probes, PATIENCE) - start;
    // Start-up is over, and with it the connections' first exchanges.
    let quiet = now();
    until(PATIENCE, "quiet", || (now() - quiet > 3000.0).then_some(()));
    let cpu: Vec<_> = probes.iter().map(|probe| probe.process.cpu()).collect();
    let idle = now();
    until(PATIENCE, "ten idle seconds", || (now() - idle > 10_000.0).then_some(()));
    let spent: f64 =
        probes.iter().zip(cpu).map(|(probe, before)| (probe.process.cpu() - before).as_secs_f64()).sum();
    let share = spent / count as f64 / ((now() - idle) / 1000.0) * 100.0;
    let hosts: Vec<usize> = (0..count).collect();
    let (left, right) = hosts.split_at(count / 2);
    let cut = now();
    lab.split(&[left, right]);
    until(Duration::from_secs(seconds + 20), "the cut", || {
        (now() - cut >= seconds as f64 * 1000.0).then_some(())
    });
    let healed = now();
    lab.heal();
    let across = |probe: &mut larder_tests::probe::Probe| probe.links();
    let renewed = until(PATIENCE, "renewed", || {
        let links: Vec<_> = probes.iter_mut().map(across).collect();
        let all = links.iter().all(|links| links.len() == count - 1);
        // A cut so short that nobody noticed yet must still end in living links: those older are looked at again.
        let settled = now() - healed > 4000.0;
        (all && settled)
            .then(|| links.iter().flat_map(|l| l.values()).map(|l| l.since).fold(healed, f64::max))
    }) - healed;
    let downs: Vec<_> = probes.iter_mut().flat_map(|probe| probe.all("down")).collect();
    let time = |event: &serde_json::Value| event["t"].as_f64().unwrap_or(0.0);
    let noticed = downs.iter().map(time).filter(|t| (cut..healed).contains(t)).fold(cut, f64::max) - cut;
    let mut late: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for event in downs.iter().filter(|event| time(event) >= healed) {
        *late.entry(event["reason"].to_string()).or_default() += 1;
    }
    println!("{name}: links that ended after the heal: {late:?}");
    println!(
        "{name}: mesh {mesh_after:.0} ms; idle {share:.3} % of a core each; noticed {noticed:.0} ms after the cut; renewed {renewed:.0} ms after the heal"
    );
}
