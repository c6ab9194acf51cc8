//! What a peer may say to a machine that no honest one would.

mod bounds;
mod governing;
mod joins;
mod latch;
mod promises;

use super::*;
use crate::group::{Note, Position, Tip};
use crate::id::{Actor, ChangeId, InviteId};
use crate::record::{SignedRecord, Signer};
use crate::resource::edit::{Edit, FieldEdit};
use crate::resource::literal::Literal;
use crate::store::{Memory, Row, key};
use crate::value::Value;
use crate::vectors::scene;
use crate::wire::link::{Frame, Have, Hello, Positions};
use crate::wire::visit::{Denial, JoinAnswer, JoinRequest, JoinTerms, LineProof, Probe, Proof, VisitFrame};

/// A machine whose disk is quick.
struct Host {
    machine: Machine,
    store: Memory,
    now: Now,
    callers: u64,
}

impl Host {
    fn open(secret: Secret, store: Memory) -> Self {
        let config =
            Config { secret, seed: [8; 32], software: "test".into(), host: "here".into(), reborn: false };
        let now = Now { mono: Moment(1_000_000), wall: 1_700_000_000 };
        let (machine, _) = Machine::open(config, now, &store).unwrap();
        Self { machine, store, now, callers: 0 }
    }

    /// A member of the group of the vectors.
    fn member(secret: Secret) -> Self {
        let mut store = Memory::default();
        let mut group = Group::new(scene::records());
        store.write(&group.rows());
        let row = GroupRow { version: 1, genesis: scene::genesis().id(), paused: false, refetching: false };
        store.write(&[Row::put_layout(Table::Groups, key::group(group.id()), &row)]);
        Self::open(secret, store)
    }

    /// Hands an input in; answers all that comes of it once it is durable.
    fn input(&mut self, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        let mut todo = self.machine.handle(self.now, input);
        while !todo.is_empty() {
            let mut next = Vec::new();
            for effect in todo {
                if let Effect::Store { token, rows } = effect {
                    self.store.write(&rows);
                    next.extend(self.machine.handle(self.now, Input::Stored { token }));
                } else {
                    out.push(effect);
                }
            }
            todo = next;
        }
        out
    }

    fn link(&mut self, link: u64, peer: &Secret, kind: LinkKind, opened: bool) -> Vec<Effect> {
        self.input(Input::LinkUp { link: LinkId(link), peer: peer.node(), kind, opened })
    }

    fn hear(&mut self, link: u64, frame: &Frame) -> Vec<Effect> {
        self.input(Input::Frame { link: LinkId(link), bytes: frame.encode() })
    }

    fn visited(&mut self, link: u64, frame: &VisitFrame) -> Vec<VisitFrame> {
        let effects = self.input(Input::Frame { link: LinkId(link), bytes: frame.encode() });
        effects.iter().filter_map(said).collect()
    }

    /// True if a frame on a visit makes this node end it.
    fn closes(&mut self, link: u64, frame: &VisitFrame) -> bool {
        let effects = self.input(Input::Frame { link: LinkId(link), bytes: frame.encode() });
        effects.iter().any(|effect| matches!(effect, Effect::Close { .. }))
    }

    fn ask(&mut self, request: Request) -> Vec<Effect> {
        self.callers += 1;
        self.input(Input::Request { caller: Caller(self.callers), request })
    }

    fn writes(&mut self, value: &str) -> bool {
        let field = FieldEdit::Assign(Literal::Scalar(Value::from(value)));
        let edit = Edit::Set {
            resource: "config/db".parse().unwrap(),
            fields: vec![("keys.url".parse().unwrap(), field)],
            replace: false,
        };
        let write = WriteRequest {
            group: scene::group(),
            edits: vec![edit],
            base: None,
            note: Note::default(),
            lenient: false,
        };
        let effects = self.ask(Request::Write(write));
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Answer { answer: Ok(Answer::Written(Some(_))), .. }))
    }
}

fn said(effect: &Effect) -> Option<VisitFrame> {
    match effect {
        Effect::Send { bytes, .. } => VisitFrame::decode(bytes).ok(),
        _ => None,
    }
}

fn hello() -> Frame {
    Frame::Hello(Hello { version: 1, least: 1, software: "x".into() })
}

fn stranger() -> Secret {
    Secret::from_bytes(&[77; 32])
}

fn code() -> Code {
    Code::new(scene::group(), &scene::founder().node(), [7; 16])
}

#[test]
fn a_position_may_be_nonsense() {
    let mut host = Host::member(scene::founder());
    host.writes("one");
    host.link(1, &scene::operator(), LinkKind::Member, true);
    host.hear(1, &hello());
    let desired = host.machine.group(&scene::group()).unwrap().group.desired().unwrap();
    let (epoch, own) = (desired.root().epoch(), desired.graph().chains().next().unwrap().actor);
    let tip = Tip { seq: u64::MAX, id: ChangeId([1; 32]) };
    let chains =
        [own, Actor([1; 16]), Actor([2; 16])].map(|actor| Position { actor, tips: vec![tip] }).to_vec();
    host.hear(1, &Frame::Positions(Positions { group: scene::group(), epoch, chains }));
    let of = host.machine.group(&scene::group()).unwrap();
    let (_, session) = of.neighbours().next().unwrap();
    assert_eq!(session.missing_here(&of.group), 0, "nobody has so much");
    assert!(host.writes("two"));
}

#[test]
fn only_a_member_that_proved_itself_may_refuse_a_join() {
    let mut host = Host::open(Secret::from_bytes(&[21; 32]), Memory::default());
    host.ask(Request::Join { code: code(), alias: String::new(), labels: vec![] });
    host.input(Input::Seen { peer: stranger().node(), addresses: vec![] });
    host.link(1, &stranger(), LinkKind::Visit, true);
    let refused = VisitFrame::Answer(JoinAnswer::Refused(Denial::Used));
    let effects = host.input(Input::Frame { link: LinkId(1), bytes: refused.encode() });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Answer { .. })));
    assert_eq!(host.machine.joins().count(), 1);

    // One that is a member may.
    host.link(2, &scene::operator(), LinkKind::Visit, true);
    let records = vec![scene::genesis().encode(), scene::grant().encode()];
    let proof = VisitFrame::Proof(Proof { nonce: [1; 16], records, last: true });
    let said = host.visited(2, &proof);
    assert!(matches!(said[..], [VisitFrame::Join(_)]), "{said:?}");
    assert!(host.visited(2, &proof).is_empty(), "one request a visit");
    host.link(3, &scene::operator(), LinkKind::Visit, true);
    host.visited(3, &proof);
    let effects = host.input(Input::Frame { link: LinkId(3), bytes: refused.encode() });
    let declined = |effect: &Effect| {
        matches!(effect, Effect::Answer { answer: Err(Declined::Denied(Denial::Used)), .. })
    };
    assert!(effects.iter().any(declined));
    assert_eq!(host.machine.joins().count(), 0);
}

/// A visit to a member of one's own group shows it the line of grants, and asks for another group: the answer to the
/// one is not the answer to the other.
#[test]
fn a_node_joins_a_second_group_by_a_member_of_its_first() {
    for answer in [VisitFrame::Welcome(scene::group()), VisitFrame::NotHere] {
        let mut host = Host::member(scene::operator());
        let other = Code::new(GroupId([9; 16]), &scene::founder().node(), [7; 16]);
        host.ask(Request::Join { code: other, alias: String::new(), labels: vec![] });
        let effects = host.link(1, &scene::founder(), LinkKind::Visit, true);
        let first: Vec<_> = effects.iter().filter_map(said).collect();
        assert!(matches!(first[..], [VisitFrame::Line(_), VisitFrame::Probe(_)]), "{first:?}");
        assert!(!host.closes(1, &answer), "the probe was not answered yet");
        assert!(host.closes(1, &VisitFrame::NotHere), "now it was");
    }
    let mut host = Host::member(scene::operator());
    host.link(1, &scene::founder(), LinkKind::Visit, true);
    assert!(host.closes(1, &VisitFrame::Welcome(scene::group())), "nothing else was asked");
}

#[test]
fn requests_of_one_stranger_do_not_pile_up() {
    let mut host = Host::member(scene::operator());
    let (group, joiner, carrier) = (scene::group(), stranger(), scene::operator().node());
    host.link(1, &joiner, LinkKind::Visit, false);
    let said = host.visited(1, &VisitFrame::Probe(Probe::new(group, &joiner.node(), &carrier, [1; 16])));
    let [VisitFrame::Proof(proof)] = &said[..] else { panic!("{said:?}") };
    for n in 0..=limits::WAITING_JOINS {
        let terms = JoinTerms {
            group,
            invite: code().invite(),
            issuer: scene::founder().node().hint(),
            joiner: joiner.node(),
            carrier,
            nonces: ([1; 16], proof.nonce),
            alias: n.to_string(),
            labels: vec![],
        };
        let said = host.visited(1, &VisitFrame::Join(JoinRequest::sign(terms, &code().key(), &joiner)));
        assert!(matches!(said[..], [VisitFrame::Answer(JoinAnswer::Waiting { .. })]), "{said:?}");
    }
    let of = host.machine.group(&group).unwrap();
    assert_eq!((of.carries.len(), of.asking.len()), (limits::WAITING_JOINS, 1));
}

#[test]
fn a_line_is_not_collected_for_a_group_that_is_not_here() {
    let mut host = Host::member(scene::founder());
    host.link(1, &stranger(), LinkKind::Visit, false);
    let line = |group, records: Vec<Vec<u8>>| VisitFrame::Line(LineProof { group, records, last: false });
    let other = line(GroupId([1; 16]), vec![scene::grant().encode()]);
    assert_eq!(host.visited(1, &other), [], "one answer a line, at its end");
    let VisitFrame::Line(LineProof { group, records, .. }) = other else { unreachable!() };
    let other = VisitFrame::Line(LineProof { group, records, last: true });
    assert_eq!(host.visited(1, &other), [VisitFrame::NotHere]);
    assert_eq!(host.machine.visits[&LinkId(1)].line.len(), 0);
    assert_eq!(host.visited(1, &line(scene::group(), vec![scene::grant().encode()])), []);
    assert_eq!(host.machine.visits[&LinkId(1)].line.len(), 1);
}

#[test]
fn a_line_has_an_end() {
    let forget = crate::record::Forget { shard: "x".repeat(limits::KEY_BYTES) };
    let record = scene::record(1, crate::id::RecordId::ZERO, crate::record::Body::Forget(forget));
    assert_eq!(record.signer, Signer::Holder);
    let record: SignedRecord = record.sign(&scene::founder());
    let (blobs, mut line) = (vec![record.encode(); 200], Vec::new());
    let fits = std::iter::from_fn(|| joining::collect(&mut line, &blobs).ok()).take(1000).count();
    assert!((20..50).contains(&fits), "{fits} portions");
    assert!(
        line.iter().map(SignedRecord::weight).sum::<usize>() <= limits::LINE_BYTES + 2 * limits::RECORD_BYTES
    );
}

#[test]
fn links_that_are_gone_leave_nothing_behind() {
    let mut host = Host::member(scene::founder());
    for n in 1..20 {
        host.link(n, &stranger(), LinkKind::Member, true);
        host.hear(n, &hello());
        let have = Have { group: scene::group(), records: vec![], shards: vec![] };
        let asks = host.hear(n, &Frame::Have(have));
        assert!(asks.iter().any(|effect| matches!(effect, Effect::Send { .. })), "who are you?");
        host.input(Input::LinkDown { link: LinkId(n) });
    }
    let of = host.machine.group(&scene::group()).unwrap();
    assert!(of.asked.is_empty() && of.sessions.is_empty());
    assert!(!of.invites.contains_key(&InviteId([0; 32])));
}
