//! Who stands between a machine that joins and the group that it joins, and who is none of it at all.

use super::*;
use crate::id::RecordId;
use crate::record::{Body, Grant, Role, found};

/// A machine on its way into the group of the vectors.
fn joiner() -> Host {
    let mut host = Host::open(Secret::from_bytes(&[21; 32]), Memory::default());
    host.ask(Request::Join { code: code(), alias: "till-7".into(), labels: vec![] });
    host
}

#[test]
fn a_joiner_says_nothing_to_one_that_does_not_prove_to_be_a_member() {
    let mut host = joiner();
    let own = found(&stranger(), "shop", [9; 16], stranger().node());
    let body = Body::Grant(Grant {
        key: stranger().node(),
        role: Role::Admin,
        alias: String::new(),
        labels: vec![],
        invite: None,
    });
    let forged = scene::record(1, RecordId::ZERO, body).sign(&stranger());
    let lines = [
        ("a group of its own", vec![own]),
        ("another's line", vec![scene::genesis(), scene::grant()]),
        ("a grant that no admin signed", vec![scene::genesis(), forged]),
        ("no beginning", vec![scene::grant()]),
        ("nothing", vec![]),
    ];
    for (nth, (what, records)) in (1..).zip(lines) {
        host.link(nth, &stranger(), LinkKind::Visit, true);
        let records = records.iter().map(SignedRecord::encode).collect();
        let proof = VisitFrame::Proof(Proof { nonce: [1; 16], records, last: true });
        let effects = host.input(Input::Frame { link: LinkId(nth), bytes: proof.encode() });
        assert_eq!(effects.iter().filter_map(said).collect::<Vec<_>>(), [], "{what}");
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Close { .. })), "{what}");
    }
    assert_eq!(host.machine.joins().count(), 1, "it goes on asking others");
}

#[test]
fn a_request_to_join_serves_nobody_but_who_made_it_on_the_visit_that_it_was_made_for() {
    let (group, joiner) = (scene::group(), stranger());
    let mut host = Host::member(scene::founder());
    let effects = host.ask(Request::Invite { group, role: Role::Node, uses: 9, expires: i64::MAX });
    let code = effects.iter().find_map(|effect| match effect {
        Effect::Answer { answer: Ok(Answer::Invited(code)), .. } => Some(code.clone()),
        _ => None,
    });
    let code = code.unwrap();
    let other = Secret::from_bytes(&[78; 32]);
    let wrong = Code::new(group, &scene::founder().node(), [8; 16]);
    // What a request says; by whose code; signed by whom; and whether it is right.
    type Twist = fn(&mut JoinTerms);
    let tries: [(Twist, &Code, &Secret, bool); 7] = [
        (|terms| terms.carrier = scene::operator().node(), &code, &joiner, false),
        (|terms| terms.nonces.0 = [9; 16], &code, &joiner, false),
        (|terms| terms.nonces.1 = [9; 16], &code, &joiner, false),
        (|terms| terms.group = GroupId([9; 16]), &code, &joiner, false),
        (|terms| terms.joiner = Secret::from_bytes(&[78; 32]).node(), &code, &other, false),
        (|_| {}, &wrong, &joiner, false),
        (|_| {}, &code, &joiner, true),
    ];
    for (nth, (twist, by, secret, right)) in (1..).zip(tries) {
        host.link(nth, &joiner, LinkKind::Visit, false);
        let probe = Probe::new(group, &joiner.node(), &scene::founder().node(), [1; 16]);
        let said = host.visited(nth, &VisitFrame::Probe(probe));
        let [VisitFrame::Proof(proof)] = &said[..] else { panic!("{said:?}") };
        let mut terms = JoinTerms {
            group,
            invite: code.invite(),
            issuer: code.issuer,
            joiner: joiner.node(),
            carrier: scene::founder().node(),
            nonces: ([1; 16], proof.nonce),
            alias: String::new(),
            labels: vec![],
        };
        twist(&mut terms);
        let said = host.visited(nth, &VisitFrame::Join(JoinRequest::sign(terms, &by.key(), secret)));
        let granted = matches!(said[..], [VisitFrame::Answer(JoinAnswer::Granted { .. })]);
        assert_eq!(granted, right, "{nth}: {said:?}");
        let members = host.machine.group(&group).unwrap().group.members();
        assert_eq!(members.keys().count(), if right { 3 } else { 2 }, "{nth}");
    }
}

/// A node that takes no visits is asked ever so often, and not with every tick.
#[test]
fn a_node_is_visited_soon_at_first_and_then_as_often_as_it_takes_visits() {
    let ask = Request::Ask { alias: String::new(), labels: vec![] };
    for request in [ask, Request::Join { code: code(), alias: String::new(), labels: vec![] }] {
        let mut host = Host::open(Secret::from_bytes(&[21; 32]), Memory::default());
        host.input(Input::Seen { peer: stranger().node(), addresses: vec![] });
        let (begun, mut visits) = (host.now.mono, Vec::new());
        let mut effects = host.ask(request.clone());
        for ms in (0..30_000).step_by(limits::TICK_MS as usize) {
            host.now.mono = begun.plus_ms(ms);
            effects.extend(host.input(Input::Tick));
            if effects.iter().any(|effect| matches!(effect, Effect::Visit { .. })) {
                host.input(Input::VisitFailed { peer: stranger().node() });
                visits.push(ms);
            }
            effects.clear();
        }
        assert_eq!(visits, [0, 2_000, 4_000, 10_000, 16_000, 22_000, 28_000]);
        // Whoever asks anew is served at once.
        let effects = host.ask(request);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Visit { .. })));
    }
}

/// A machine that speaks no version that this one speaks is told from one that breaks the rules; and what a later version
/// says besides is passed over.
#[test]
fn a_later_version_is_named_and_what_it_says_besides_is_passed_over() {
    let mut host = Host::member(scene::founder());
    for (link, version, least, meets) in [(1, 9, 1, true), (2, 9, 9, false), (3, 0, 0, false)] {
        host.link(link, &scene::operator(), LinkKind::Member, true);
        let hello = Frame::Hello(Hello { version, least, software: "later".into() });
        let effects = host.hear(link, &hello);
        let named = |effect: &Effect| matches!(effect, Effect::Notice(Notice::Version { .. }));
        let closed = |effect: &Effect| matches!(effect, Effect::Close { .. });
        assert_eq!(effects.iter().any(named), !meets, "{effects:?}");
        assert_eq!(effects.iter().any(closed), !meets, "{effects:?}");
    }
    let effects = host.input(Input::Frame { link: LinkId(1), bytes: vec![200, 1, 2, 3] });
    assert!(effects.is_empty(), "{effects:?}");
}
