//! Frames that no honest peer sends, and the reactions of the node.

mod admin_operations;
mod driver_contract;
mod join_requests;
mod limits_and_counters;
mod multi_node;

use super::*;
use crate::golden::fixture;
use crate::group::{Position, Tip};
use crate::id::{ChainId, ChangeId, InviteId};
use crate::limits;
use crate::record::{SignedRecord, Signer};
use crate::store::{MemoryStore, Row, key};
use crate::test_support::{TestNode, set_request};
use crate::wire::guest::{
    GrantPath, GuestFrame, JoinDenial, JoinRequest, JoinResponse, JoinTerms, MembershipProbe, ProbeResponse,
};
use crate::wire::member::{GroupFrame, GroupSummary, Hello, MemberFrame, ShardPositions};

impl TestNode {
    /// A member of the fixture group.
    fn member(secret: SecretKey) -> Self {
        let mut store = MemoryStore::default();
        let mut group = Group::new(fixture::records());
        store.write(&group.initial_rows());
        let row = GroupRow { version: 1, genesis: fixture::genesis().id(), paused: false, refetching: false };
        store.write(&[Row::put_encoded(Table::Groups, key::for_group(group.id()), &row)]);
        Self::open(secret, store)
    }

    fn receive_member_frame(&mut self, link: u64, frame: &MemberFrame) -> Vec<Effect> {
        self.receive(LinkId(link), frame.encode())
    }

    fn receive_guest_frame(&mut self, link: u64, frame: &GuestFrame) -> Vec<GuestFrame> {
        let effects = self.receive(LinkId(link), frame.encode());
        effects.iter().filter_map(sent_guest_frame).collect()
    }

    /// True if the node closes a guest stream after this frame.
    fn closes_stream_on(&mut self, link: u64, frame: &GuestFrame) -> bool {
        let effects = self.receive(LinkId(link), frame.encode());
        effects.iter().any(|effect| matches!(effect, Effect::Close { .. }))
    }

    fn can_write(&mut self, value: &str) -> bool {
        let (_, effects) = self.request(set_request(fixture::group(), "config/db", "keys.url", value));
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Respond { response: Ok(Response::Written(Some(_))), .. }))
    }
}

fn sent_guest_frame(effect: &Effect) -> Option<GuestFrame> {
    match effect {
        Effect::Send { bytes, .. } => GuestFrame::decode(bytes).ok(),
        _ => None,
    }
}

fn hello_frame() -> MemberFrame {
    MemberFrame::Hello(Hello { newest_version: 1, min_version: 1, software: "x".into() })
}

fn stranger_key() -> SecretKey {
    SecretKey::from_bytes(&[77; 32])
}

fn example_code() -> InviteCode {
    InviteCode::new(fixture::group(), &fixture::founder().node_id(), [7; 16])
}

#[test]
fn impossible_positions_from_a_peer_are_ignored() {
    let mut host = TestNode::member(fixture::founder());
    host.can_write("one");
    host.open_link(1, &fixture::operator(), LinkKind::Member, true);
    host.receive_member_frame(1, &hello_frame());
    let desired = host.node.group(&fixture::group()).unwrap().group.desired().unwrap();
    let (shard_id, own_chain) = (desired.root().shard_id(), desired.graph().chains().next().unwrap().id);
    let tip = Tip { seq: u64::MAX, id: ChangeId([1; 32]) };
    let chains = [own_chain, ChainId([1; 16]), ChainId([2; 16])]
        .map(|chain_id| Position { chain_id, tips: vec![tip] })
        .to_vec();
    host.receive_member_frame(
        1,
        &GroupFrame::ShardPositions(ShardPositions { shard_id, chains }).in_group(fixture::group()),
    );
    let state = host.node.group(&fixture::group()).unwrap();
    let (_, session) = state.neighbour_sessions().next().unwrap();
    assert_eq!(session.count_missing_here(&state.group), 0, "nobody has so much");
    assert!(host.can_write("two"));
}

#[test]
fn join_denial_counts_only_from_a_peer_that_proved_membership() {
    let mut host = TestNode::open(SecretKey::from_bytes(&[21; 32]), MemoryStore::default());
    host.request(Request::Join { code: example_code(), alias: String::new(), labels: vec![] });
    host.handle(Input::NodeDiscovered { peer: stranger_key().node_id(), addresses: vec![] });
    host.open_link(1, &stranger_key(), LinkKind::Guest, true);
    let denied = GuestFrame::JoinResponse(JoinResponse::Denied(JoinDenial::UsedUp));
    let effects = host.handle(Input::FrameReceived { link: LinkId(1), bytes: denied.encode() });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Respond { .. })));
    assert_eq!(host.node.pending_joins().count(), 1);

    // A peer that proved its membership may deny a join.
    host.open_link(2, &fixture::operator(), LinkKind::Guest, true);
    let records = vec![fixture::genesis().encode(), fixture::grant().encode()];
    let proof = GuestFrame::ProbeResponse(ProbeResponse { nonce: [1; 16], records, is_last: true });
    let sent = host.receive_guest_frame(2, &proof);
    assert!(matches!(sent[..], [GuestFrame::JoinRequest(_)]), "{sent:?}");
    assert!(host.receive_guest_frame(2, &proof).is_empty(), "one request a visit");
    host.open_link(3, &fixture::operator(), LinkKind::Guest, true);
    host.receive_guest_frame(3, &proof);
    let effects = host.handle(Input::FrameReceived { link: LinkId(3), bytes: denied.encode() });
    let is_join_denied = |effect: &Effect| {
        matches!(effect, Effect::Respond { response: Err(RequestError::JoinDenied(JoinDenial::UsedUp)), .. })
    };
    assert!(effects.iter().any(is_join_denied));
    assert_eq!(host.node.pending_joins().count(), 0);
}

/// A guest stream to a member of the first group carries a grant path, and a probe for the second group. The
/// response to one must not be mistaken for the response to the other.
#[test]
fn node_joins_a_second_group_through_a_member_of_its_first_group() {
    for answer in [GuestFrame::MemberRecognized(fixture::group()), GuestFrame::NotMember] {
        let mut host = TestNode::member(fixture::operator());
        let other = InviteCode::new(GroupId([9; 16]), &fixture::founder().node_id(), [7; 16]);
        host.request(Request::Join { code: other, alias: String::new(), labels: vec![] });
        let effects = host.open_link(1, &fixture::founder(), LinkKind::Guest, true);
        let first: Vec<_> = effects.iter().filter_map(sent_guest_frame).collect();
        assert!(matches!(first[..], [GuestFrame::GrantPath(_)]), "{first:?}");
        let next = host.receive_guest_frame(1, &answer);
        assert!(matches!(next[..], [GuestFrame::MembershipProbe(_)]), "{next:?}");
        assert!(host.closes_stream_on(1, &GuestFrame::NotMember), "now it was");
    }
    let mut host = TestNode::member(fixture::operator());
    host.open_link(1, &fixture::founder(), LinkKind::Guest, true);
    assert!(
        host.closes_stream_on(1, &GuestFrame::MemberRecognized(fixture::group())),
        "nothing else was asked"
    );
}

#[test]
fn waiting_join_requests_of_one_stranger_are_limited() {
    let mut host = TestNode::member(fixture::operator());
    let (group, joiner, carrier) = (fixture::group(), stranger_key(), fixture::operator().node_id());
    host.open_link(1, &joiner, LinkKind::Guest, false);
    let sent = host.receive_guest_frame(
        1,
        &GuestFrame::MembershipProbe(MembershipProbe::new(group, &joiner.node_id(), &carrier, [1; 16])),
    );
    let [GuestFrame::ProbeResponse(proof)] = &sent[..] else { panic!("{sent:?}") };
    for n in 0..=limits::MAX_WAITING_JOINS {
        let terms = JoinTerms {
            group,
            invite_id: example_code().invite_id(),
            issuer_fingerprint: fixture::founder().node_id().fingerprint8(),
            joiner: joiner.node_id(),
            contacted_member: carrier,
            nonces: ([1; 16], proof.nonce),
            alias: n.to_string(),
            labels: vec![],
        };
        let sent = host.receive_guest_frame(
            1,
            &GuestFrame::JoinRequest(JoinRequest::sign(terms, &example_code().invite_key(), &joiner)),
        );
        assert!(
            matches!(sent[..], [GuestFrame::JoinResponse(JoinResponse::WaitingForIssuer { .. })]),
            "{sent:?}"
        );
    }
    let state = host.node.group(&group).unwrap();
    assert_eq!(state.admission.request_counts(), (limits::MAX_WAITING_JOINS, 1));
}

#[test]
fn grant_path_of_an_unknown_group_is_not_stored() {
    let mut host = TestNode::member(fixture::founder());
    host.open_link(1, &stranger_key(), LinkKind::Guest, false);
    let grant_path =
        |group, records: Vec<Vec<u8>>| GuestFrame::GrantPath(GrantPath { group, records, is_last: false });
    let other = grant_path(GroupId([1; 16]), vec![fixture::grant().encode()]);
    assert_eq!(host.receive_guest_frame(1, &other), [], "one answer a line, at its end");
    let GuestFrame::GrantPath(GrantPath { group, records, .. }) = other else { unreachable!() };
    let other = GuestFrame::GrantPath(GrantPath { group, records, is_last: true });
    assert_eq!(host.receive_guest_frame(1, &other), [GuestFrame::NotMember]);
    assert_eq!(host.node.guest_streams.partial_record_count(LinkId(1)), 0);
    assert_eq!(
        host.receive_guest_frame(1, &grant_path(fixture::group(), vec![fixture::grant().encode()])),
        []
    );
    assert_eq!(host.node.guest_streams.partial_record_count(LinkId(1)), 1);
}

#[test]
fn size_of_a_received_grant_path_is_limited() {
    let forget = crate::record::Forget { shard: "x".repeat(limits::MAX_KEY_BYTES) };
    let record = fixture::record(1, crate::id::RecordId::ZERO, crate::record::RecordBody::Forget(forget));
    assert_eq!(record.signer, Signer::Holder);
    let record: SignedRecord = record.sign(&fixture::founder());
    let (encoded, mut records) = (vec![record.encode(); 200], Vec::new());
    let accepted_batches =
        std::iter::from_fn(|| membership_proof::collect_records(&mut records, &encoded, false).ok())
            .take(1000)
            .count();
    assert!((20..50).contains(&accepted_batches), "{accepted_batches} portions");
    assert!(
        records.iter().map(SignedRecord::encoded_len).sum::<usize>()
            <= limits::MAX_GRANT_PATH_BYTES + 2 * limits::MAX_RECORD_BYTES
    );
}

#[test]
fn closed_links_leave_no_state_behind() {
    let mut host = TestNode::member(fixture::founder());
    for n in 1..20 {
        host.open_link(n, &stranger_key(), LinkKind::Member, true);
        host.receive_member_frame(n, &hello_frame());
        let have = GroupSummary { record_tips: vec![], shard_digests: vec![] };
        let effects =
            host.receive_member_frame(n, &GroupFrame::GroupSummary(have).in_group(fixture::group()));
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Send { .. })), "who are you?");
        host.handle(Input::LinkDown { link: LinkId(n) });
    }
    let state = host.node.group(&fixture::group()).unwrap();
    assert!(state.proof_requested.is_empty() && state.sessions.is_empty());
    assert!(!state.admission.invites.contains_key(&InviteId([0; 32])));
}
