//! Every frame between members, and presence.

use super::golden::Golden;
use super::scene::{self, founder, genesis, grant, group, operator};
use super::visits::{answers, request};
use crate::group::{Position, Tip, Want};
use crate::id::{Actor, ChangeId, Digest, RecordId};
use crate::record::{RecordTip, SignedRecord, Signer};
use crate::wire::link::{
    Bundle, Carried, Carry, Compare, Frame, Have, Hello, Positions, Push, Told, Wanted, Window,
};
use crate::wire::presence::Presence;

fn presence() -> Presence {
    let mut links = vec![founder().node().hint(), operator().node().hint()];
    links.sort_unstable();
    Presence {
        group: group(),
        node: operator().node(),
        boot: u64::MAX,
        count: 300,
        software: "larder 0.1.0".into(),
        host: "till-2".into(),
        addresses: vec!["/ip4/192.0.2.7/tcp/4001".into(), "/ip6/fe80::1/tcp/4001".into()],
        links,
        digest: Digest([7; 16]),
        changes: 100_000,
    }
}

fn records() -> Vec<Vec<u8>> {
    [genesis(), grant()].iter().map(SignedRecord::encode).collect()
}

/// Frames that bring a group into step.
fn compared() -> Vec<(&'static str, Frame)> {
    let (group, epoch) = (group(), scene::desired().epoch());
    let tip = |seq| Tip { seq, id: ChangeId([seq as u8; 32]) };
    let record_tip = RecordTip { grant: genesis().id(), signer: Signer::Holder, seq: 1, id: grant().id() };
    let recovery_tip = RecordTip { signer: Signer::Recovery, seq: 300, id: RecordId([9; 32]), ..record_tip };
    let digest = Digest([1; 16]);
    vec![
        ("hello", Frame::Hello(Hello { version: 1, least: 1, software: "larder 0.1.0".into() })),
        ("digest", Frame::Digest(Compare { group, digest, omitted: vec![] })),
        ("digest.omitted", Frame::Digest(Compare { group, digest, omitted: vec![epoch] })),
        (
            "have",
            Frame::Have(Have {
                group,
                records: Have::tips(&[record_tip, recovery_tip]),
                shards: vec![(epoch, Digest([2; 16]))],
            }),
        ),
        ("records", Frame::Records(Bundle { group, records: records(), last: true })),
        (
            "positions",
            Frame::Positions(Positions {
                group,
                epoch,
                chains: vec![
                    Position { actor: Actor([1; 16]), tips: vec![tip(5)] },
                    Position { actor: Actor([2; 16]), tips: vec![tip(6), tip(200)] },
                ],
            }),
        ),
        (
            "want",
            Frame::Want(Wanted {
                group,
                epoch,
                wants: vec![Want { actor: Actor([1; 16]), after: 3, upto: tip(200) }],
            }),
        ),
        ("window", Frame::Window(Window { group, epoch, more: true, columns: vec![1, 2, 3] })),
        ("window.empty", Frame::Window(Window { group, epoch, more: false, columns: vec![] })),
    ]
}

/// Frames that keep it so, and all others.
fn lively() -> Vec<(&'static str, Frame)> {
    let (group, epoch) = (group(), scene::desired().epoch());
    let story = scene::story();
    let changes = vec![story.change("first").signed.clone(), story.change("concurrent").signed.clone()];
    let (told, signature) = presence().sign(&operator());
    let id = request().id();
    let carried = |answer| Frame::Carried(Carried { group, request: id, answer });
    let mut frames = vec![
        ("push", Frame::Push(Push { group, epoch, changes })),
        ("presence", Frame::Presence(Told { group, presence: told, signature })),
        ("bye", Frame::Bye(group)),
        ("who-are-you", Frame::WhoAreYou(group)),
        ("line", Frame::Line(Bundle { group, records: records(), last: false })),
        ("carry", Frame::Carry(Carry { group, hops: 8, request: request() })),
        ("ping", Frame::Ping(0x0123_4567_89ab_cdef)),
        ("pong", Frame::Pong(0)),
        ("newer", Frame::Unknown(200)),
    ];
    for (name, answer) in answers() {
        frames.push((name, carried(answer)));
    }
    frames
}

#[test]
fn frames_are_written_and_read_as_ever() {
    let mut golden = Golden::open("frames", "Frames on a link between members, of protocol version 1.");
    let mut kinds = Vec::new();
    for (name, frame) in compared().into_iter().chain(lively()) {
        let name = match &frame {
            Frame::Carried(_) => format!("carried.{name}"),
            _ => name.to_owned(),
        };
        let bytes = golden.fact(&name, frame.encode());
        assert_eq!(Frame::decode(&bytes), Ok(frame), "{name}");
        kinds.push(bytes[0]);
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (1..=16).chain([200]).collect::<Vec<u8>>(), "every kind is pinned");
    golden.close();
}

#[test]
fn presence_is_written_and_signed_as_ever() {
    let mut golden = Golden::open("presence", "What a member says of itself, and its signature of that.");
    let (bytes, signature) = presence().sign(&operator());
    let bytes = golden.fact("presence", bytes);
    let signature = golden.fact("signature", signature.0);
    let signature = crate::id::Sig::from_slice(&signature).unwrap();
    assert_eq!(Presence::read(&bytes), Some(presence()));
    assert!(presence().is_signed(&bytes, &signature));
    golden.close();
}
