//! What is put off for want of room shows.

use super::*;
use crate::delta::{Delta, Put, SignedDelta};
use crate::id::{GrantId, Incarnation, RecordId, Sig};
use crate::record::{Body, Forget};
use crate::wire::link::{Bundle, Push};

fn linked() -> Host {
    let mut host = Host::member(scene::founder());
    host.link(1, &scene::operator(), LinkKind::Member, true);
    host.hear(1, &hello());
    host
}

fn hits(host: &Host, of: &str) -> u64 {
    host.machine.bounds().iter().find(|(what, _)| *what == of).map_or(0, |(_, bound)| bound.hits)
}

/// A change of the operator's that builds on something that nobody has.
fn change(n: u64, value: &str) -> Push {
    let root = scene::desired();
    let mut dep = [9; 32];
    dep[..8].copy_from_slice(&n.to_be_bytes());
    let delta = Delta {
        epoch: root.epoch(),
        grant: scene::grant().id(),
        incarnation: Incarnation([4; 16]),
        seq: 1,
        deps: vec![ChangeId(dep)],
        start_op: 1_000,
        time: 1,
        message: String::new(),
        puts: vec![Put { key: "config/x keys.k".to_owned(), value: Value::from(value), preds: vec![] }],
    };
    let changes = vec![SignedDelta { delta: delta.encode(), signature: Sig([0; 64]) }];
    Push { group: scene::group(), epoch: root.epoch(), changes }
}

#[test]
fn one_author_has_no_more_pushed_than_one_may() {
    let mut host = linked();
    let most = limits::AUTHOR_BURST as u64;
    for n in 0..most + 100 {
        host.hear(1, &Frame::Push(change(n, "x")));
    }
    assert_eq!(hits(&host, "changes of one author pushed at once"), 100);
    // Some time later as many fit as that time is worth.
    host.now.mono = host.now.mono.plus_ms(50);
    for n in 0..100 {
        host.hear(1, &Frame::Push(change(most + n, "x")));
    }
    assert_eq!(hits(&host, "changes of one author pushed at once"), 100 + 100 - limits::AUTHOR_PUSHES / 20);
    assert!(host.writes("what this node writes itself is another matter"));
}

#[test]
fn what_waits_is_bounded_and_what_is_forgotten_is_told_of() {
    let mut host = linked();
    let value = "x".repeat(limits::VALUE_BYTES);
    let fit = limits::ORPHAN_BYTES / (3 * value.len());
    for n in 0..fit as u64 + 10 {
        host.hear(1, &Frame::Push(change(n, &value)));
    }
    let forgotten = hits(&host, "bytes of changes that wait for others");
    assert!((10..20).contains(&forgotten), "{forgotten}");
    let of = &host.machine.group(&scene::group()).unwrap().group;
    assert!(of.waiting() <= fit, "{} changes wait", of.waiting());

    let body = Body::Forget(Forget { shard: "desired".to_owned() });
    for n in 0..limits::ORPHAN_RECORDS as u64 + 7 {
        let mut record = scene::record(1, RecordId::ZERO, body.clone());
        let mut nobodys = [7; 32];
        nobodys[..8].copy_from_slice(&n.to_be_bytes());
        record.grant = GrantId::from_slice(&nobodys).unwrap();
        let records = vec![record.sign(&scene::operator()).encode()];
        host.hear(1, &Frame::Records(Bundle { group: scene::group(), records, last: true }));
    }
    assert_eq!(hits(&host, "membership records that wait for others"), 7);
    host.input(Input::Reached { of: "connections", most: 9, hits: 3 });
    host.input(Input::Reached { of: "connections", most: 9, hits: 2 });
    assert_eq!(hits(&host, "connections"), 5, "the network has bounds of its own");
}
