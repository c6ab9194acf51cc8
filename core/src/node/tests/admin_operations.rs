//! Admin operations with their authority, and pairing.

use super::*;
use crate::record::Role;
use crate::typed_name::{ChangeName, GroupName};
use crate::wire::pairing;

fn run_admin_op(host: &mut TestNode, op: AdminOp) -> Result<(), RequestError> {
    let request =
        AdminRequest { group: fixture::group().into(), op, user: "ann".into(), message: "because".into() };
    let (_, effects) = host.request(Request::Admin(request));
    let response = effects.into_iter().find_map(|effect| match effect {
        Effect::Respond { response: answer, .. } => Some(answer.map(drop)),
        _ => None,
    });
    response.unwrap()
}

fn role(host: &TestNode, key: &SecretKey) -> Option<Role> {
    host.node.group(&fixture::group()).unwrap().group.members().role_of(&key.node_id())
}

fn membership_status(host: &TestNode, key: &SecretKey) -> (MembershipStatus, Option<MembershipEnd>) {
    let group = &host.node.group(&fixture::group()).unwrap().group;
    (
        MembershipStatus::for_key(group.members(), &key.node_id()),
        MembershipEnd::for_key(group, &key.node_id()),
    )
}

fn reopen_with_key(host: TestNode, secret: SecretKey) -> TestNode {
    TestNode::open(secret, host.store)
}

#[test]
fn admin_can_remove_an_operator_but_operator_cannot_remove_an_admin() {
    let (founder, operator) = (fixture::founder(), fixture::operator());
    let mut host = TestNode::member(operator.clone());
    let remove = |node: &SecretKey| AdminOp::RemoveMember { node: node.node_id().into(), keep_through: None };
    assert_eq!(run_admin_op(&mut host, remove(&founder)), Err(RequestError::NotAdmin));
    let mut host = TestNode::member(founder.clone());
    assert_eq!(run_admin_op(&mut host, remove(&stranger_key())), Err(RequestError::NotMember));
    assert_eq!(run_admin_op(&mut host, remove(&founder)), Err(RequestError::CannotRemoveSelf));
    assert_eq!(
        run_admin_op(&mut host, AdminOp::ForgetMember { node: operator.node_id().into() }),
        Err(RequestError::StillMember)
    );
    assert_eq!(run_admin_op(&mut host, remove(&operator)), Ok(()));
    assert_eq!(run_admin_op(&mut host, remove(&operator)), Err(RequestError::NotMember));
    let (status, ended) = membership_status(&host, &operator);
    let ended = ended.unwrap();
    assert_eq!((status, ended.signer), (MembershipStatus::Removed, Some(founder.node_id())));
    assert_eq!((ended.note.user.as_str(), ended.note.message.as_str()), ("ann", "because"));
    let host = &mut reopen_with_key(host, founder);
    assert_eq!(role(host, &operator), None, "as stored");
    let member_infos = |host: &TestNode| host.node.member_infos(host.node.group(&fixture::group()).unwrap());
    assert_eq!(
        member_infos(host).iter().map(|info| info.state).collect::<Vec<_>>(),
        [NodeState::Up, NodeState::Removed]
    );
    assert_eq!(run_admin_op(host, AdminOp::ForgetMember { node: operator.node_id().into() }), Ok(()));
    assert_eq!(member_infos(host).len(), 1);
}

/// A removal works with every grant of the removed node: no change after the named one counts, and all others
/// do.
#[test]
fn removal_with_keep_through_drops_every_later_change() {
    let (founder, operator) = (fixture::founder(), fixture::operator());
    let mut host = TestNode::member(founder.clone());
    assert_eq!(
        run_admin_op(&mut host, AdminOp::ChangeRole { node: operator.node_id().into(), role: Role::Admin }),
        Ok(())
    );
    let mut host = reopen_with_key(host, operator.clone());
    assert!(host.can_write("one") && host.can_write("two") && host.can_write("three"));
    let mut host = reopen_with_key(host, founder);
    let desired =
        |host: &TestNode| host.node.group(&fixture::group()).unwrap().group.desired().unwrap().clone();
    let before = desired(&host);
    let chain = before.graph().chains().next().unwrap();
    let second = before.graph().entry_in_chain(chain, 2).unwrap().id;
    let remove = |change: ChangeId| AdminOp::RemoveMember {
        node: operator.node_id().into(),
        keep_through: Some(ChangeName::from(change)),
    };
    assert_eq!(run_admin_op(&mut host, remove(ChangeId([9; 32]))), Err(RequestError::ChangeByOtherNode));
    assert_eq!(run_admin_op(&mut host, remove(second)), Ok(()));
    let after = desired(&host);
    assert_eq!(after.graph().len(), before.graph().len() - 1);
    assert!(after.graph().contains(&second));
    assert_eq!(membership_status(&host, &operator).0, MembershipStatus::Removed);
}

/// A peer that repeats its challenge gets only one long answer.
#[test]
fn repeated_membership_challenge_on_one_link_is_answered_once() {
    let mut host = TestNode::member(fixture::founder());
    host.open_link(1, &fixture::operator(), LinkKind::Member, true);
    host.receive_member_frame(1, &hello_frame());
    let challenge = GroupFrame::ProveMembership.in_group(fixture::group());
    let count_grant_paths = |effects: Vec<Effect>| {
        let is_grant_path = |effect: &Effect| {
            let Effect::Send { bytes, .. } = effect else { return false };
            matches!(MemberFrame::decode(bytes), Ok(MemberFrame::Group(_, GroupFrame::GrantPath(_))))
        };
        effects.iter().filter(|effect| is_grant_path(effect)).count()
    };
    assert_eq!(
        (
            count_grant_paths(host.receive_member_frame(1, &challenge)),
            count_grant_paths(host.receive_member_frame(1, &challenge))
        ),
        (1, 0)
    );
    host.handle(Input::LinkDown { link: LinkId(1) });
    host.open_link(2, &fixture::operator(), LinkKind::Member, true);
    host.receive_member_frame(2, &hello_frame());
    assert_eq!(count_grant_paths(host.receive_member_frame(2, &challenge)), 1, "a new link may ask anew");
}

#[test]
fn promotion_adds_a_grant_and_demotion_revokes_one() {
    let (founder, operator) = (fixture::founder(), fixture::operator());
    let mut host = TestNode::member(founder.clone());
    let change_role = |node: &SecretKey, role| AdminOp::ChangeRole { node: node.node_id().into(), role };
    assert_eq!(
        run_admin_op(&mut host, change_role(&operator, Role::Operator)),
        Err(RequestError::RoleUnchanged(Role::Operator))
    );
    assert_eq!(run_admin_op(&mut host, change_role(&operator, Role::Admin)), Ok(()));
    assert_eq!(role(&host, &operator), Some(Role::Admin));
    // An admin cannot remove the admin that appointed it. The other way round works.
    let mut host = reopen_with_key(host, operator.clone());
    let remove = |node: &SecretKey| AdminOp::RemoveMember { node: node.node_id().into(), keep_through: None };
    assert_eq!(run_admin_op(&mut host, remove(&founder)), Err(RequestError::NotGrantingAdmin));
    let mut host = reopen_with_key(host, founder.clone());
    assert_eq!(run_admin_op(&mut host, change_role(&operator, Role::Reader)), Ok(()));
    assert_eq!(role(&host, &operator), Some(Role::Reader));
    assert_eq!(run_admin_op(&mut host, change_role(&founder, Role::Node)), Err(RequestError::LastAdmin));
    assert_eq!(run_admin_op(&mut host, AdminOp::LeaveGroup { force: false }), Err(RequestError::LastAdmin));
    assert_eq!(run_admin_op(&mut host, AdminOp::LeaveGroup { force: true }), Ok(()));
    assert_eq!(membership_status(&host, &founder).0, MembershipStatus::Left);
    assert!(!host.can_write("x"), "a node that left writes nothing");
    // No admin is left, so only the recovery key can appoint one.
    let mut host = reopen_with_key(host, operator.clone());
    let wrong = AdminOp::RecoverAdmin { recovery_key: stranger_key() };
    assert_eq!(run_admin_op(&mut host, wrong), Err(RequestError::WrongRecoveryKey));
    assert_eq!(run_admin_op(&mut host, AdminOp::RecoverAdmin { recovery_key: fixture::recovery() }), Ok(()));
    assert_eq!(role(&host, &operator), Some(Role::Admin));
}

/// After a rotation the old key writes no more, the new key has its role, and the old changes still count.
#[test]
fn key_rotation_moves_membership_to_the_new_key() {
    let (founder, operator, new_key) = (fixture::founder(), fixture::operator(), stranger_key());
    let rotate_key = || AdminOp::RotateKey {
        new_key: new_key.node_id(),
        alias: "plc".into(),
        labels: vec![("line".into(), "2".into())],
    };
    let mut host = TestNode::member(operator.clone());
    assert_eq!(
        run_admin_op(&mut host, rotate_key()),
        Err(RequestError::NotAdmin),
        "whose grants would not count"
    );
    assert_eq!(role(&host, &operator), Some(Role::Operator), "and nothing was done");
    let mut host = TestNode::member(founder.clone());
    assert!(host.can_write("before"));
    assert_eq!(run_admin_op(&mut host, rotate_key()), Ok(()));
    assert!(!host.can_write("after"), "the old key writes no more");
    let mut host = reopen_with_key(host, new_key.clone());
    assert_eq!((role(&host, &new_key), role(&host, &founder)), (Some(Role::Admin), None));
    assert_eq!(membership_status(&host, &founder).0, MembershipStatus::Left);
    let group = &host.node.group(&fixture::group()).unwrap().group;
    let terms: Vec<_> = group
        .members()
        .live_grants_of(&new_key.node_id())
        .map(|grant| (grant.alias.clone(), grant.labels.clone()))
        .collect();
    assert_eq!(terms, [("plc".to_owned(), vec![("line".to_owned(), "2".to_owned())])]);
    assert_eq!(role(&host, &operator), Some(Role::Operator), "whom the old key let in");
    let desired =
        |host: &TestNode| host.node.group(&fixture::group()).unwrap().group.desired().unwrap().graph().len();
    let before = desired(&host);
    assert!(host.can_write("under the new key"));
    assert_eq!(desired(&host), before + 1);
    let remove = AdminOp::RemoveMember { node: operator.node_id().into(), keep_through: None };
    assert_eq!(run_admin_op(&mut host, remove), Ok(()));
    // A later record of the old key is past its frontier.
    let mut old_node = reopen_with_key(host, founder.clone());
    assert_eq!(
        run_admin_op(
            &mut old_node,
            AdminOp::ChangeRole { node: founder.node_id().into(), role: Role::Admin }
        ),
        Err(RequestError::MembershipEnded(fixture::group()))
    );
    assert!(!old_node.can_write("too late"));
}

#[test]
fn group_is_deleted_only_by_its_founder_or_the_recovery_key() {
    let mut host = TestNode::member(fixture::operator());
    assert_eq!(
        run_admin_op(&mut host, AdminOp::DeleteGroup { recovery_key: None }),
        Err(RequestError::NotFounder)
    );
    let key = Some(stranger_key());
    assert_eq!(
        run_admin_op(&mut host, AdminOp::DeleteGroup { recovery_key: key }),
        Err(RequestError::WrongRecoveryKey)
    );
    let key = Some(fixture::recovery());
    assert_eq!(run_admin_op(&mut host, AdminOp::DeleteGroup { recovery_key: key }), Ok(()));
    assert_eq!(membership_status(&host, &fixture::operator()).0, MembershipStatus::Dissolved);
    assert!(!host.can_write("x"));
    let mut host = TestNode::member(fixture::founder());
    assert_eq!(run_admin_op(&mut host, AdminOp::DeleteGroup { recovery_key: None }), Ok(()));
    assert_eq!(host.node.group(&fixture::group()).unwrap().group.members().nodes().count(), 0);
}

/// A linked member gets the record that ends its membership before the link is closed.
#[test]
fn removed_member_receives_the_records_before_its_link_closes() {
    let remove = AdminOp::RemoveMember { node: fixture::operator().node_id().into(), keep_through: None };
    for op in [AdminOp::DeleteGroup { recovery_key: None }, remove] {
        let (founder, operator) = (fixture::founder(), fixture::operator());
        let (mut host, mut other) = (TestNode::member(founder.clone()), TestNode::member(operator.clone()));
        host.open_link(1, &operator, LinkKind::Member, true);
        host.receive_member_frame(1, &hello_frame());
        other.open_link(1, &founder, LinkKind::Member, false);
        other.receive_member_frame(1, &hello_frame());
        let request =
            AdminRequest { group: fixture::group().into(), op, user: String::new(), message: String::new() };
        let (_, effects) = host.request(Request::Admin(request));
        let records_sent = |effect: &Effect| match effect {
            Effect::Send { link: LinkId(1), bytes } => match MemberFrame::decode(bytes) {
                Ok(frame @ MemberFrame::Group(_, GroupFrame::RecordBatch(_))) => Some(frame),
                _ => None,
            },
            _ => None,
        };
        let records_index = effects.iter().position(|effect| records_sent(effect).is_some());
        let members_index = effects.iter().position(|effect| matches!(effect, Effect::SetMembers(_)));
        assert!(records_index.is_some() && records_index < members_index, "{effects:?}");
        other.receive_member_frame(1, &records_sent(&effects[records_index.unwrap()]).unwrap());
        assert!(!other.can_write("too late"));
    }
}

/// The answers that a former member gets to its grant path.
#[test]
fn removed_node_that_sends_its_grant_path_receives_the_revocation() {
    let (founder, operator) = (fixture::founder(), fixture::operator());
    let mut host = TestNode::member(founder.clone());
    let mut other = TestNode::member(operator.clone());
    run_admin_op(&mut host, AdminOp::RemoveMember { node: operator.node_id().into(), keep_through: None })
        .unwrap();
    host.open_link(1, &operator, LinkKind::Guest, false);
    let shown: Vec<GuestFrame> =
        other.open_link(1, &founder, LinkKind::Guest, true).iter().filter_map(sent_guest_frame).collect();
    let responses: Vec<GuestFrame> =
        shown.iter().flat_map(|frame| host.receive_guest_frame(1, frame)).collect();
    assert!(matches!(responses[..], [GuestFrame::MembershipEnded(_)]), "{responses:?}");
    assert!(other.closes_stream_on(1, &responses[0]));
    let (status, ended) = membership_status(&other, &operator);
    assert_eq!((status, ended.unwrap().signer), (MembershipStatus::Removed, Some(founder.node_id())));
    assert!(!other.can_write("x"));
    // A node that never was a member gets no records.
    host.open_link(2, &stranger_key(), LinkKind::Guest, false);
    assert_eq!(host.receive_guest_frame(2, &shown[0]), [GuestFrame::NotMember]);
}

/// Starts a node that pairs, and a member.
fn start_pairing() -> (TestNode, TestNode) {
    let mut joiner = TestNode::open(stranger_key(), MemoryStore::default());
    let mut member = TestNode::member(fixture::founder());
    joiner.request(Request::StartPairing { alias: "till".into(), labels: vec![] });
    joiner.handle(Input::NodeDiscovered { peer: fixture::founder().node_id(), addresses: vec![] });
    run_guest_stream(&mut joiner, &mut member, 1);
    (joiner, member)
}

/// Runs a complete guest stream.
fn run_guest_stream(joiner: &mut TestNode, member: &mut TestNode, link: u64) {
    member.open_link(link, &stranger_key(), LinkKind::Guest, false);
    let mut frames: Vec<_> = joiner
        .open_link(link, &fixture::founder(), LinkKind::Guest, true)
        .iter()
        .filter_map(sent_guest_frame)
        .map(|frame| (true, frame))
        .collect();
    while let Some((to_member, frame)) = frames.pop() {
        let host = if to_member { &mut *member } else { &mut *joiner };
        frames.extend(
            host.receive_guest_frame(link, &frame).into_iter().map(|response| (!to_member, response)),
        );
    }
}

fn displayed_digits(joiner: &TestNode, member: &TestNode) -> (u32, u32) {
    let joiner_digits = joiner
        .node
        .outgoing_pairing()
        .unwrap()
        .peers_with_digits(&stranger_key().node_id())
        .next()
        .unwrap()
        .1;
    let (node, pairing, member_digits) = member.node.incoming_pairings().next().unwrap();
    assert_eq!((node, pairing.alias.as_str()), (stranger_key().node_id(), "till"));
    (joiner_digits, member_digits.unwrap())
}

#[test]
fn node_joins_without_a_code_once_both_operators_confirm_the_digits() {
    let (mut joiner, mut member) = start_pairing();
    let (joiner_digits, member_digits) = displayed_digits(&joiner, &member);
    assert_eq!(joiner_digits, member_digits);
    let approve =
        |digits| AdminOp::ApproveJoin { node: stranger_key().node_id().into(), role: Role::Node, digits };
    assert_eq!(run_admin_op(&mut member, approve(None)), Err(RequestError::WrongDigits));
    assert_eq!(
        run_admin_op(&mut member, approve(Some((member_digits + 1) % 1_000_000))),
        Err(RequestError::WrongDigits)
    );
    assert_eq!(run_admin_op(&mut member, approve(Some(member_digits))), Ok(()));
    assert_eq!(member.node.incoming_pairings().count(), 0);
    run_guest_stream(&mut joiner, &mut member, 2);
    assert_eq!(joiner.node.groups().count(), 0, "its own operator has not agreed yet");
    let is_wrong_digits =
        |effect: &Effect| matches!(effect, Effect::Respond { response: Err(RequestError::WrongDigits), .. });
    let (_, wrong) = joiner.request(Request::ConfirmDigits { digits: (joiner_digits + 1) % 1_000_000 });
    assert!(wrong.iter().any(is_wrong_digits));
    joiner.request(Request::ConfirmDigits { digits: joiner_digits });
    assert_eq!(role(&joiner, &stranger_key()), Some(Role::Node));
    assert_eq!(joiner.node.outgoing_pairing().unwrap().joined_group(), Some(fixture::group()));
}

#[test]
fn pairing_fails_when_a_side_reveals_another_nonce_than_it_committed_to() {
    let (_, mut member) = start_pairing();
    let commitment = pairing::commitment(&stranger_key().node_id(), &[1; 16]);
    member.open_link(2, &stranger_key(), LinkKind::Guest, false);
    let pairing_request = GuestFrame::PairingRequest(pairing::PairingRequest {
        commit: commitment,
        alias: String::new(),
        labels: vec![],
    });
    assert!(matches!(member.receive_guest_frame(2, &pairing_request)[..], [GuestFrame::PairingNonce(_)]));
    assert!(
        member.closes_stream_on(2, &GuestFrame::PairingReveal([2; 16])),
        "another chance than the one it was bound to"
    );
    // A member that changes its nonce is rejected, too.
    let (mut joiner, _) = start_pairing();
    joiner.open_link(2, &fixture::founder(), LinkKind::Guest, true);
    assert!(joiner.closes_stream_on(2, &GuestFrame::PairingNonce([9; 16])));
}

#[test]
fn incoming_pairings_are_limited_and_can_be_rejected() {
    let (_, mut member) = start_pairing();
    let (_, effects) =
        member.request(Request::RejectJoin { group: GroupName::Only, node: stranger_key().node_id().into() });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Respond { response: Ok(_), .. })));
    assert_eq!(member.node.incoming_pairings().count(), 0);
    for n in 0..2 * limits::MAX_INCOMING_PAIRINGS as u64 {
        let node = SecretKey::from_bytes(&[n as u8 + 100; 32]);
        member.open_link(10 + n, &node, LinkKind::Guest, false);
        let commitment = pairing::commitment(&node.node_id(), &[1; 16]);
        member.receive_guest_frame(
            10 + n,
            &GuestFrame::PairingRequest(pairing::PairingRequest {
                commit: commitment,
                alias: String::new(),
                labels: vec![],
            }),
        );
    }
    assert_eq!(
        member.node.incoming_pairings().count(),
        limits::MAX_INCOMING_PAIRINGS - 1,
        "the denied one has its place"
    );
    assert_eq!(member.node.limit_stats().iter().count(), 2, "{:?}", member.node.limit_stats());
    // A node that is not an admin does not answer.
    let mut operator = TestNode::member(fixture::operator());
    operator.open_link(1, &stranger_key(), LinkKind::Guest, false);
    let commitment = pairing::commitment(&stranger_key().node_id(), &[1; 16]);
    let pairing_request = GuestFrame::PairingRequest(pairing::PairingRequest {
        commit: commitment,
        alias: String::new(),
        labels: vec![],
    });
    assert_eq!(operator.receive_guest_frame(1, &pairing_request), [GuestFrame::NotMember]);
}
