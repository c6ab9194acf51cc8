//! What the machine promises to whoever drives it.

use super::super::*;
use crate::group::Note;
use crate::resource::edit::{Edit, FieldEdit};
use crate::resource::literal::Literal;
use crate::store::Memory;
use crate::wire::link::{Frame, Hello};

fn now(ms: u64) -> Now {
    Now { mono: Moment(ms * 1000), wall: 1_700_000_000 }
}

fn open(key: u8) -> Machine {
    let secret = Secret::from_bytes(&[key; 32]);
    let config = Config { secret, seed: [key; 32], software: "t".into(), host: "t".into(), reborn: false };
    Machine::open(config, now(0), &Memory::default()).unwrap().0
}

fn write(group: GroupId) -> Request {
    let fields = vec![("keys.x".parse().unwrap(), FieldEdit::Assign(Literal::Scalar("1".into())))];
    let edits = vec![Edit::Set { resource: "config/a".parse().unwrap(), fields, replace: false }];
    Request::Write(WriteRequest { group, edits, base: None, note: Note::default(), lenient: false })
}

/// Hands in a request and confirms every batch at once; answers the effects.
fn ask(machine: &mut Machine, caller: u64, request: Request) -> Vec<Effect> {
    let mut all = Vec::new();
    let mut next = machine.handle(now(1), Input::Request { caller: Caller(caller), request });
    while !next.is_empty() {
        let tokens: Vec<Token> = next
            .iter()
            .filter_map(|effect| match effect {
                Effect::Store { token, .. } => Some(*token),
                _ => None,
            })
            .collect();
        all.append(&mut next);
        for token in tokens {
            next.extend(machine.handle(now(1), Input::Stored { token }));
        }
    }
    all
}

fn found(machine: &mut Machine) -> GroupId {
    let effects = ask(machine, 1, Request::Found { name: "shop".into() });
    let group = effects.iter().find_map(|effect| match effect {
        Effect::Answer { answer: Ok(Answer::Founded { group, .. }), .. } => Some(*group),
        _ => None,
    });
    group.unwrap()
}

/// A write whose batch is refuted is answered as failed, and from then on nothing leaves the node.
#[test]
fn after_a_failed_store_nothing_leaves() {
    let mut machine = open(1);
    let group = found(&mut machine);
    let peer = Secret::from_bytes(&[2; 32]).node();
    let link = LinkId(7);
    machine.handle(now(2), Input::LinkUp { link, peer, kind: LinkKind::Member, opened: true });
    let hello = Hello { version: 1, least: 1, software: String::new() };
    machine.handle(now(2), Input::Frame { link, bytes: Frame::Hello(hello).encode() });
    let effects = machine.handle(now(3), Input::Request { caller: Caller(2), request: write(group) });
    assert!(matches!(effects.as_slice(), [Effect::Store { .. }]), "{effects:?}");
    let effects = machine.handle(now(4), Input::StoreFailed { why: "disk full".into() });
    let failed = |effect: &Effect| matches!(effect, Effect::Answer { answer: Err(Declined::Storage(_)), .. });
    assert!(effects.iter().any(failed), "{effects:?}");
    let quiet = |effect: &Effect| failed(effect) || matches!(effect, Effect::Notice(_));
    assert!(effects.iter().all(quiet), "{effects:?}");
    for ms in [1_000, 10_000, 100_000] {
        assert!(machine.handle(now(ms), Input::Tick).is_empty());
    }
    assert!(machine.handle(now(100_001), Input::Frame { link, bytes: Frame::Ping(1).encode() }).is_empty());
    let effects = machine.handle(now(100_002), Input::Request { caller: Caller(3), request: write(group) });
    assert!(matches!(effects.as_slice(), [effect] if failed(effect)), "{effects:?}");
    assert_eq!(machine.storage_failure(), Some("disk full"));
}

/// Every request is answered once: a second join of one group answers the first.
#[test]
fn a_second_join_answers_the_first() {
    let mut machine = open(1);
    let code = Code::new(GroupId([9; 16]), &Secret::from_bytes(&[3; 32]).node(), [4; 16]);
    let join = || Request::Join { code: code.clone(), alias: String::new(), labels: Vec::new() };
    assert!(!ask(&mut machine, 1, join()).iter().any(|effect| matches!(effect, Effect::Answer { .. })));
    let effects = ask(&mut machine, 2, join());
    let answered = |effect: &Effect| {
        matches!(effect, Effect::Answer { caller: Caller(1), answer: Err(Declined::Replaced) })
    };
    assert_eq!(effects.iter().filter(|effect| answered(effect)).count(), 1, "{effects:?}");
}
