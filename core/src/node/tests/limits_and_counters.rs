//! Limits: the work that they defer, and the counts of their hits.

use super::*;
use crate::delta::{Delta, Put, SignedDelta};
use crate::id::{GrantId, Incarnation, RecordId, Sig};
use crate::record::{Forget, RecordBody};
use crate::value::Value;
use crate::wire::member::{GroupFrame, PushedChanges, RecordBatch};

fn linked_node() -> TestNode {
    let mut host = TestNode::member(fixture::founder());
    host.open_link(1, &fixture::operator(), LinkKind::Member, true);
    host.receive_member_frame(1, &hello_frame());
    host
}

fn hit_count(host: &TestNode, limit_name: &str) -> u64 {
    host.node.limit_stats().iter().find(|(name, _)| *name == limit_name).map_or(0, |(_, bound)| bound.count)
}

/// A change of the operator with a dependency that no node has.
fn push_with_unknown_dependency(n: u64, value: &str) -> PushedChanges {
    let root = fixture::desired_root();
    let mut dep = [9; 32];
    dep[..8].copy_from_slice(&n.to_be_bytes());
    let delta = Delta {
        shard_id: root.shard_id(),
        grant: fixture::grant().id(),
        incarnation: Incarnation([4; 16]),
        seq: 1,
        deps: vec![ChangeId(dep)],
        start_op: 1_000,
        time: 1,
        message: String::new(),
        puts: vec![Put { key: "config/x keys.k".to_owned(), value: Value::from(value), preds: vec![] }],
    };
    let changes = vec![SignedDelta { delta: delta.encode(), signature: Sig([0; 64]) }];
    PushedChanges { shard_id: root.shard_id(), changes }
}

#[test]
fn pushes_of_one_author_are_rate_limited() {
    let mut host = linked_node();
    let burst = u64::from(limits::MAX_AUTHOR_PUSH_BURST);
    for n in 0..burst + 100 {
        host.receive_member_frame(
            1,
            &GroupFrame::Push(push_with_unknown_dependency(n, "x")).in_group(fixture::group()),
        );
    }
    assert_eq!(hit_count(&host, "changes of one author pushed at once"), 100);
    // Later, as many are allowed as the elapsed time earned.
    host.now.mono = host.now.mono.plus_ms(50);
    for n in 0..100 {
        host.receive_member_frame(
            1,
            &GroupFrame::Push(push_with_unknown_dependency(burst + n, "x")).in_group(fixture::group()),
        );
    }
    assert_eq!(
        hit_count(&host, "changes of one author pushed at once"),
        100 + 100 - u64::from(limits::MAX_AUTHOR_PUSHES_PER_SECOND / 20)
    );
    assert!(host.can_write("what this node writes itself is another matter"));
}

#[test]
fn waiting_changes_and_records_are_limited_and_dropped_ones_are_counted() {
    let mut host = linked_node();
    let value = "x".repeat(limits::MAX_VALUE_BYTES);
    let max_waiting = limits::MAX_ORPHAN_BYTES / (3 * value.len());
    for n in 0..max_waiting as u64 + 10 {
        host.receive_member_frame(
            1,
            &GroupFrame::Push(push_with_unknown_dependency(n, &value)).in_group(fixture::group()),
        );
    }
    let dropped = hit_count(&host, "bytes of changes that wait for others");
    assert!((10..20).contains(&dropped), "{dropped}");
    let group = &host.node.group(&fixture::group()).unwrap().group;
    assert!(group.orphan_count() <= max_waiting, "{} changes wait", group.orphan_count());

    let body = RecordBody::Forget(Forget { shard: "desired".to_owned() });
    for n in 0..limits::MAX_WAITING_RECORDS as u64 + 7 {
        let mut record = fixture::record(1, RecordId::ZERO, body.clone());
        let mut unknown_grant = [7; 32];
        unknown_grant[..8].copy_from_slice(&n.to_be_bytes());
        record.grant = GrantId::from_slice(&unknown_grant).unwrap();
        let records = vec![record.sign(&fixture::operator()).encode()];
        host.receive_member_frame(
            1,
            &GroupFrame::RecordBatch(RecordBatch { records, is_last: true }).in_group(fixture::group()),
        );
    }
    assert_eq!(hit_count(&host, "membership records that wait for others"), 7);
    host.handle(Input::LimitHit { limit_name: "connections", limit: 9, hits: 3 });
    host.handle(Input::LimitHit { limit_name: "connections", limit: 9, hits: 2 });
    assert_eq!(hit_count(&host, "connections"), 5, "the network has bounds of its own");
}
