//! Small worlds of machines, wired by hand.

use super::super::*;
use crate::id::ChangeId;
use crate::record::{Body, Grant, Record, Role, Signer, found};
use crate::resource::edit::{Edit, FieldEdit};
use crate::resource::literal::Literal;
use crate::store::{Memory, Row, key};
use crate::value::Value;
use crate::wire::link::{Frame, Window};

/// A machine with its store.
struct Peer {
    machine: Machine,
    rows: Memory,
    /// False while what is stored is not confirmed.
    syncs: bool,
    stored: Vec<Token>,
    callers: u64,
    answers: BTreeMap<Caller, Result<Answer, Declined>>,
    others: Vec<Effect>,
}

const LINK: LinkId = LinkId(1);

fn secret(n: u8) -> Secret {
    Secret::from_bytes(&[n; 32])
}

fn at(ms: u64) -> Now {
    Now { mono: Moment(ms * 1000), wall: 1_700_000_000 }
}

impl Peer {
    fn new(n: u8, rows: &Memory) -> Self {
        let config = Config {
            secret: secret(n),
            seed: [n; 32],
            software: "test".to_owned(),
            host: format!("host-{n}"),
            reborn: false,
        };
        let (machine, effects) = Machine::open(config, at(0), rows).unwrap();
        let (stored, answers, others) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut peer = Self { machine, rows: rows.clone(), syncs: true, stored, callers: 0, answers, others };
        assert!(peer.carry_out(at(0), effects).is_empty());
        peer
    }

    /// Hands over an input; answers the frames to be sent.
    fn input(&mut self, now: Now, input: Input) -> Vec<(LinkId, Vec<u8>)> {
        let effects = self.machine.handle(now, input);
        self.carry_out(now, effects)
    }

    fn carry_out(&mut self, now: Now, effects: Vec<Effect>) -> Vec<(LinkId, Vec<u8>)> {
        let (mut sent, mut newest) = (Vec::new(), None);
        for effect in effects {
            match effect {
                Effect::Store { token, rows } => {
                    self.rows.write(&rows);
                    self.stored.push(token);
                    newest = Some(token);
                }
                Effect::Send { link, bytes } => sent.push((link, bytes)),
                Effect::Answer { caller, answer } => drop(self.answers.insert(caller, answer)),
                effect => self.others.push(effect),
            }
        }
        if let Some(token) = newest.filter(|_| self.syncs) {
            sent.extend(self.input(now, Input::Stored { token }));
        }
        sent
    }

    fn ask(&mut self, now: Now, request: Request) -> (Caller, Vec<(LinkId, Vec<u8>)>) {
        self.callers += 1;
        let caller = Caller(self.callers);
        let sent = self.input(now, Input::Request { caller, request });
        (caller, sent)
    }

    fn write(&mut self, now: Now, group: GroupId, value: i64) -> (Caller, Vec<(LinkId, Vec<u8>)>) {
        let value = FieldEdit::Assign(Literal::Scalar(Value::Int(value)));
        let fields = vec![("keys.k".parse().unwrap(), value)];
        let edits = vec![Edit::Set { resource: "config/x".parse().unwrap(), fields, replace: false }];
        let note = crate::group::Note::default();
        let write = WriteRequest { group, edits, base: None, note, lenient: false };
        self.ask(now, Request::Write(write))
    }

    fn heads(&self, group: GroupId) -> Vec<ChangeId> {
        self.machine.group(&group).unwrap().group.desired().unwrap().graph().heads()
    }
}

/// A group of `n` operators, the first its founder and admin, each with a store of its own.
fn members(n: u8) -> (GroupId, Vec<Peer>) {
    let (group, rows) = records(u16::from(n), &[]);
    (group, (1..=n).map(|i| Peer::new(i, &memory(&rows))).collect())
}

fn memory(rows: &[Row]) -> Memory {
    let mut memory = Memory::default();
    memory.write(rows);
    memory
}

/// What is stored of a group of `n` operators with these labels: the row that says it exists, Genesis, and the grants
/// in order.
fn records(n: u16, labels: &[(String, String)]) -> (GroupId, Vec<Row>) {
    let genesis = found(&secret(1), "shop", [0; 16], secret(200).node());
    let group = genesis.founds().unwrap();
    let row = GroupRow { version: 1, genesis: genesis.id(), paused: false, refetching: false };
    let mut rows = vec![Row::put_layout(Table::Groups, key::group(group), &row)];
    rows.push(Row::put(Table::Records, key::record(group, genesis.id()), genesis.encode()));
    let mut prev = crate::id::RecordId::ZERO;
    for i in 2..=n {
        let (low, high) = (i as u8, (i >> 8) as u8);
        let bytes: Vec<u8> = (0..32).map(|at| if at == 31 && high > 0 { high + 100 } else { low }).collect();
        let key = Secret::from_bytes(bytes.as_slice().try_into().unwrap()).node();
        let (role, alias, labels) = (Role::Operator, String::new(), labels.to_vec());
        let body = Body::Grant(Grant { key, role, alias, labels, invite: None });
        let (grant, signer, seq) = (genesis.id(), Signer::Holder, u64::from(i) - 1);
        let record = Record { group, grant, signer, seq, prev, body, remark: None }.sign(&secret(1));
        prev = record.id();
        rows.push(Row::put(Table::Records, crate::store::key::record(group, record.id()), record.encode()));
    }
    (group, rows)
}

/// Brings up a link between two, and everything that follows.
fn link(now: Now, a: &mut Peer, b: &mut Peer) {
    let (ka, kb) = (a.machine.me(), b.machine.me());
    let kind = LinkKind::Member;
    let to_b = a.input(now, Input::LinkUp { link: LINK, peer: kb, kind, opened: true });
    let to_a = b.input(now, Input::LinkUp { link: LINK, peer: ka, kind, opened: false });
    talk(now, a, b, to_a, to_b);
}

/// Delivers frames, and those that answer them.
fn talk(
    now: Now,
    a: &mut Peer,
    b: &mut Peer,
    mut to_a: Vec<(LinkId, Vec<u8>)>,
    mut to_b: Vec<(LinkId, Vec<u8>)>,
) {
    while !to_a.is_empty() || !to_b.is_empty() {
        for (link, bytes) in std::mem::take(&mut to_b) {
            to_a.extend(b.input(now, Input::Frame { link, bytes }));
        }
        for (link, bytes) in std::mem::take(&mut to_a) {
            to_b.extend(a.input(now, Input::Frame { link, bytes }));
        }
    }
}

#[test]
fn a_window_that_nobody_asked_for_is_not_read() {
    let (group, mut all) = members(2);
    let [a, b] = &mut all[..] else { panic!() };
    link(at(1), a, b);
    // A push is held back, and the window that would make up for it comes by itself.
    a.write(at(2), group, 1);
    let of = &mut a.machine.groups.get_mut(&group).unwrap().group;
    let epoch = of.desired().unwrap().root().epoch();
    let position = of.positions(&epoch)[0].clone();
    let want = crate::group::Want { actor: position.actor, after: 0, upto: position.tips[0] };
    let (columns, more) = of.window(&epoch, &[want]).unwrap();
    let window = Frame::Window(Window { group, epoch, more, columns }).encode();
    b.input(at(3), Input::Frame { link: LINK, bytes: window });
    assert_ne!(a.heads(group), b.heads(group), "nobody asked for it");
    let (_, to_b) = a.ask(at(4), Request::Sync { group });
    talk(at(4), a, b, vec![], to_b);
    assert_eq!(a.heads(group), b.heads(group), "asked for, it is taken");
}

fn code(group: GroupId, n: u8) -> Code {
    Code::new(group, &secret(1).node(), [n; 16])
}

#[test]
fn a_join_that_another_replaces_is_answered() {
    let mut a = Peer::new(3, &Memory::default());
    let group = GroupId([5; 16]);
    let join = |n| Request::Join { code: code(group, n), alias: String::new(), labels: vec![] };
    let (first, _) = a.ask(at(1), join(1));
    let (second, _) = a.ask(at(2), join(2));
    assert!(matches!(a.answers[&first], Err(Declined::Replaced)));
    assert!(!a.answers.contains_key(&second), "it goes on");
}

#[test]
fn a_refusal_ends_only_the_join_that_it_answers() {
    use crate::wire::visit::{Denial, JoinAnswer, VisitFrame};
    let (group, mut all) = members(1);
    let mut a = all.remove(0);
    let (caller, _) = a.ask(at(1), Request::Invite { group, role: Role::Node, uses: 1, expires: i64::MAX });
    let Some(Ok(Answer::Invited(good))) = a.answers.remove(&caller) else { panic!() };
    let mut c = Peer::new(3, &Memory::default());
    let join = |code: Code| Request::Join { code, alias: String::new(), labels: vec![] };
    let up = |link, peer, opened| Input::LinkUp { link, peer, kind: LinkKind::Visit, opened };
    // Asks by a bad code on one visit, and has the answer held back.
    let (_, _) = c.ask(at(2), join(code(group, 9)));
    let visit = |a: &mut Peer, c: &mut Peer, link: LinkId| {
        let mut to_a = c.input(at(3), up(link, a.machine.me(), true));
        let mut to_c = a.input(at(3), up(link, c.machine.me(), false));
        let mut held = Vec::new();
        while !to_a.is_empty() || !to_c.is_empty() {
            for (link, bytes) in std::mem::take(&mut to_a) {
                to_c.extend(a.input(at(3), Input::Frame { link, bytes }));
            }
            for (link, bytes) in std::mem::take(&mut to_c) {
                match VisitFrame::decode(&bytes).unwrap() {
                    VisitFrame::Answer(answer) => held.push((link, answer)),
                    _ => to_a.extend(c.input(at(3), Input::Frame { link, bytes })),
                }
            }
        }
        held
    };
    let bad = visit(&mut a, &mut c, LinkId(2));
    assert!(matches!(bad[..], [(_, JoinAnswer::Refused(Denial::Unknown))]));
    let (caller, _) = c.ask(at(4), join(good));
    let granted = visit(&mut a, &mut c, LinkId(3));
    let answer = |c: &mut Peer, (link, answer): &(LinkId, JoinAnswer)| {
        c.input(at(5), Input::Frame { link: *link, bytes: VisitFrame::Answer(answer.clone()).encode() })
    };
    answer(&mut c, &bad[0]);
    assert!(!c.answers.contains_key(&caller), "that was the other code");
    // A refusal of the good code that comes after the grant.
    let third = visit(&mut a, &mut c, LinkId(4));
    answer(&mut c, &granted[0]);
    assert!(c.machine.group(&group).is_some());
    answer(&mut c, &(third[0].0, JoinAnswer::Refused(Denial::Used)));
    assert!(!c.answers.contains_key(&caller), "what is granted stays granted");
    assert_eq!(c.machine.joins().count(), 1);
}

#[test]
fn a_link_without_a_word_is_kept_alive() {
    let (group, mut all) = members(2);
    let [a, b] = &mut all[..] else { panic!() };
    link(at(1), a, b);
    let (_, to_b) = a.ask(at(2), Request::Pause { group, paused: true });
    talk(at(2), a, b, vec![], to_b);
    let (_, to_a) = b.ask(at(3), Request::Pause { group, paused: true });
    talk(at(3), a, b, to_a, vec![]);
    let mut heard = [3, 3];
    for ms in (4..60_000).step_by(limits::TICK_MS as usize) {
        let (to_b, to_a) = (a.input(at(ms), Input::Tick), b.input(at(ms), Input::Tick));
        for (heard, frames) in heard.iter_mut().zip([&to_a, &to_b]) {
            if !frames.is_empty() {
                *heard = ms;
            }
            assert!(ms - *heard < limits::AWAY_MS / 2, "silent since {heard}, now {ms}");
        }
        talk(at(ms), a, b, to_a, to_b);
    }
    let fault =
        |effect: &Effect| matches!(effect, Effect::Notice(Notice::Fault { .. }) | Effect::Close { .. });
    assert!(!a.others.iter().chain(&b.others).any(fault), "an answer that nobody waits for is nothing");
}

#[test]
fn a_comparison_never_fills_the_link() {
    let labels: Vec<_> =
        (0..limits::LABELS).map(|n| (format!("{n:0>128}"), "v".repeat(limits::LABEL_BYTES))).collect();
    let (group, rows) = records(700, &labels);
    let (mut a, mut b) = (Peer::new(1, &memory(&rows)), Peer::new(2, &memory(&rows[..3])));
    let (ka, kb) = (a.machine.me(), b.machine.me());
    let kind = LinkKind::Member;
    let mut to_b = a.input(at(1), Input::LinkUp { link: LINK, peer: kb, kind, opened: true });
    let mut to_a = b.input(at(1), Input::LinkUp { link: LINK, peer: ka, kind, opened: false });
    let (mut pending, mut most, mut all) = (0, 0, 0);
    let mut count = |sent: &[(LinkId, Vec<u8>)], pending: &mut usize| {
        let bytes: usize = sent.iter().map(|(_, bytes)| bytes.len()).sum();
        *pending += bytes;
        all += bytes;
        most = most.max(*pending);
    };
    count(&to_b, &mut pending);
    while !to_a.is_empty() || !to_b.is_empty() {
        for (link, bytes) in std::mem::take(&mut to_a) {
            let sent = a.input(at(2), Input::Frame { link, bytes });
            count(&sent, &mut pending);
            to_b.extend(sent);
        }
        // The link takes one frame at a time.
        if !to_b.is_empty() {
            let (link, bytes) = to_b.remove(0);
            pending -= bytes.len();
            let sent = a.input(at(2), Input::Sent { link, bytes: bytes.len() });
            count(&sent, &mut pending);
            to_b.extend(sent);
            to_a.extend(b.input(at(2), Input::Frame { link, bytes }));
        }
    }
    assert_eq!(b.machine.group(&group).unwrap().group.records().len(), 700);
    assert!(all > 5 << 20 && most <= limits::LINK_PENDING_BYTES + limits::FRAME_BYTES, "{most} of {all}");
}

/// Brings up links between all, and delivers what is said, but for what `lost` names.
struct Mesh {
    all: Vec<Peer>,
    lost: fn(usize, usize) -> bool,
}

impl Mesh {
    fn link_of(a: usize, b: usize) -> LinkId {
        LinkId((16 * a.min(b) + a.max(b)) as u64)
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let count = self.all.len();
        (0..count).flat_map(move |a| (a + 1..count).map(move |b| (a, b)))
    }

    fn link_all(&mut self, now: Now) {
        for (a, b) in self.pairs() {
            let mut said = Vec::new();
            for (of, peer, opened) in [(a, b, true), (b, a, false)] {
                let (link, peer) = (Self::link_of(a, b), self.all[peer].machine.me());
                let up = Input::LinkUp { link, peer, kind: LinkKind::Member, opened };
                said.push((of, self.all[of].input(now, up)));
            }
            said.into_iter().for_each(|(of, sent)| self.deliver(now, of, sent));
        }
    }

    fn deliver(&mut self, now: Now, from: usize, sent: Vec<(LinkId, Vec<u8>)>) {
        let mut todo: Vec<_> = sent.into_iter().map(|(link, bytes)| (from, link, bytes)).collect();
        while !todo.is_empty() {
            let (from, link, bytes) = todo.remove(0);
            let to = (0..self.all.len()).find(|to| *to != from && Self::link_of(from, *to) == link);
            if let Some(to) = to.filter(|to| !(self.lost)(from, *to)) {
                let more = self.all[to].input(now, Input::Frame { link, bytes });
                todo.extend(more.into_iter().map(|(link, bytes)| (to, link, bytes)));
            }
        }
    }

    /// Lets time pass until `done` is true; answers when that was.
    fn wait(&mut self, from: u64, most: u64, done: impl Fn(&Self) -> bool) -> u64 {
        for ms in (from..from + most).step_by(100) {
            if done(self) {
                return ms;
            }
            for of in 0..self.all.len() {
                let sent = self.all[of].input(at(ms), Input::Tick);
                self.deliver(at(ms), of, sent);
            }
        }
        panic!("not within {most} ms");
    }
}

/// One that has a link with another says so, and is left to tell it what is new. If it does not, that shows.
#[test]
fn what_a_neighbour_keeps_to_itself_is_fetched_from_another() {
    let (group, all) = members(3);
    let mut mesh = Mesh { all, lost: |_, _| false };
    mesh.link_all(at(1));
    let knows = |mesh: &Mesh| {
        let last = mesh.all[2].machine.me();
        mesh.all[1].machine.groups[&group].is_linked(Some(mesh.all[0].machine.me()), last)
    };
    let now = mesh.wait(2, 10_000, knows);
    // From now on the first tells the last nothing.
    mesh.lost = |from, to| from + to == 2;
    let (_, sent) = mesh.all[0].write(at(now), group, 7);
    mesh.deliver(at(now), 0, sent);
    let same = |mesh: &Mesh, of: usize| mesh.all[of].heads(group) == mesh.all[0].heads(group);
    assert!(same(&mesh, 1) && !same(&mesh, 2), "the second leaves the last to the first");
    let then = mesh.wait(now + 1, 20_000, |mesh| same(mesh, 2));
    assert!(then - now <= limits::PRESENCE_MS + 2 * limits::REPAIR_MS, "it took {} ms", then - now);
}
