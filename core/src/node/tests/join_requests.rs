//! Join requests: valid and forged requests, their pace, and peers with other versions.

use super::*;
use crate::id::RecordId;
use crate::record::{Grant, RecordBody, Role, create_genesis};

/// A node that joins the fixture group.
fn joining_node() -> TestNode {
    let mut host = TestNode::open(SecretKey::from_bytes(&[21; 32]), MemoryStore::default());
    host.request(Request::Join { code: example_code(), alias: "till-7".into(), labels: vec![] });
    host
}

#[test]
fn joiner_sends_no_request_to_a_peer_that_does_not_prove_membership() {
    let mut host = joining_node();
    let other_genesis = create_genesis(&stranger_key(), "shop", [9; 16], stranger_key().node_id());
    let body = RecordBody::Grant(Grant {
        holder: stranger_key().node_id(),
        role: Role::Admin,
        alias: String::new(),
        labels: vec![],
        invite: None,
    });
    let forged = fixture::record(1, RecordId::ZERO, body).sign(&stranger_key());
    let invalid_paths = [
        ("a group of its own", vec![other_genesis]),
        ("another's line", vec![fixture::genesis(), fixture::grant()]),
        ("a grant that no admin signed", vec![fixture::genesis(), forged]),
        ("no beginning", vec![fixture::grant()]),
        ("nothing", vec![]),
    ];
    for (link, (description, records)) in (1..).zip(invalid_paths) {
        host.open_link(link, &stranger_key(), LinkKind::Guest, true);
        let records = records.iter().map(SignedRecord::encode).collect();
        let proof = GuestFrame::ProbeResponse(ProbeResponse { nonce: [1; 16], records, is_last: true });
        let effects = host.handle(Input::FrameReceived { link: LinkId(link), bytes: proof.encode() });
        assert_eq!(effects.iter().filter_map(sent_guest_frame).collect::<Vec<_>>(), [], "{description}");
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Close { .. })), "{description}");
    }
    assert_eq!(host.node.pending_joins().count(), 1, "it goes on asking others");
}

#[test]
fn join_request_is_valid_only_for_its_joiner_and_its_guest_stream() {
    let (group, joiner) = (fixture::group(), stranger_key());
    let mut host = TestNode::member(fixture::founder());
    let (_, effects) = host.request(Request::CreateInvite {
        group: group.into(),
        role: Role::Node,
        max_uses: 9,
        expires_unix_secs: i64::MAX,
    });
    let code = effects.iter().find_map(|effect| match effect {
        Effect::Respond { response: Ok(Response::InviteCreated(code)), .. } => Some(code.clone()),
        _ => None,
    });
    let code = code.unwrap();
    let other_key = SecretKey::from_bytes(&[78; 32]);
    let wrong_code = InviteCode::new(group, &fixture::founder().node_id(), [8; 16]);
    // The terms of a request, the code, the signer, and whether the request is valid.
    type Mutation = fn(&mut JoinTerms);
    let cases: [(Mutation, &InviteCode, &SecretKey, bool); 7] = [
        (|terms| terms.contacted_member = fixture::operator().node_id(), &code, &joiner, false),
        (|terms| terms.nonces.0 = [9; 16], &code, &joiner, false),
        (|terms| terms.nonces.1 = [9; 16], &code, &joiner, false),
        (|terms| terms.group = GroupId([9; 16]), &code, &joiner, false),
        (|terms| terms.joiner = SecretKey::from_bytes(&[78; 32]).node_id(), &code, &other_key, false),
        (|_| {}, &wrong_code, &joiner, false),
        (|_| {}, &code, &joiner, true),
    ];
    for (link, (mutate, signing_code, joiner_key, is_valid)) in (1..).zip(cases) {
        host.open_link(link, &joiner, LinkKind::Guest, false);
        let probe = MembershipProbe::new(group, &joiner.node_id(), &fixture::founder().node_id(), [1; 16]);
        let sent = host.receive_guest_frame(link, &GuestFrame::MembershipProbe(probe));
        let [GuestFrame::ProbeResponse(proof)] = &sent[..] else { panic!("{sent:?}") };
        let mut terms = JoinTerms {
            group,
            invite_id: code.invite_id(),
            issuer_fingerprint: code.issuer_fingerprint,
            joiner: joiner.node_id(),
            contacted_member: fixture::founder().node_id(),
            nonces: ([1; 16], proof.nonce),
            alias: String::new(),
            labels: vec![],
        };
        mutate(&mut terms);
        let sent = host.receive_guest_frame(
            link,
            &GuestFrame::JoinRequest(JoinRequest::sign(terms, &signing_code.invite_key(), joiner_key)),
        );
        let granted = matches!(sent[..], [GuestFrame::JoinResponse(JoinResponse::Granted { .. })]);
        assert_eq!(granted, is_valid, "{link}: {sent:?}");
        let members = host.node.group(&group).unwrap().group.members();
        assert_eq!(members.nodes().count(), if is_valid { 3 } else { 2 }, "{link}");
    }
}

/// A node that accepts no guest streams is tried again after the back-off, not with every tick.
#[test]
fn guest_streams_are_opened_often_at_first_and_rarely_later() {
    let start_pairing = Request::StartPairing { alias: String::new(), labels: vec![] };
    for request in
        [start_pairing, Request::Join { code: example_code(), alias: String::new(), labels: vec![] }]
    {
        let mut host = TestNode::open(SecretKey::from_bytes(&[21; 32]), MemoryStore::default());
        host.handle(Input::NodeDiscovered { peer: stranger_key().node_id(), addresses: vec![] });
        let (start, mut opened_at_ms) = (host.now.mono, Vec::new());
        let (_, mut effects) = host.request(request.clone());
        for ms in (0..30_000).step_by(500) {
            host.now.mono = start.plus_ms(ms);
            effects.extend(host.handle(Input::Tick));
            if effects.iter().any(|effect| matches!(effect, Effect::OpenGuestStream { .. })) {
                host.handle(Input::GuestStreamFailed { peer: stranger_key().node_id() });
                opened_at_ms.push(ms);
            }
            effects.clear();
        }
        assert_eq!(opened_at_ms, [0, 2_000, 6_000, 12_000, 18_000, 24_000]);
        // A new request starts at once.
        let (_, effects) = host.request(request);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::OpenGuestStream { .. })));
    }
}

/// A peer without a common version is not reported as a violation, and frames of unknown kinds are ignored.
#[test]
fn incompatible_version_closes_the_link_and_unknown_frames_are_ignored() {
    let mut host = TestNode::member(fixture::founder());
    for (link, version, min_version, is_compatible) in [(1, 9, 1, true), (2, 9, 9, false), (3, 0, 0, false)] {
        host.open_link(link, &fixture::operator(), LinkKind::Member, true);
        let hello =
            MemberFrame::Hello(Hello { newest_version: version, min_version, software: "later".into() });
        let effects = host.receive_member_frame(link, &hello);
        let is_version_event =
            |effect: &Effect| matches!(effect, Effect::Event(NodeEvent::IncompatibleVersion { .. }));
        let is_close = |effect: &Effect| matches!(effect, Effect::Close { .. });
        assert_eq!(effects.iter().any(is_version_event), !is_compatible, "{effects:?}");
        assert_eq!(effects.iter().any(is_close), !is_compatible, "{effects:?}");
    }
    let effects = host.handle(Input::FrameReceived { link: LinkId(1), bytes: vec![200, 1, 2, 3] });
    assert!(effects.is_empty(), "{effects:?}");
}
