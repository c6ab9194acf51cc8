//! The guarantees of the node to its caller.

use super::super::*;
use crate::group::ChangeNote;
use crate::resource::edit::{Edit, FieldEdit};
use crate::resource::literal::Literal;
use crate::store::MemoryStore;
use crate::wire::member::{Hello, MemberFrame};

fn clock_at(ms: u64) -> ClockReading {
    ClockReading { mono: MonoTime(ms * 1000), unix_secs: 1_700_000_000 }
}

fn open_node(key: u8) -> Node {
    let secret = SecretKey::from_bytes(&[key; 32]);
    let config = NodeConfig {
        secret,
        rng_seed: [key; 32],
        software: "t".into(),
        host_name: "t".into(),
        store_was_copied: false,
    };
    Node::open(config, clock_at(0), &MemoryStore::default()).unwrap().0
}

fn write_request(group: GroupId) -> Request {
    let fields = vec![("keys.x".parse().unwrap(), FieldEdit::Assign(Literal::Scalar("1".into())))];
    let edits = vec![Edit::Set { resource: "config/a".parse().unwrap(), fields, replace: false }];
    Request::Write(WriteRequest {
        group: group.into(),
        edits,
        expected_heads: None,
        note: ChangeNote::default(),
        allow_unknown: false,
    })
}

/// Handles a request and confirms every batch at once. Returns the effects.
fn request_and_store(node: &mut Node, request_id: u64, request: Request) -> Vec<Effect> {
    let input = Input::Request { request_id: RequestId(request_id), request };
    offline::handle(node, clock_at(1), input, drop)
}

fn create_group(node: &mut Node) -> GroupId {
    let effects = request_and_store(node, 1, Request::CreateGroup { name: "shop".into() });
    let group = effects.iter().find_map(|effect| match effect {
        Effect::Respond { response: Ok(Response::GroupCreated { group, .. }), .. } => Some(*group),
        _ => None,
    });
    group.unwrap()
}

/// A write whose batch fails is answered with the failure, and the node sends nothing from then on.
#[test]
fn after_a_store_failure_the_node_sends_nothing() {
    let mut node = open_node(1);
    let group = create_group(&mut node);
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
    assert!(
        !request_and_store(&mut node, 1, join_request())
            .iter()
            .any(|effect| matches!(effect, Effect::Respond { .. }))
    );
    let effects = request_and_store(&mut node, 2, join_request());
    let is_join_replaced = |effect: &Effect| {
        matches!(
            effect,
            Effect::Respond { request_id: RequestId(1), response: Err(RequestError::JoinReplaced) }
        )
    };
    assert_eq!(effects.iter().filter(|effect| is_join_replaced(effect)).count(), 1, "{effects:?}");
}
