//! The guarantees of the node to its caller.

use super::super::*;
use crate::store::MemoryStore;
use crate::test_support::{TestNode, secret_key, set_request};
use crate::wire::member::{Hello, MemberFrame};

fn clock_at(ms: u64) -> ClockReading {
    ClockReading { mono: TestNode::START.mono.plus_ms(ms), ..TestNode::START }
}

fn open_node(key: u8) -> TestNode {
    TestNode::open(secret_key(key), MemoryStore::default())
}

fn write_request(group: GroupId) -> Request {
    set_request(group, "config/a", "keys.x", "1")
}

fn create_group(node: &mut TestNode) -> GroupId {
    let (_, effects) = node.request(Request::CreateGroup { name: "shop".into() });
    let group = effects.iter().find_map(|effect| match effect {
        Effect::Respond { response: Ok(Response::GroupCreated { group, .. }), .. } => Some(*group),
        _ => None,
    });
    group.unwrap()
}

/// A write whose batch fails is answered with the failure, and the node sends nothing from then on.
#[test]
fn after_a_store_failure_the_node_sends_nothing() {
    let mut host = open_node(1);
    let group = create_group(&mut host);
    let mut node = host.node;
    let peer = SecretKey::from_bytes(&[2; 32]).node_id();
    let link = LinkId(7);
    node.handle(clock_at(2), Input::LinkUp { link, peer, kind: LinkKind::Member, is_opened_here: true });
    let hello = Hello { newest_version: 1, min_version: 1, software: String::new() };
    node.handle(clock_at(2), Input::FrameReceived { link, bytes: MemberFrame::Hello(hello).encode() });
    let effects =
        node.handle(clock_at(3), Input::Request { request_id: RequestId(2), request: write_request(group) });
    assert!(matches!(effects.as_slice(), [Effect::Store { .. }]), "{effects:?}");
    let effects = node.handle(clock_at(4), Input::StoreFailed { reason: "disk full".into() });
    let is_store_failure = |effect: &Effect| {
        matches!(effect, Effect::Respond { response: Err(RequestError::StoreFailed(_)), .. })
    };
    assert!(effects.iter().any(is_store_failure), "{effects:?}");
    let is_expected = |effect: &Effect| is_store_failure(effect) || matches!(effect, Effect::Event(_));
    assert!(effects.iter().all(is_expected), "{effects:?}");
    for ms in [1_000, 10_000, 100_000] {
        assert!(node.handle(clock_at(ms), Input::Tick).is_empty());
    }
    assert!(
        node.handle(clock_at(100_001), Input::FrameReceived { link, bytes: MemberFrame::Ping(1).encode() })
            .is_empty()
    );
    let effects = node.handle(
        clock_at(100_002),
        Input::Request { request_id: RequestId(3), request: write_request(group) },
    );
    assert!(matches!(effects.as_slice(), [effect] if is_store_failure(effect)), "{effects:?}");
    assert_eq!(node.store_failure(), Some("disk full"));
}

/// Every request is answered once: a second join of one group answers the first.
#[test]
fn second_join_of_a_group_ends_the_first_request() {
    let mut node = open_node(1);
    let code = InviteCode::new(GroupId([9; 16]), &SecretKey::from_bytes(&[3; 32]).node_id(), [4; 16]);
    let join_request = || Request::Join { code: code.clone(), alias: String::new(), labels: Vec::new() };
    let (first, effects) = node.request(join_request());
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Respond { .. })));
    let (_, effects) = node.request(join_request());
    let is_join_replaced = |effect: &Effect| match effect {
        Effect::Respond { request_id, response: Err(RequestError::JoinReplaced) } => *request_id == first,
        _ => false,
    };
    assert_eq!(effects.iter().filter(|effect| is_join_replaced(effect)).count(), 1, "{effects:?}");
}
