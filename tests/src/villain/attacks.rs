//! What a villain tries. Each attack is a function that says its frames to all neighbours.

use std::collections::BTreeMap;

use larder_core::delta::{Delta, OpRef, Put, SignedDelta};
use larder_core::group::{Group, Note, Position, Tip, Want};
use larder_core::id::{
    Actor, ChangeId, Digest, EpochId, GrantId, GroupId, Incarnation, RecordId, Secret, Sig, hash, hash16,
};
use larder_core::limits;
use larder_core::machine::{LinkKind, Request, WriteRequest};
use larder_core::record::{Body, Frontiers, Grant, Record, Revoke, Revoked, Role, SignedRecord, Signer};
use larder_core::resource::edit::{Edit, FieldEdit};
use larder_core::resource::literal::Literal;
use larder_core::shard::root::{Root, ShardName};
use larder_core::value::Value;
use larder_core::wire::ask::Ask;
use larder_core::wire::code::Code;
use larder_core::wire::link::{Bundle, Carry, Compare, Frame, Positions, Push, Told, Wanted, Window};
use larder_core::wire::presence::Presence;
use larder_core::wire::visit::{JoinRequest, JoinTerms, LineProof, Probe, VisitFrame};

use super::{Villain, sockets};

/// One attack, with its name.
pub type Attack = (&'static str, fn(&mut Villain));

/// What anybody on the network can try.
pub const AS_STRANGER: &[Attack] = &[
    ("random bytes on a visit", visit_garbage),
    ("probes for groups that nobody has", probes),
    ("lines of grants of groups that nobody has", lines),
    ("asking to be let in, over and over", asks),
    ("member links without being a member", Villain::claim_all),
    ("connections without a word, and others with noise", sockets::connections),
    ("beacons of made-up keys, and in the name of others", sockets::beacons),
];

/// What only a member can.
pub const AS_MEMBER: &[Attack] = &[
    ("random bytes on a link", garbage),
    ("changes with false signatures", false_signature),
    ("changes in another's name", foreign_author),
    ("changes in another's shard", foreign_shard),
    ("counters beyond all bounds", counters),
    ("replay into another group", replay),
    ("positions that nobody can have", positions),
    ("digests that never agree", digests),
    ("asking for all of history, over and over", wants),
    ("windows that nobody asked for, and a bomb", windows),
    ("another's presence", presence),
    ("records with false signatures", false_records),
    ("backdated grants", backdated),
    ("ending the founder's grant", against_founder),
    ("frontiers that are lies", lying_frontiers),
    ("requests to join that nobody made", carries),
    ("two changes in one place", fork),
    ("writing as fast as it can", flood),
    ("asking who one is, over and over", who),
    ("records that wait for what nobody has", waiting_records),
    ("changes that wait for what nobody has", waiting_changes),
    ("showing a line of grants, whether it counts or not", comes_back),
];

impl Villain {
    fn frame(&mut self, frame: &Frame) {
        self.say(LinkKind::Member, &frame.encode());
    }

    fn visit(&mut self, frame: &VisitFrame) {
        self.say(LinkKind::Visit, &frame.encode());
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let len = self.roll(most);
        (0..len).map(|_| u8::try_from(self.roll(256)).unwrap_or(0)).collect()
    }

    fn delta(&mut self, grant: GrantId, epoch: EpochId, start_op: u64) -> Option<Delta> {
        let (group, ..) = self.place()?;
        let deps = group.desired()?.graph().heads();
        let value = Value::Int(i64::try_from(self.roll(1 << 40)).ok()?);
        Some(Delta {
            epoch,
            grant,
            incarnation: Incarnation(hash16("villain", &[&self.dice.to_be_bytes()])),
            seq: 1,
            deps,
            start_op,
            time: 1,
            message: String::new(),
            puts: vec![Put { key: "config/x keys.v".to_owned(), value, preds: Vec::new() }],
        })
    }

    fn push(&mut self, group: GroupId, epoch: EpochId, delta: &Delta, signature: Sig) {
        let changes = vec![SignedDelta { delta: delta.encode(), signature }];
        self.frame(&Frame::Push(Push { group, epoch, changes }));
    }
}

fn visit_garbage(villain: &mut Villain) {
    villain.visit_all();
    for _ in 0..20 {
        let bytes = villain.bytes(2000);
        villain.say(LinkKind::Visit, &bytes);
    }
}

fn probes(villain: &mut Villain) {
    villain.visit_all();
    let (me, nonce) = (villain.secret.node(), [7; 16]);
    for n in 0..20u8 {
        villain.visit(&VisitFrame::Probe(Probe::new(GroupId([n; 16]), &me, &me, nonce)));
    }
}

fn lines(villain: &mut Villain) {
    villain.visit_all();
    let records = vec![villain.bytes(30_000), villain.bytes(10)];
    villain.visit(&VisitFrame::Line(LineProof { group: GroupId([9; 16]), records, last: false }));
}

fn asks(villain: &mut Villain) {
    villain.visit_all();
    for _ in 0..10 {
        let commit = Digest(hash16("villain", &[&villain.roll(1 << 40).to_be_bytes()]));
        villain.visit(&VisitFrame::Ask(Ask { commit, alias: "printer".to_owned(), labels: Vec::new() }));
        villain.visit(&VisitFrame::Reveal([1; 16]));
    }
}

fn garbage(villain: &mut Villain) {
    for kind in 1..=32u8 {
        let bytes = [vec![kind], villain.bytes(4000)].concat();
        villain.say(LinkKind::Member, &bytes);
    }
}

fn false_signature(villain: &mut Villain) {
    let Some((group, epoch, grant)) = villain.place() else { return };
    for _ in 0..50 {
        let Some(delta) = villain.delta(grant, epoch, 1_000) else { return };
        villain.push(group.id(), epoch, &delta, Sig([7; 64]));
    }
}

fn foreign_author(villain: &mut Villain) {
    let Some((group, epoch, _)) = villain.place() else { return };
    let founder = group.records().genesis();
    if let Some(delta) = villain.delta(founder, epoch, 1_000) {
        let signature = villain.secret.sign(&delta.encode());
        villain.push(group.id(), epoch, &delta, signature);
    }
}

fn foreign_shard(villain: &mut Villain) {
    let Some((group, _, grant)) = villain.place() else { return };
    let root = Root::derive(group.id(), ShardName::Observed(group.records().genesis()));
    if let Some(delta) = villain.delta(grant, root.epoch(), 1_000) {
        let signature = villain.secret.sign(&delta.encode());
        villain.push(group.id(), root.epoch(), &delta, signature);
    }
}

fn counters(villain: &mut Villain) {
    let Some((group, epoch, grant)) = villain.place() else { return };
    for start_op in [u64::MAX, u64::MAX - 1, 1 << 62, u64::from(u32::MAX)] {
        let Some(mut delta) = villain.delta(grant, epoch, start_op) else { return };
        let actor = Actor([3; 16]);
        delta.puts.iter_mut().for_each(|put| put.preds = vec![OpRef { counter: u64::MAX, actor }]);
        villain.push(group.id(), epoch, &delta, Sig([1; 64]));
    }
}

fn replay(villain: &mut Villain) {
    let Some((_, epoch, grant)) = villain.place() else { return };
    if let Some(delta) = villain.delta(grant, epoch, 1_000) {
        villain.push(GroupId([5; 16]), EpochId::ZERO, &delta, Sig([1; 64]));
    }
}

fn positions(villain: &mut Villain) {
    let Some((group, epoch, _)) = villain.place() else { return };
    for round in 0..5u64 {
        let chain = |n: u64| {
            let actor = Actor(hash16("villain", &[&round.to_be_bytes(), &n.to_be_bytes()]));
            let tips = vec![Tip { seq: u64::MAX, id: ChangeId(hash("villain", &[&n.to_be_bytes()])) }];
            Position { actor, tips }
        };
        let chains = (0..5_000).map(chain).collect();
        villain.frame(&Frame::Positions(Positions { group: group.id(), epoch, chains }));
    }
}

fn digests(villain: &mut Villain) {
    let Some((group, ..)) = villain.place() else { return };
    for _ in 0..100 {
        let digest = Digest(hash16("villain", &[&villain.roll(1 << 40).to_be_bytes()]));
        villain.frame(&Frame::Digest(Compare { group: group.id(), digest, omitted: Vec::new() }));
    }
}

fn wants(villain: &mut Villain) {
    let Some((group, epoch, _)) = villain.place() else { return };
    let Some(desired) = group.desired() else { return };
    let chains = desired.graph().chains();
    let want = |chain: &larder_core::shard::chain::Chain| {
        let tip = desired.graph().at(chain, chain.len())?;
        Some(Want { actor: chain.actor, after: 0, upto: Tip { seq: tip.seq, id: tip.id } })
    };
    let wants: Vec<Want> = chains.filter_map(want).take(limits::WANT_CHAINS).collect();
    for _ in 0..200 {
        villain.frame(&Frame::Want(Wanted { group: group.id(), epoch, wants: wants.clone() }));
    }
}

fn windows(villain: &mut Villain) {
    let Some((group, epoch, _)) = villain.place() else { return };
    // Four bytes a mebibyte: zstd's own frame of one repeated byte, as a window.
    let bomb: Vec<u8> = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0x7f]
        .into_iter()
        .chain(std::iter::repeat_n([0x02, 0x00, 0x10, 0x41], 1000).flatten())
        .collect();
    for columns in [bomb, villain.bytes(50_000)] {
        villain.frame(&Frame::Window(Window { group: group.id(), epoch, more: true, columns }));
    }
}

fn presence(villain: &mut Villain) {
    let Some((group, ..)) = villain.place() else { return };
    let others: Vec<_> = group.members().keys().filter(|key| *key != villain.secret.node()).collect();
    for node in others {
        let presence = Presence {
            group: group.id(),
            node,
            boot: u64::MAX,
            count: u64::MAX,
            software: "villain".to_owned(),
            host: "\u{1b}[31mvillain\u{7}".to_owned(),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned(); 4],
            links: Vec::new(),
            digest: Digest::ZERO,
            changes: u64::MAX,
        };
        let (presence, signature) = presence.sign(&villain.secret);
        villain.frame(&Frame::Presence(Told { group: group.id(), presence, signature }));
    }
}

fn issue(
    villain: &Villain,
    group: &Group,
    grant: GrantId,
    place: (u64, RecordId),
    body: Body,
) -> SignedRecord {
    let (seq, prev) = place;
    Record { group: group.id(), grant, signer: Signer::Holder, seq, prev, body, remark: None }
        .sign(&villain.secret)
}

fn tell(villain: &mut Villain, group: &Group, records: &[SignedRecord]) {
    let records = records.iter().map(SignedRecord::encode).collect();
    villain.frame(&Frame::Records(Bundle { group: group.id(), records, last: true }));
}

fn accomplice() -> Body {
    let key = Secret::from_bytes(&[201; 32]).node();
    Body::Grant(Grant {
        key,
        role: Role::Admin,
        alias: "accomplice".to_owned(),
        labels: vec![],
        invite: None,
    })
}

fn false_records(villain: &mut Villain) {
    let Some((group, ..)) = villain.place() else { return };
    // Under the founder's grant, signed by somebody else.
    let record = issue(villain, &group, group.records().genesis(), (1, RecordId::ZERO), accomplice());
    tell(villain, &group, &[record]);
}

fn backdated(villain: &mut Villain) {
    let Some((group, _, grant)) = villain.place() else { return };
    let record = issue(villain, &group, grant, (1, RecordId::ZERO), accomplice());
    tell(villain, &group, &[record]);
}

fn against_founder(villain: &mut Villain) {
    let Some((group, _, grant)) = villain.place() else { return };
    let what = Revoked::Grant(group.records().genesis());
    let body = Body::Revoke(Revoke { what, frontiers: Frontiers::default() });
    let record = issue(villain, &group, grant, (1, RecordId::ZERO), body);
    tell(villain, &group, &[record]);
}

fn lying_frontiers(villain: &mut Villain) {
    let Some((group, _, grant)) = villain.place() else { return };
    let mut frontiers = group.frontiers(&grant);
    for change in &mut frontiers.changes {
        *change = (change.0, change.1 + 1000, ChangeId([0xee; 32]));
    }
    frontiers.record = Some((1000, RecordId([0xee; 32])));
    let body = Body::Revoke(Revoke { what: Revoked::Grant(group.records().genesis()), frontiers });
    let record = issue(villain, &group, grant, (1, RecordId::ZERO), body);
    tell(villain, &group, &[record]);
}

fn carries(villain: &mut Villain) {
    let Some((group, ..)) = villain.place() else { return };
    let Some(founder) = group.records().holder(&group.records().genesis()).map(|(key, _)| key) else {
        return;
    };
    for n in 0..300u64 {
        let code = Code::new(group.id(), &founder, hash16("villain", &[&n.to_be_bytes()]));
        let joiner = Secret::from_bytes(&hash("villain", &[&n.to_be_bytes()]));
        let terms = JoinTerms {
            group: group.id(),
            invite: code.invite(),
            issuer: code.issuer,
            joiner: joiner.node(),
            carrier: villain.secret.node(),
            nonces: ([1; 16], [2; 16]),
            alias: "nobody".to_owned(),
            labels: Vec::new(),
        };
        let request = JoinRequest::sign(terms, &code.key(), &joiner);
        villain.frame(&Frame::Carry(Carry { group: group.id(), hops: u8::MAX, request }));
    }
}

fn fork(villain: &mut Villain) {
    let Some((group, ..)) = villain.place() else { return };
    let life = villain.roll(1 << 40);
    for n in 0..2i64 {
        let mut copy = group.clone();
        let puts = BTreeMap::from([("config/fork keys.v".to_owned(), Value::Int(n))]);
        let fresh = Incarnation(hash16("villain life", &[&life.to_be_bytes()]));
        let Ok(written) = copy.write(&villain.secret, ShardName::Desired, puts, &Note::default(), fresh)
        else {
            return;
        };
        for new in written.taken.new {
            let Some(signature) = new.signature else { continue };
            let changes = vec![SignedDelta { delta: new.delta, signature }];
            villain.frame(&Frame::Push(Push { group: group.id(), epoch: new.epoch, changes }));
        }
    }
}

fn flood(villain: &mut Villain) {
    let Some((group, ..)) = villain.place() else { return };
    for n in 0..400 {
        let value = Value::from("x".repeat(1000).as_str());
        let field = FieldEdit::Assign(Literal::Scalar(value));
        let (Ok(resource), Ok(path)) = ("config/flood".parse(), format!("keys.k{}", n % 50).parse()) else {
            return;
        };
        let edits = vec![Edit::Set { resource, fields: vec![(path, field)], replace: false }];
        let note = Note { words: n.to_string(), ..Note::default() };
        let write = WriteRequest { group: group.id(), edits, base: None, note, lenient: false };
        villain.ask(Request::Write(write));
        villain.ask(Request::Write(WriteRequest {
            group: group.id(),
            edits: Vec::new(),
            base: None,
            note: Note::default(),
            lenient: false,
        }));
    }
}

fn who(villain: &mut Villain) {
    let Some((group, ..)) = villain.place() else { return };
    for _ in 0..500 {
        villain.frame(&Frame::WhoAreYou(group.id()));
    }
}

fn waiting_records(villain: &mut Villain) {
    let Some((group, ..)) = villain.place() else { return };
    for _ in 0..20 {
        let mut records = Vec::new();
        for _ in 0..200 {
            let nobodys = RecordId(hash("villain", &[&villain.roll(1 << 40).to_be_bytes()]));
            records.push(issue(villain, &group, nobodys, (1, RecordId::ZERO), accomplice()));
        }
        tell(villain, &group, &records);
    }
}

fn waiting_changes(villain: &mut Villain) {
    let Some((group, epoch, grant)) = villain.place() else { return };
    for _ in 0..200 {
        let Some(mut delta) = villain.delta(grant, epoch, 1_000) else { return };
        delta.deps = vec![ChangeId(hash("villain", &[&villain.roll(1 << 40).to_be_bytes()]))];
        delta.puts.iter_mut().for_each(|put| put.value = Value::from("x".repeat(10_000).as_str()));
        villain.push(group.id(), epoch, &delta, Sig([1; 64]));
    }
}

fn comes_back(villain: &mut Villain) {
    let Some((group, _, grant)) = villain.place() else { return };
    villain.claim_all();
    villain.visit_all();
    let records = group.records().proof(&grant).unwrap_or_default();
    let records = records.iter().map(SignedRecord::encode).collect();
    villain.visit(&VisitFrame::Line(LineProof { group: group.id(), records, last: true }));
}
