//! A join with a peer in between that drops, repeats, alters and forges frames. No node joins that no admin
//! admitted, none is admitted before the digits on both screens were equal, and the digits differ only if the
//! peer in between interfered.

use std::sync::LazyLock;

use larder_core::node::{AdminOp, AdminRequest, Effect, Input, LinkId, LinkKind, Request};
use larder_core::record::Role;
use larder_core::store::MemoryStore;
use larder_core::test_support::{TestNode, secret_key};
use larder_core::wire::guest::GuestFrame;

use crate::decisions::Decisions;
use crate::fixture;

/// An opened member, which each run copies because opening is slow.
static MEMBER: LazyLock<TestNode> =
    LazyLock::new(|| TestNode::open(secret_key(fixture::FOUNDER), fixture::FIXTURE.store.clone()));
static JOINER: LazyLock<TestNode> =
    LazyLock::new(|| TestNode::open(secret_key(fixture::NON_MEMBER), MemoryStore::default()));

/// The frames among effects.
fn sent_frames(effects: Vec<Effect>) -> Vec<Vec<u8>> {
    let sent = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send { bytes, .. } => Some(bytes),
        _ => None,
    });
    sent.collect()
}

/// Runs a join with or without a code. The bytes decide what the peer in between does.
pub fn fuzz_join_handshake(data: &[u8]) {
    let mut decisions = Decisions::new(data);
    let (mut member, mut joiner) = (MEMBER.clone(), JOINER.clone());
    let joins_by_code = decisions.next_bool();
    let request = match joins_by_code {
        true => Request::Join { code: fixture::FIXTURE.code.clone(), alias: "till".into(), labels: vec![] },
        false => Request::StartPairing { alias: "till".into(), labels: vec![] },
    };
    joiner.request(request);
    let (joiner_key, member_key) = (secret_key(fixture::NON_MEMBER), secret_key(fixture::FOUNDER));
    joiner.handle(Input::NodeDiscovered { peer: member_key.node_id(), addresses: vec![] });
    let link = LinkId(1);
    member.open_link(link.0, &joiner_key, LinkKind::Guest, false);
    let first = sent_frames(joiner.open_link(link.0, &member_key, LinkKind::Guest, true));
    let mut frames: Vec<(bool, Vec<u8>)> = first.into_iter().map(|bytes| (true, bytes)).collect();
    let (mut disturbed, mut approved) = (false, false);
    for _ in 0..64 {
        if frames.is_empty() {
            break;
        }
        let (to_member, mut bytes) = frames.remove(0);
        disturbed |= disturb_frame(&mut decisions, &mut bytes, &mut frames, to_member);
        let side = if to_member { &mut member } else { &mut joiner };
        let answers = sent_frames(side.receive(link, bytes));
        frames.extend(answers.into_iter().map(|bytes| (!to_member, bytes)));
        if !joins_by_code && !approved && decisions.next_bool() {
            approved = compare_digits(&mut decisions, &mut member, &mut joiner, disturbed, &mut frames);
        }
    }
    let joiner_is_member = joiner.node.group(&fixture::group()).is_some();
    let was_admitted = member
        .node
        .group(&fixture::group())
        .is_some_and(|state| state.group.members().is_member(&joiner_key.node_id()));
    assert!(!joiner_is_member || was_admitted, "in a group that never let it in");
    assert!(joins_by_code || approved || !was_admitted, "let in though nobody compared");
}

/// Lets the peer in between alter a frame. Returns true if it did anything.
fn disturb_frame(
    decisions: &mut Decisions<'_>,
    bytes: &mut Vec<u8>,
    frames: &mut Vec<(bool, Vec<u8>)>,
    to_member: bool,
) -> bool {
    match decisions.next_byte_or_zero() % 8 {
        0 => {
            let at = decisions.index(bytes.len().max(1));
            let mask = decisions.next_byte_or_zero().max(1);
            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= mask);
        }
        1 => *bytes = decisions.bytes().to_vec(),
        2 => frames.push((to_member, bytes.clone())),
        3 => frames.insert(0, (to_member, GuestFrame::PairingNonce(decisions.repeated_byte()).encode())),
        4 => frames.insert(0, (to_member, GuestFrame::PairingReveal(decisions.repeated_byte()).encode())),
        _ => return false,
    }
    true
}

/// The operators compare both screens, and approve if the digits are equal.
fn compare_digits(
    decisions: &mut Decisions<'_>,
    member: &mut TestNode,
    joiner: &mut TestNode,
    disturbed: bool,
    frames: &mut Vec<(bool, Vec<u8>)>,
) -> bool {
    let joiner_id = secret_key(fixture::NON_MEMBER).node_id();
    let Some(member_digits) =
        member.node.incoming_pairings().find_map(|(node, _, digits)| digits.filter(|_| node == joiner_id))
    else {
        return false;
    };
    let joiner_digits = joiner
        .node
        .outgoing_pairing()
        .and_then(|pairing| pairing.peers_with_digits(&joiner_id).next())
        .map(|(_, shown, _)| shown);
    if joiner_digits != Some(member_digits) {
        assert!(disturbed || joiner_digits.is_none(), "nobody was in between, and the screens differ");
        return false;
    }
    let role = *decisions.choose(&[Role::Node, Role::Operator, Role::Admin]);
    let op = AdminOp::ApproveJoin { node: joiner_id.into(), role, digits: Some(member_digits) };
    let admin_request =
        AdminRequest { group: fixture::group().into(), op, user: String::new(), message: String::new() };
    let answers = sent_frames(member.request(Request::Admin(admin_request)).1);
    frames.extend(answers.into_iter().map(|bytes| (false, bytes)));
    joiner.request(Request::ConfirmDigits { digits: member_digits });
    true
}
