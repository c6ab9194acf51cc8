//! The node that is told everything, its disk and its links, and what it may never do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;

use larder_core::group::Note;
use larder_core::limits;
use larder_core::machine::{
    Answer, Caller, Config, Declined, Effect, Input, LinkId, LinkKind, Machine, Membership, Moment, Now,
    Request, WriteRequest,
};
use larder_core::resource::conflict::conflicts;
use larder_core::resource::edit::{Edit, FieldEdit};
use larder_core::resource::literal::Literal;
use larder_core::resource::view::resources;
use larder_core::value::Value;
use larder_core::wire::visit::VisitFrame;

use super::disk::Disk;
use crate::scene::{self, SCENE, secret};

/// A link from the node's side.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) person: u8,
    kind: LinkKind,
    /// The nonce of the last proof that the node sent on it.
    pub(super) proof: [u8; 16],
}

pub(super) struct Host {
    machine: Machine,
    disk: Disk,
    now: Now,
    boots: u8,
    failed: bool,
    links: BTreeMap<LinkId, Line>,
    next_link: u64,
    /// Who waits for an answer; true if it must come once everything is durable.
    callers: BTreeMap<Caller, bool>,
    hung_up: BTreeSet<Caller>,
    next_caller: u64,
    answers: BTreeMap<Caller, Result<Answer, Declined>>,
    /// What inputs so far allow for, and what came: effects, and bytes sent.
    allowed: (usize, usize),
    came: (usize, usize),
}

impl Host {
    pub(super) fn open() -> Self {
        let (machine, effects) = FIRST.clone();
        let mut host = Self {
            machine,
            disk: Disk::new(),
            now: NOW,
            boots: 0,
            failed: false,
            links: BTreeMap::new(),
            next_link: 1000,
            callers: BTreeMap::new(),
            hung_up: BTreeSet::new(),
            next_caller: 0,
            answers: BTreeMap::new(),
            allowed: (64, 0),
            came: (0, 0),
        };
        host.carry_out(effects);
        host
    }

    /// Hands an input in, and all that follows from it at once.
    pub(super) fn tell(&mut self, input: Input) {
        let mut todo = VecDeque::from([input]);
        while let Some(input) = todo.pop_front() {
            let weight = match &input {
                Input::Frame { bytes, .. } => bytes.len(),
                Input::Observed { .. } | Input::Request { .. } => 1024,
                _ => 0,
            };
            // One input makes a handful of effects a link, and some for what it lists; a whole window is 1 MiB.
            let links = self.links.len() + 1;
            self.allowed.0 += 32 + 16 * links + weight / 8;
            self.allowed.1 += links * (limits::FRAME_BYTES + 2 * weight);
            let effects = self.machine.handle(self.now, input);
            for link in self.carry_out(effects) {
                if self.links.remove(&link).is_some() {
                    todo.push_back(Input::LinkDown { link });
                }
            }
            assert!(self.machine.next_wake() >= self.now.mono, "it wakes in the future");
        }
    }

    /// Answers which links are to be closed.
    fn carry_out(&mut self, effects: Vec<Effect>) -> Vec<LinkId> {
        let mut closed = Vec::new();
        self.came.0 += effects.len();
        for effect in effects {
            match effect {
                Effect::Store { token, rows } => self.disk.write(token, rows),
                Effect::Send { link, bytes } => {
                    self.came.1 += bytes.len();
                    assert!(bytes.len() <= limits::FRAME_BYTES, "a frame fits a frame");
                    self.sent(link, &bytes);
                }
                Effect::Close { link, .. } => closed.push(link),
                Effect::Answer { caller, answer } => {
                    let waited = self.callers.remove(&caller).is_some();
                    assert!(waited || self.hung_up.remove(&caller), "{caller:?} is answered once");
                    self.answers.insert(caller, answer);
                }
                Effect::Visit { .. }
                | Effect::Members(_)
                | Effect::Learn { .. }
                | Effect::Changed { .. }
                | Effect::Notice(_) => {}
            }
        }
        assert!(self.came.0 <= self.allowed.0, "{} effects, {} allowed", self.came.0, self.allowed.0);
        assert!(self.came.1 <= self.allowed.1, "{} bytes, {} allowed", self.came.1, self.allowed.1);
        closed
    }

    fn sent(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(line) = self.links.get_mut(&link).filter(|line| line.kind == LinkKind::Visit) else {
            return;
        };
        assert!(bytes.len() <= limits::VISIT_FRAME_BYTES, "a frame on a visit fits one");
        if let Ok(VisitFrame::Proof(proof)) = VisitFrame::decode(bytes) {
            line.proof = proof.nonce;
        }
    }

    pub(super) fn pass(&mut self, ms: u64, jump: i64) {
        let wall = self.now.wall.saturating_add((ms / 1000).cast_signed()).saturating_add(jump);
        self.now = Now { mono: self.now.mono.plus_ms(ms), wall: wall.max(0) };
        self.tell(Input::Tick);
    }

    pub(super) fn link_up(&mut self, person: u8, kind: LinkKind, opened: bool) -> LinkId {
        let old: Vec<LinkId> =
            self.links.iter().filter(|(_, l)| l.person == person).map(|(id, _)| *id).collect();
        if kind == LinkKind::Member {
            old.into_iter().for_each(|link| self.hang_up(link));
        }
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link, Line { person, kind, proof: [0; 16] });
        self.tell(Input::LinkUp { link, peer: secret(person).node(), kind, opened });
        link
    }

    pub(super) fn hang_up(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.tell(Input::LinkDown { link });
    }

    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.keys().copied()
    }

    pub(super) fn links_of(&self, kind: LinkKind) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(move |(_, line)| line.kind == kind).map(|(link, _)| *link)
    }

    pub(super) fn line(&self, link: LinkId) -> Line {
        self.links.get(&link).copied().unwrap_or(Line {
            person: scene::STRANGER,
            kind: LinkKind::Visit,
            proof: [0; 16],
        })
    }

    pub(super) fn group(&self) -> Option<&Membership> {
        self.machine.group(&scene::group())
    }

    pub(super) fn digest(&mut self) -> larder_core::id::Digest {
        self.machine.group_mut(&scene::group()).expect("a member").digest()
    }

    pub(super) fn ask(&mut self, request: Request) -> Caller {
        self.next_caller += 1;
        let caller = Caller(self.next_caller);
        // A ping waits for the other side, and a join for a member.
        let must = !matches!(request, Request::Ping { .. } | Request::Join { .. });
        self.callers.insert(caller, must);
        self.tell(Input::Request { caller, request });
        caller
    }

    /// Everybody who waits stops to.
    pub(super) fn forget_callers(&mut self) {
        let callers: Vec<Caller> = std::mem::take(&mut self.callers).into_keys().collect();
        self.hung_up.extend(&callers);
        callers.into_iter().for_each(|caller| self.tell(Input::Hangup { caller }));
    }

    /// Makes batches durable and says so.
    pub(super) fn confirm(&mut self, count: usize) {
        if self.failed {
            return;
        }
        if let Some(token) = self.disk.sync(count) {
            self.tell(Input::Stored { token });
        }
    }

    /// The disk fails for good.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.tell(Input::StoreFailed { why: "full".to_owned() });
    }

    /// The power goes and comes back.
    pub(super) fn restart(&mut self, lucky: usize, reborn: bool) {
        if !self.failed {
            self.disk.sync(lucky);
        }
        self.disk.crash();
        self.failed = false;
        self.boots = self.boots.wrapping_add(1);
        self.links.clear();
        self.callers.clear();
        self.hung_up.clear();
        let (machine, effects) = open(&self.disk, self.now, self.boots, reborn);
        self.machine = machine;
        self.allowed.0 += 64;
        self.carry_out(effects);
    }

    /// What a person may look at any time.
    pub(super) fn look_around(&self) {
        for of in self.machine.groups() {
            let views = self.machine.members(of);
            assert!(views.iter().any(|view| view.is_self), "it is a member of its groups");
            for (_, session) in of.neighbours() {
                let _ = (session.missing_here(&of.group), session.missing_there(&of.group));
            }
            for shard in of.group.shards() {
                assert_eq!(shard.document().isolated(), None);
                assert_eq!(shard.document().heads(), shard.graph().heads());
            }
            let Some(desired) = of.group.desired() else { panic!("a desired state stands in any case") };
            let _ = conflicts(desired);
            resources(desired.state()).iter().for_each(|view| drop(view.values()));
            assert!(of.group.refused().count() <= limits::REFUSED);
        }
        let _ = (self.machine.strangers(), self.machine.joins().count());
    }

    /// Whatever happened: it writes, keeps it, and comes up equal.
    pub(super) fn end(mut self) {
        if self.failed {
            let caller = self.ask(write());
            assert!(matches!(self.answers.get(&caller), Some(Err(Declined::Storage(_)))), "it says so");
            self.restart(0, false);
        }
        self.confirm(usize::MAX);
        assert!(!self.callers.values().any(|must| *must), "all were answered");
        self.ask(Request::Pause { group: scene::group(), paused: false });
        self.confirm(usize::MAX);
        let caller = self.ask(write());
        self.confirm(usize::MAX);
        let answer = self.answers.get(&caller);
        let Some(Ok(Answer::Written(Some(id)))) = answer else { panic!("a write is answered by {answer:?}") };
        let id = *id;
        self.look_around();
        let digest = self.digest();
        self.restart(usize::MAX, false);
        assert_eq!(self.digest(), digest, "it comes up equal");
        let of = self.group().and_then(|of| of.group.desired()).expect("a member");
        assert!(of.graph().contains(&id));
        self.look_around();
    }
}

const NOW: Now = Now { mono: Moment(1_000_000), wall: 1_700_000_000 };

/// The node as it first comes up: every run begins with it.
static FIRST: LazyLock<(Machine, Vec<Effect>)> = LazyLock::new(|| open(&Disk::new(), NOW, 0, false));

fn open(disk: &Disk, now: Now, boots: u8, reborn: bool) -> (Machine, Vec<Effect>) {
    let config = Config {
        secret: secret(scene::FOUNDER),
        seed: [boots; 32],
        software: "fuzz".to_owned(),
        host: "host".to_owned(),
        reborn,
    };
    Machine::open(config, now, &disk.rows).expect("it comes up from what is durable")
}

fn write() -> Request {
    let value = FieldEdit::Assign(Literal::Scalar(Value::from("the end")));
    let edit = Edit::Set {
        resource: "config/the-end".parse().expect("a name"),
        fields: vec![("keys.last".parse().expect("a path"), value)],
        replace: false,
    };
    let group = SCENE.root.group();
    Request::Write(WriteRequest {
        group,
        edits: vec![edit],
        base: None,
        note: Note::default(),
        lenient: false,
    })
}
