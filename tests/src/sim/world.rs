//! The event queue, the nodes, and the trace of everything that happened.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::id::{ChangeId, GroupId, NodeId, Secret, hash16};
use larder_core::machine::{
    Answer, Caller, Config, Declined, Effect, Input, LinkId, LinkKind, Machine, Moment, Notice, Now, Request,
};

use super::check::{Held, judge};
use super::dice::Dice;
use super::disk::Disk;
use super::wire::Wire;

/// What can happen.
#[derive(Clone, Debug)]
enum Event {
    Tick { node: usize, at: u64 },
    Frame { link: LinkId, to: usize, bytes: Vec<u8> },
    Sent { link: LinkId, node: usize, bytes: usize },
    Sync { node: usize, boot: u64 },
    Break { link: LinkId, node: usize },
    Meet,
    Visit { from: usize, to: NodeId },
    Boot { node: usize },
}

/// One node, running or not.
pub(super) struct Node {
    /// Its key.
    pub(super) secret: Secret,
    /// The machine, while it runs.
    pub(super) machine: Option<Machine>,
    /// What it stored.
    pub(super) disk: Disk,
    boot: u64,
    members: BTreeSet<NodeId>,
    /// How far its clock is off, in seconds.
    pub(super) clock: i64,
    wake: u64,
    syncing: bool,
    judged: Held,
}

/// What can go wrong on the way, and how often. Times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Longest delay of a frame.
    pub(super) delay: u64,
    /// Longest time a commit takes.
    pub(super) commit: u64,
    /// Streams reset, out of a thousand frames.
    pub(super) resets: u64,
}

/// The whole world.
pub(super) struct World {
    /// Its nodes.
    pub(super) nodes: Vec<Node>,
    /// What is between them.
    pub(super) wire: Wire,
    /// Microseconds since the beginning.
    pub(super) now: u64,
    /// What goes wrong.
    pub(super) faults: Faults,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    network: Dice,
    storage: Dice,
    /// Answers that came, by caller.
    pub(super) answers: BTreeMap<Caller, Result<Answer, Declined>>,
    callers: u64,
    /// Changes that were acknowledged to an operator: by whom, in which group.
    pub(super) acknowledged: BTreeMap<ChangeId, (usize, GroupId)>,
    waiting: BTreeMap<Caller, (usize, GroupId)>,
    /// Everything that a node blamed another for. In a world of honest nodes there is nothing to blame.
    pub(super) faults_seen: Vec<String>,
    /// Hash over every input and effect so far.
    pub(super) trace: [u8; 16],
    /// How many inputs were handled.
    pub(super) inputs: u64,
    /// True to print everything that happens.
    pub(super) log: bool,
}

/// Wall-clock time at which every world begins.
const EPOCH: i64 = 1_700_000_000;
/// How often links are tried where there should be one.
const MEET: u64 = 200_000;
/// A cut is noticed after so long, at the least and at the most.
const NOTICE: (u64, u64) = (500_000, 3_000_000);

impl World {
    /// A world of `count` nodes that are in no group yet.
    pub(super) fn new(seed: u64, count: usize, faults: Faults) -> Self {
        let mut keys = Dice::new(seed, "keys");
        let node = |_| Node {
            secret: Secret::from_bytes(&keys.seed()),
            machine: None,
            disk: Disk::default(),
            boot: 0,
            members: BTreeSet::new(),
            clock: 0,
            wake: u64::MAX,
            syncing: false,
            judged: Held::default(),
        };
        let nodes = (0..count).map(node).collect();
        let mut world = Self {
            nodes,
            wire: Wire::default(),
            now: 0,
            faults,
            queue: BTreeMap::new(),
            sequence: 0,
            network: Dice::new(seed, "network"),
            storage: Dice::new(seed, "storage"),
            answers: BTreeMap::new(),
            callers: 0,
            acknowledged: BTreeMap::new(),
            waiting: BTreeMap::new(),
            faults_seen: Vec::new(),
            trace: [0; 16],
            inputs: 0,
            log: std::env::var_os("LARDER_SIM_LOG").is_some(),
        };
        for node in 0..count {
            world.boot(node);
        }
        world.after(MEET, Event::Meet);
        world
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    fn note(&mut self, what: &str) {
        if self.log {
            eprintln!("{:>12} {what}", self.now);
        }
        self.trace = hash16("larder sim trace", &[&self.trace, &self.now.to_be_bytes(), what.as_bytes()]);
    }

    fn clock(&self, node: usize) -> Now {
        let passed = i64::try_from(self.now / 1_000_000).unwrap_or(i64::MAX);
        Now { mono: Moment(self.now), wall: (EPOCH + passed + self.nodes[node].clock).max(0) }
    }

    /// Starts a node from what its disk holds.
    pub(super) fn boot(&mut self, node: usize) {
        if self.nodes[node].machine.is_some() {
            return;
        }
        let config = Config {
            secret: self.nodes[node].secret.clone(),
            seed: self.storage.seed(),
            software: "sim".to_owned(),
            host: format!("host-{node}"),
            reborn: false,
        };
        let now = self.clock(node);
        let opened = Machine::open(config, now, &self.nodes[node].disk.rows);
        let (machine, effects) = opened.unwrap_or_else(|error| panic!("node {node} does not start: {error}"));
        let of = &mut self.nodes[node];
        of.machine = Some(machine);
        of.boot += 1;
        of.wake = u64::MAX;
        of.syncing = false;
        of.judged = Held::default();
        self.note(&format!("boot {node}"));
        self.carry_out(node, effects);
        self.schedule(node);
    }

    /// Kills a node between two batches. It starts again after `pause`.
    pub(super) fn crash(&mut self, node: usize, pause: u64) {
        if self.nodes[node].machine.take().is_none() {
            return;
        }
        let lucky = self.storage.roll(2) == 0;
        let of = &mut self.nodes[node];
        of.disk.crash(lucky);
        of.members.clear();
        of.boot += 1;
        self.waiting.retain(|_, (by, _)| *by != node);
        self.note(&format!("crash {node}"));
        let links: Vec<_> = self.wire.streams.keys().copied().collect();
        for link in links {
            if let Some((side, other)) = self.wire.side(link, node) {
                if let Some(stream) = self.wire.streams.get_mut(&link) {
                    stream.alive[side] = false;
                }
                let delay = self.network.between(1, NOTICE.1);
                self.after(delay, Event::Break { link, node: other });
            }
        }
        self.after(pause, Event::Boot { node });
    }

    /// Cuts or mends one direction.
    pub(super) fn cut(&mut self, from: usize, to: usize, cut: bool) {
        if !cut {
            self.wire.cut.remove(&(from, to));
            return;
        }
        self.wire.cut.insert((from, to));
        let links: Vec<_> = self.wire.streams.keys().copied().collect();
        for link in links {
            let between = self.wire.side(link, from).is_some_and(|(_, other)| other == to);
            if between {
                for node in [from, to] {
                    let delay = self.network.between(NOTICE.0, NOTICE.1);
                    self.after(delay, Event::Break { link, node });
                }
            }
        }
    }

    /// Asks a node for something.
    pub(super) fn ask(&mut self, node: usize, request: Request) -> Caller {
        self.callers += 1;
        let caller = Caller(self.callers);
        if let Request::Write(write) = &request {
            self.waiting.insert(caller, (node, write.group));
        }
        self.input(node, Input::Request { caller, request });
        caller
    }

    /// Hands an input to a node, if it runs.
    pub(super) fn input(&mut self, node: usize, input: Input) {
        let now = self.clock(node);
        self.note(&format!("{node} {input:?}"));
        let Some(machine) = self.nodes[node].machine.as_mut() else { return };
        self.inputs += 1;
        let effects = machine.handle(now, input);
        self.carry_out(node, effects);
        self.schedule(node);
        match judge(&self.nodes[node], self.nodes[node].judged) {
            Ok(held) => self.nodes[node].judged = held,
            Err(what) => self.faults_seen.push(format!("node {node}: {what}")),
        }
    }

    fn schedule(&mut self, node: usize) {
        let Some(machine) = self.nodes[node].machine.as_ref() else { return };
        let at = machine.next_wake().0.max(self.now + 1000);
        if at < self.nodes[node].wake || self.nodes[node].wake <= self.now {
            self.nodes[node].wake = at;
            self.after(at - self.now, Event::Tick { node, at });
        }
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store { token, rows } => {
                    self.note(&format!("{node} stores {} rows", rows.len()));
                    self.nodes[node].disk.write(token, rows);
                    self.start_sync(node);
                }
                Effect::Send { link, bytes } => self.send(node, link, bytes),
                Effect::Close { link, .. } => self.close(node, link),
                Effect::Visit { peer } => {
                    let delay = self.network.between(100, self.faults.delay);
                    self.after(delay, Event::Visit { from: node, to: peer });
                }
                Effect::Members(members) => self.nodes[node].members = members,
                Effect::Answer { caller, answer } => self.answered(caller, answer),
                Effect::Notice(Notice::Fault { peer, what }) => {
                    self.faults_seen.push(format!("node {node} blames {}: {what}", peer.short()));
                }
                Effect::Notice(Notice::Isolated { what, .. }) => {
                    self.faults_seen.push(format!("node {node} isolated a shard: {what}"));
                }
                Effect::Learn { .. } | Effect::Changed { .. } | Effect::Notice(_) => {}
            }
        }
    }

    fn answered(&mut self, caller: Caller, answer: Result<Answer, Declined>) {
        let by = self.waiting.remove(&caller);
        if let (Some(by), Ok(Answer::Written(Some(change)))) = (by, &answer) {
            self.acknowledged.insert(*change, by);
        }
        self.answers.insert(caller, answer);
    }

    fn start_sync(&mut self, node: usize) {
        if !self.nodes[node].syncing {
            self.nodes[node].syncing = true;
            let delay = self.storage.between(50, self.faults.commit);
            let boot = self.nodes[node].boot;
            self.after(delay, Event::Sync { node, boot });
        }
    }

    fn send(&mut self, from: usize, link: LinkId, bytes: Vec<u8>) {
        let Some((side, to)) = self.wire.side(link, from) else { return };
        self.note(&format!("{from} sends {} bytes on {link:?}, first {:?}", bytes.len(), bytes.first()));
        let delay = self.network.between(100, self.faults.delay);
        let reset = self.network.once_in_thousand(self.faults.resets);
        let at = self.now + delay;
        let reaches = self.wire.reaches(from, to);
        let Some(stream) = self.wire.streams.get_mut(&link) else { return };
        let arrival = at.max(stream.last[side] + 1);
        stream.last[side] = arrival;
        self.after(delay / 2, Event::Sent { link, node: from, bytes: bytes.len() });
        if reset || !reaches {
            // What is lost on a stream breaks it for both, sooner or later, and nothing after it arrives.
            for node in [from, to] {
                let delay = self.network.between(NOTICE.0, NOTICE.1);
                self.after(delay, Event::Break { link, node });
            }
            stream_end(&mut self.wire, link, 1 - side);
            return;
        }
        self.after(arrival - self.now, Event::Frame { link, to, bytes });
    }

    fn close(&mut self, node: usize, link: LinkId) {
        let Some((_, other)) = self.wire.side(link, node) else { return };
        // What was sent before the end still arrives.
        let last = self.wire.streams.get(&link).map_or(0, |stream| stream.last[0].max(stream.last[1]));
        let delay = self.network.between(100, self.faults.delay) + last.saturating_sub(self.now);
        self.after(0, Event::Break { link, node });
        self.after(delay, Event::Break { link, node: other });
    }

    /// Handles the next event. False if there is none.
    pub(super) fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        self.now = self.now.max(at);
        match event {
            Event::Tick { node, at } => {
                // Only the newest alarm rings.
                if self.nodes[node].wake == at {
                    self.nodes[node].wake = 0;
                    self.input(node, Input::Tick);
                }
            }
            Event::Frame { link, to, bytes } => {
                let alive = self.wire.side(link, to).is_some_and(|(side, _)| {
                    self.wire
                        .streams
                        .get(&link)
                        .is_some_and(|stream| stream.alive[side] && !stream.lost[side])
                });
                if alive {
                    self.input(to, Input::Frame { link, bytes });
                }
            }
            Event::Sent { link, node, bytes } => self.input(node, Input::Sent { link, bytes }),
            Event::Sync { node, boot } => self.synced(node, boot),
            Event::Break { link, node } => self.break_link(link, node),
            Event::Meet => self.meet(),
            Event::Visit { from, to } => self.visit(from, to),
            Event::Boot { node } => self.boot(node),
        }
        true
    }

    fn synced(&mut self, node: usize, boot: u64) {
        if self.nodes[node].boot != boot {
            return;
        }
        self.nodes[node].syncing = false;
        let pending = self.nodes[node].disk.pending();
        let count = usize::try_from(self.storage.between(1, pending as u64)).unwrap_or(1);
        if let Some(token) = self.nodes[node].disk.sync(count) {
            self.input(node, Input::Stored { token });
        }
        if self.nodes[node].disk.pending() > 0 {
            self.start_sync(node);
        }
    }

    fn break_link(&mut self, link: LinkId, node: usize) {
        let Some((side, _)) = self.wire.side(link, node) else { return };
        let Some(stream) = self.wire.streams.get_mut(&link) else { return };
        let was = std::mem::replace(&mut stream.alive[side], false);
        if !stream.alive.contains(&true) {
            self.wire.streams.remove(&link);
        }
        if was {
            self.input(node, Input::LinkDown { link });
        }
    }

    /// What the network crate does all the time: nodes hear of each other, and members that can reach each other and
    /// have no link get one.
    fn meet(&mut self) {
        self.after(MEET, Event::Meet);
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                let up = self.nodes[a].machine.is_some() && self.nodes[b].machine.is_some();
                if a == b || !up || !self.wire.connects(a, b) || self.network.roll(3) == 0 {
                    continue;
                }
                let (id_a, id_b) = (self.nodes[a].secret.node(), self.nodes[b].secret.node());
                if self.network.roll(5) == 0 {
                    self.input(a, Input::Seen { peer: id_b, addresses: vec![format!("/sim/{b}")] });
                }
                if !self.nodes[a].members.contains(&id_b) || self.wire.is_linked(a, b) {
                    continue;
                }
                if self.nodes[b].members.contains(&id_a) {
                    let link = self.wire.open(a, b, LinkKind::Member);
                    self.input(a, Input::LinkUp { link, peer: id_b, kind: LinkKind::Member, opened: true });
                    self.input(b, Input::LinkUp { link, peer: id_a, kind: LinkKind::Member, opened: false });
                } else if id_a < id_b {
                    // Of a pair only the lower key dials, so only it hears that it is not known.
                    self.input(a, Input::Refused { peer: id_b });
                }
            }
        }
    }

    fn visit(&mut self, from: usize, to: NodeId) {
        let found = self.nodes.iter().position(|node| node.secret.node() == to && node.machine.is_some());
        let Some(to_index) = found.filter(|to| self.wire.connects(from, *to)) else {
            return self.input(from, Input::VisitFailed { peer: to });
        };
        let link = self.wire.open(from, to_index, LinkKind::Visit);
        let me = self.nodes[from].secret.node();
        self.input(to_index, Input::LinkUp { link, peer: me, kind: LinkKind::Visit, opened: false });
        self.input(from, Input::LinkUp { link, peer: to, kind: LinkKind::Visit, opened: true });
    }

    /// Runs until `until`, or until the condition holds; true if it does.
    pub(super) fn run(&mut self, until: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            if next.is_none_or(|at| at > until) {
                self.now = self.now.max(until);
                return false;
            }
            self.step();
        }
    }
}

/// Nothing more arrives at this end, though it may not know yet.
fn stream_end(wire: &mut Wire, link: LinkId, side: usize) {
    if let Some(stream) = wire.streams.get_mut(&link) {
        stream.lost[side] = true;
    }
}
