//! Two nodes in one process: stores in memory, a wire that takes no time and counts, and a clock that jumps to the next
//! alarm. What remains is what the nodes themselves do.

use std::collections::{BTreeSet, VecDeque};

use larder_core::group::Note;
use larder_core::id::{GroupId, NodeId, Secret};
use larder_core::machine::{
    Answer, Caller, Config, Effect, Input, LinkId, LinkKind, Machine, Moment, Now, Request, WriteRequest,
};
use larder_core::record::Role;
use larder_core::resource::edit::{Edit, FieldEdit};
use larder_core::resource::literal::Literal;
use larder_core::store::Memory;

const START: i64 = 1_760_000_000;
/// More inputs than this without getting there is a defect.
const INPUTS: usize = 10_000_000;

/// What passed between two nodes, and how long both only waited for an alarm.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    pub(super) bytes: usize,
    pub(super) frames: usize,
    pub(super) waited_ms: u64,
}

/// What is left of two nodes that were switched off.
#[derive(Clone)]
pub(super) struct Kept {
    stores: [Memory; 2],
    group: GroupId,
    clock: Moment,
}

/// Two nodes.
pub(super) struct Pair {
    nodes: [Machine; 2],
    stores: [Memory; 2],
    members: [BTreeSet<NodeId>; 2],
    queue: VecDeque<(usize, Input)>,
    answers: VecDeque<Answer>,
    link: Option<LinkId>,
    names: u64,
    plugged: bool,
    clock: Moment,
    pub(super) group: GroupId,
    pub(super) passed: Passed,
}

fn secret(side: usize) -> Secret {
    Secret::from_bytes(&[if side == 0 { 1 } else { 2 }; 32])
}

fn now(clock: Moment) -> Now {
    Now { mono: clock, wall: START + i64::try_from(clock.0 / 1_000_000).unwrap_or(0) }
}

impl Pair {
    /// Switches two nodes on. They do not hear each other before [`Pair::plug`].
    pub(super) fn open(kept: Kept) -> Self {
        let Kept { stores, group, clock } = kept;
        let mut first = Vec::new();
        let nodes = [0, 1].map(|side| {
            let config = Config {
                secret: secret(side),
                seed: [u8::try_from(side).unwrap_or(0) + 7; 32],
                software: "bench".to_owned(),
                host: format!("host-{side}"),
                reborn: false,
            };
            let (machine, effects) =
                Machine::open(config, now(clock), &stores[side]).expect("a store to open");
            first.push(effects);
            machine
        });
        let (members, queue, answers) = Default::default();
        let passed = Passed::default();
        let mut pair = Self {
            nodes,
            stores,
            members,
            queue,
            answers,
            link: None,
            names: 0,
            plugged: false,
            clock,
            group,
            passed,
        };
        for (side, effects) in first.into_iter().enumerate() {
            pair.carry_out(side, effects);
        }
        pair
    }

    /// Two nodes in one group of which nothing else is known.
    pub(super) fn founded() -> Self {
        let stores = Default::default();
        let mut pair = Self::open(Kept { stores, group: GroupId::ZERO, clock: Moment::default() });
        let Answer::Founded { group, .. } = pair.ask(0, Request::Found { name: "bench".to_owned() }) else {
            panic!("no group")
        };
        pair.group = group;
        let invite = Request::Invite { group, role: Role::Operator, uses: 1, expires: START + 3600 };
        let Answer::Invited(code) = pair.ask(0, invite) else { panic!("no invite") };
        pair.plugged = true;
        let founder = pair.nodes[0].me();
        pair.queue.push_back((1, Input::Seen { peer: founder, addresses: vec!["/bench/0".to_owned()] }));
        let joined = pair.ask(1, Request::Join { code, alias: String::new(), labels: Vec::new() });
        assert!(matches!(joined, Answer::Joined(_)), "{joined:?}");
        pair.until_in_sync();
        pair.unplug();
        pair
    }

    /// Ends the link.
    pub(super) fn unplug(&mut self) {
        self.plugged = false;
        if let Some(link) = self.link.take() {
            self.queue.extend([0, 1].map(|side| (side, Input::LinkDown { link })));
        }
        self.drain();
    }

    /// Gives the two a link, and counts from here.
    pub(super) fn plug(&mut self) {
        self.plugged = true;
        self.passed = Passed::default();
        self.meet();
    }

    /// What the two would find on their disks.
    pub(super) fn kept(&self) -> Kept {
        Kept { stores: self.stores.clone(), group: self.group, clock: self.clock }
    }

    /// Node `side` writes one key of one of a thousand resources.
    pub(super) fn write(&mut self, side: usize, nth: u64) {
        let resource = format!("config/c{}", nth % 1000).parse().expect("a resource");
        let field = format!("keys.k{}", nth / 1000 % 10).parse().expect("a field");
        let value = Literal::Scalar(format!("value {nth} of {side}").as_str().into());
        let edit = Edit::Set { resource, fields: vec![(field, FieldEdit::Assign(value))], replace: false };
        let command = format!("set config/c{} keys.k{}=", nth % 1000, nth / 1000 % 10);
        let note = Note { command, user: "root".to_owned(), ..Note::default() };
        let write = WriteRequest { group: self.group, edits: vec![edit], base: None, note, lenient: false };
        let written = self.ask(side, Request::Write(write));
        assert!(matches!(written, Answer::Written(Some(_))), "{written:?}");
    }

    /// The group's document at node `side`, as Automerge saves it.
    pub(super) fn document(&mut self, side: usize) -> Vec<u8> {
        let group = &mut self.nodes[side].group_mut(&self.group).expect("a member").group;
        group.flush();
        group.desired().expect("a desired state").document().save()
    }

    /// How many changes node `side` has.
    pub(super) fn changes(&self, side: usize) -> u64 {
        self.nodes[side].group(&self.group).map_or(0, |of| of.group.changes())
    }

    /// Runs until both know that they have the same, and it is in both documents.
    pub(super) fn until_in_sync(&mut self) {
        let group = self.group;
        self.until(|pair| {
            pair.nodes.iter().all(|node| {
                node.group(&group).is_some_and(|of| of.neighbours().any(|(_, session)| session.in_sync))
            })
        });
        let digests = [0, 1].map(|side| {
            let of = self.nodes[side].group_mut(&group).expect("a member");
            of.group.flush();
            of.digest()
        });
        assert_eq!(digests[0], digests[1]);
    }

    fn ask(&mut self, side: usize, request: Request) -> Answer {
        self.names += 1;
        let caller = Caller(self.names);
        self.queue.push_back((side, Input::Request { caller, request }));
        self.until(|pair| !pair.answers.is_empty());
        self.answers.pop_front().expect("just seen")
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..INPUTS {
            if done(self) {
                return;
            }
            if !self.step() {
                self.wait();
            }
        }
        panic!("the two do not get there");
    }

    fn drain(&mut self) {
        while self.step() {}
    }

    fn step(&mut self) -> bool {
        let Some((side, input)) = self.queue.pop_front() else { return false };
        // A wire of no length still takes its microsecond, so that time goes on under load.
        self.clock.0 += 1;
        let effects = self.nodes[side].handle(now(self.clock), input);
        self.carry_out(side, effects);
        true
    }

    fn wait(&mut self) {
        let wakes = [0, 1].map(|side| self.nodes[side].next_wake());
        let next = wakes[0].min(wakes[1]).max(Moment(self.clock.0 + 1));
        self.passed.waited_ms += next.ms_since(self.clock);
        self.clock = next;
        self.queue.extend([0, 1].map(|side| (side, Input::Tick)));
    }

    fn carry_out(&mut self, side: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store { token, rows } => {
                    self.stores[side].write(&rows);
                    self.queue.push_back((side, Input::Stored { token }));
                }
                Effect::Send { link, bytes } => {
                    self.passed.frames += 1;
                    self.passed.bytes += bytes.len();
                    self.queue.push_back((side, Input::Sent { link, bytes: bytes.len() }));
                    self.queue.push_back((1 - side, Input::Frame { link, bytes }));
                }
                Effect::Close { link, .. } => {
                    self.queue.extend([0, 1].map(|side| (side, Input::LinkDown { link })));
                    self.link = self.link.filter(|open| *open != link);
                }
                Effect::Visit { .. } if self.plugged => {
                    self.open_stream(side, LinkKind::Visit);
                }
                Effect::Members(members) => {
                    self.members[side] = members;
                    self.meet();
                }
                Effect::Answer { answer, .. } => self.answers.push_back(answer.expect("no refusal")),
                Effect::Visit { .. } | Effect::Learn { .. } | Effect::Changed { .. } | Effect::Notice(_) => {}
            }
        }
    }

    /// Gives two members that can hear each other a link.
    fn meet(&mut self) {
        let known = [0, 1].iter().all(|side| self.members[*side].contains(&secret(1 - side).node()));
        if self.plugged && self.link.is_none() && known {
            self.link = Some(self.open_stream(0, LinkKind::Member));
        }
    }

    fn open_stream(&mut self, by: usize, kind: LinkKind) -> LinkId {
        self.names += 1;
        let link = LinkId(self.names);
        for side in [1 - by, by] {
            let peer = secret(1 - side).node();
            self.queue.push_back((side, Input::LinkUp { link, peer, kind, opened: side == by }));
        }
        link
    }
}
