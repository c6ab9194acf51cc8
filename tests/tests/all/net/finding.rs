//! Finding each other and linking.

use std::time::Duration;

use larder_tests::lab::{Lab, now, until};
use larder_tests::probe::{node, ranked};

use super::{mesh, probe, until_linked, until_single};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn two_fresh_hosts_see_each_other() {
    let Some(lab) = Lab::or_skip(2, "two fresh hosts see each other") else { return };
    let start = now();
    let mut probes = [probe(&lab, 0, &[]), probe(&lab, 1, &[])];
    for (index, probe) in probes.iter_mut().enumerate() {
        let other = 1 - index;
        let seen = probe.wait(0, "seen", |e| e["ev"] == "seen" && e["peer"] == other);
        let took = seen["t"].as_f64().unwrap() - start;
        println!("host {index} saw host {other} {took:.0} ms after its start");
        assert!(took < 2000.0);
    }
}

#[test]
fn two_members_have_one_link_whoever_starts_first_and_after_a_restart_elsewhere() {
    let Some(lab) = Lab::or_skip(2, "two members have one link") else { return };
    let members = ["--members", "0-1"];
    for first in [0, 1] {
        let mut a = probe(&lab, first, &members);
        a.wait_for("listening");
        let b = probe(&lab, 1 - first, &members);
        let mut both = [a, b];
        until_linked(&mut both, PATIENCE);
        until_single(&mut both);
        // The same key, another port, then another address too.
        let [mut a, mut b] = both;
        for (round, addr) in [None, Some(format!("10.77.9.{}/16", first + 1))].into_iter().enumerate() {
            a.process.kill();
            if let Some(addr) = &addr {
                lab.readdress(first, addr);
            }
            let start = now();
            let port = (7500 + round).to_string();
            a = probe(&lab, first, &[&members[..], &["--port", &port]].concat());
            until(PATIENCE, "linked anew", || {
                (a.links().len() == 1 && b.links().values().any(|link| link.since > start)).then_some(())
            });
            println!(
                "restart of host {first}: linked {:.0} ms after",
                b.links().values().next().unwrap().since - start
            );
        }
    }
}

#[test]
fn without_multicast_static_and_remembered_addresses_do() {
    let Some(lab) = Lab::or_skip(2, "static peers without multicast") else { return };
    let quiet = ["--members", "0-1", "--no-multicast"];
    let at = |index: usize| format!("/ip4/{}/tcp/7440", lab.addr(index));
    for knower in [0, 1] {
        let unnamed = at(1 - knower);
        let named = format!("{}={}", 1 - knower, at(1 - knower));
        for known in [["--peer", &unnamed], ["--remember", &named]] {
            let start = now();
            let mut both =
                [probe(&lab, 1 - knower, &quiet), probe(&lab, knower, &[&quiet[..], &known].concat())];
            let linked = until_linked(&mut both, PATIENCE);
            println!("{known:?} on host {knower}: linked after {:.0} ms", linked - start);
            until_single(&mut both);
        }
    }
}

#[test]
fn multicast_that_is_blocked_is_made_up_for_by_an_address_that_a_member_told() {
    let Some(lab) = Lab::or_skip(2, "blocked multicast") else { return };
    lab.block_multicast(0);
    let mut both = mesh(&lab, &[]).into_iter().collect::<Vec<_>>();
    both[0].wait_for("listening");
    let (leader, other) = ranked(0, 1);
    let addr = format!("/ip4/{}/tcp/7440", lab.addr(other as usize));
    assert!(both[0].links().is_empty() && both[0].all("seen").is_empty(), "multicast is blocked");
    both[leader as usize].process.tell(&format!("learn {other} {addr}"));
    until_linked(&mut both, PATIENCE);
}

#[test]
fn ten_that_start_together_form_the_full_mesh_every_time() {
    let Some(lab) = Lab::or_skip(10, "ten hosts form a mesh") else { return };
    for _ in 0..5 {
        let start = now();
        let mut probes = mesh(&lab, &[]);
        let linked = until_linked(&mut probes, PATIENCE);
        println!("mesh of 10 after {:.0} ms", linked - start);
        until_single(&mut probes);
    }
}

#[test]
fn dials_of_both_sides_at_the_same_moment_end_in_one_connection() {
    let Some(lab) = Lab::or_skip(2, "simultaneous dials") else { return };
    let at = |index: usize| format!("/ip4/{}/tcp/7440", lab.addr(index));
    let (zero, one) = (at(0), at(1));
    for _ in 0..10 {
        let args = |peer: &'static str| ["--members", "0-1", "--no-multicast", peer];
        let known = [("--peer", &one), ("--peer", &zero)];
        let mut both: Vec<_> = known
            .iter()
            .enumerate()
            .map(|(index, (flag, addr))| probe(&lab, index, &[&args(flag)[..], &[addr.as_str()]].concat()))
            .collect();
        until_linked(&mut both, PATIENCE);
        until_single(&mut both);
    }
}

#[test]
fn fifty_dials_of_a_pair_at_once_end_in_one_connection_and_one_link() {
    // No hosts needed: 127.0.0.1 to 127.0.0.50 are all the same listener.
    let logs = std::env::temp_dir().join(format!("larder-fifty-{}", std::process::id()));
    std::fs::create_dir_all(&logs).unwrap();
    let start = |seed: u64, args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let command = std::process::Command::new(super::PROBE);
        larder_tests::probe::Probe::start(command, seed, &args, &logs.join(format!("{seed}.log")))
    };
    let base = |members: &str| {
        ["--members", members, "--no-multicast", "--listen", "/ip4/0.0.0.0/tcp/0"].map(String::from)
    };
    let mut a = start(0, [&base("0-1")[..], &["--listen".into(), "/ip4/127.0.0.1/tcp/0".into()]].concat());
    let event = a.wait(0, "an address on loopback", |e| {
        e["ev"] == "listening" && e["addrs"].to_string().contains("127.0.0.1")
    });
    // The wildcard's port is the one on any other address; without a network there is only loopback's own.
    let addrs: Vec<String> =
        event["addrs"].as_array().unwrap().iter().filter_map(|a| a.as_str().map(Into::into)).collect();
    let port = addrs.iter().find_map(|a| a.strip_prefix("/ip4/127.0.0.1/tcp/")).unwrap().to_owned();
    let mut args = base("0-1").to_vec();
    for host in 1..=50 {
        args.extend(["--peer".to_owned(), format!("/ip4/127.0.0.{host}/tcp/{port}")]);
    }
    let b = start(1, args);
    let mut both = [a, b];
    until_linked(&mut both, PATIENCE);
    until_single(&mut both);
    assert_ne!(node(0), node(1));
    drop(both);
    let _ = std::fs::remove_dir_all(&logs);
}
