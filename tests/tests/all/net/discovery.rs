//! Discovery and links between probes.

use std::time::Duration;

use larder_tests::lab::{Lab, monotonic_ms, wait_until};
use larder_tests::probe::{leader_first, node};

use super::{start_mesh, start_probe, wait_until_linked, wait_until_single_connections};

tests! {
    two_fresh_hosts_see_each_other,
    two_members_have_one_link_whoever_starts_first_and_after_an_address_change,
    members_link_by_static_or_remembered_addresses_without_multicast,
    members_link_by_a_learned_address_when_multicast_is_blocked,
    ten_hosts_started_together_always_form_a_full_mesh,
    simultaneous_dials_of_both_sides_end_in_one_connection,
    fifty_simultaneous_dials_end_in_one_connection_and_one_link,
}

const PATIENCE: Duration = Duration::from_secs(20);

fn two_fresh_hosts_see_each_other() {
    let lab = Lab::require(2);
    let start = monotonic_ms();
    let mut probes = [start_probe(&lab, 0, &[]), start_probe(&lab, 1, &[])];
    for (index, probe) in probes.iter_mut().enumerate() {
        let other = 1 - index;
        let discovered =
            probe.wait_for_event(0, "discovered", |e| e["ev"] == "discovered" && e["peer"] == other);
        let took = discovered["t"].as_f64().unwrap() - start;
        report!("host {index} discovered host {other} {took:.0} ms after its start");
    }
}

fn two_members_have_one_link_whoever_starts_first_and_after_an_address_change() {
    let lab = Lab::require(2);
    let members = ["--members", "0-1"];
    for first in [0, 1] {
        let mut a = start_probe(&lab, first, &members);
        a.wait_for_event_named("listening");
        let b = start_probe(&lab, 1 - first, &members);
        let mut both = [a, b];
        wait_until_linked(&mut both, PATIENCE);
        wait_until_single_connections(&mut both);
        // One probe restarts with the same key: first on another port, then with another address, too.
        let [mut a, mut b] = both;
        for (round, addr) in [None, Some(format!("10.77.9.{}/16", first + 1))].into_iter().enumerate() {
            a.process.kill();
            if let Some(addr) = &addr {
                lab.change_address(first, addr);
            }
            let start = monotonic_ms();
            let port = (7500 + round).to_string();
            a = start_probe(&lab, first, &[&members[..], &["--port", &port]].concat());
            wait_until(PATIENCE, "linked anew", || {
                (a.member_links().len() == 1 && b.member_links().values().any(|link| link.up_at_ms > start))
                    .then_some(())
            });
            report!(
                "restart of host {first}: linked {:.0} ms after",
                b.member_links().values().next().unwrap().up_at_ms - start
            );
        }
    }
}

fn members_link_by_static_or_remembered_addresses_without_multicast() {
    let lab = Lab::require(2);
    let quiet = ["--members", "0-1", "--no-multicast"];
    let peer_address = |index: usize| format!("/ip4/{}/tcp/7440", lab.addr(index));
    for knower in [0, 1] {
        let unnamed = peer_address(1 - knower);
        let named = format!("{}={}", 1 - knower, peer_address(1 - knower));
        for known in [["--peer", &unnamed], ["--remember", &named]] {
            let start = monotonic_ms();
            let mut both = [
                start_probe(&lab, 1 - knower, &quiet),
                start_probe(&lab, knower, &[&quiet[..], &known].concat()),
            ];
            let linked = wait_until_linked(&mut both, PATIENCE);
            report!("{known:?} on host {knower}: linked after {:.0} ms", linked - start);
            wait_until_single_connections(&mut both);
        }
    }
}

fn members_link_by_a_learned_address_when_multicast_is_blocked() {
    let lab = Lab::require(2);
    lab.block_multicast(0);
    let mut both = start_mesh(&lab, &[]).into_iter().collect::<Vec<_>>();
    both[0].wait_for_event_named("listening");
    let (leader, other) = leader_first(0, 1);
    let addr = format!("/ip4/{}/tcp/7440", lab.addr(other as usize));
    assert!(
        both[0].member_links().is_empty() && both[0].events_named("discovered").is_empty(),
        "multicast is blocked"
    );
    both[leader as usize].process.write_line(&format!("learn {other} {addr}"));
    wait_until_linked(&mut both, PATIENCE);
}

fn ten_hosts_started_together_always_form_a_full_mesh() {
    let lab = Lab::require(10);
    for _ in 0..5 {
        let start = monotonic_ms();
        let mut probes = start_mesh(&lab, &[]);
        let linked = wait_until_linked(&mut probes, PATIENCE);
        report!("mesh of 10 after {:.0} ms", linked - start);
        wait_until_single_connections(&mut probes);
    }
}

fn simultaneous_dials_of_both_sides_end_in_one_connection() {
    let lab = Lab::require(2);
    let peer_address = |index: usize| format!("/ip4/{}/tcp/7440", lab.addr(index));
    let (zero, one) = (peer_address(0), peer_address(1));
    for _ in 0..10 {
        let args = |peer: &'static str| ["--members", "0-1", "--no-multicast", peer];
        let known = [("--peer", &one), ("--peer", &zero)];
        let mut both: Vec<_> = known
            .iter()
            .enumerate()
            .map(|(index, (flag, addr))| {
                start_probe(&lab, index, &[&args(flag)[..], &[addr.as_str()]].concat())
            })
            .collect();
        wait_until_linked(&mut both, PATIENCE);
        wait_until_single_connections(&mut both);
    }
}

fn fifty_simultaneous_dials_end_in_one_connection_and_one_link() {
    // This test needs no lab: the addresses 127.0.0.1 to 127.0.0.50 all belong to one listener.
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
    let event = a.wait_for_event(0, "an address on loopback", |e| {
        e["ev"] == "listening" && e["addrs"].to_string().contains("127.0.0.1")
    });
    // The wildcard listener has one port on all addresses. Without a network, only loopback is reported.
    let addrs: Vec<String> =
        event["addrs"].as_array().unwrap().iter().filter_map(|a| a.as_str().map(Into::into)).collect();
    let port = addrs.iter().find_map(|a| a.strip_prefix("/ip4/127.0.0.1/tcp/")).unwrap().to_owned();
    let mut args = base("0-1").to_vec();
    for host in 1..=50 {
        args.extend(["--peer".to_owned(), format!("/ip4/127.0.0.{host}/tcp/{port}")]);
    }
    let b = start(1, args);
    let mut both = [a, b];
    wait_until_linked(&mut both, PATIENCE);
    wait_until_single_connections(&mut both);
    assert_ne!(node(0), node(1));
    drop(both);
    let _ = std::fs::remove_dir_all(&logs);
}
