//! The event queue, the nodes, and what was promised to whoever asked them.
//!
//! | room      | holds                                                     |
//! |-----------|-----------------------------------------------------------|
//! | `node`    | one node: key, disk, clock, machine                       |
//! | `life`    | how nodes start, die, stand still, and what disks do      |
//! | `links`   | how nodes meet, and what becomes of a frame               |
//! | `copies`  | machines that are set back, and directories that are copied |
//! | `damage`  | stores in which rows are gone or wrong                    |
//! | `watch`   | what must hold of every single effect                     |

mod copies;
mod damage;
mod life;
mod links;
mod node;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use larder_core::id::{ChangeId, GroupId, NodeId, Secret};
use larder_core::machine::{Answer, Caller, Declined, Effect, Input, LinkId, Request};

pub(super) use node::Node;

use super::check::{Invariant, judge};
use super::dice::Dice;
use super::marks::Marks;
use super::plan::{Faults, Plan};
use super::stored::Stored;
use super::trace::Trace;
use super::wire::Wire;

/// What can happen, and to whom.
#[derive(Clone, Debug)]
enum Event {
    Tick { node: usize, at: u64 },
    Frame { link: LinkId, node: usize, bytes: Vec<u8> },
    Sent { link: LinkId, node: usize, bytes: usize },
    Sync { node: usize, boot: u64 },
    Break { link: LinkId, node: usize },
    Meet,
    Visit { node: usize, to: NodeId },
    Boot { node: usize },
    Reopen { node: usize, boot: u64 },
}

impl Event {
    /// The node that it happens in; none where it happens to the machine under it, or to the wire.
    fn inside(&self) -> Option<usize> {
        match self {
            Self::Tick { node, .. }
            | Self::Frame { node, .. }
            | Self::Sent { node, .. }
            | Self::Sync { node, .. }
            | Self::Break { node, .. }
            | Self::Visit { node, .. } => Some(*node),
            Self::Meet | Self::Boot { .. } | Self::Reopen { .. } => None,
        }
    }
}

/// A write that somebody waits for.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Who was asked.
    pub(super) node: usize,
    /// In which group.
    pub(super) group: GroupId,
    /// The item that it adds to a list, with its resource.
    pub(super) adds: Option<(u8, String)>,
    /// True once the disk that it was first made durable on was damaged: others have it.
    pub(super) forgotten: bool,
}

/// The whole world.
pub(super) struct World {
    /// Its nodes.
    pub(super) nodes: Vec<Node>,
    /// What is between them.
    pub(super) wire: Wire,
    /// Microseconds since the beginning.
    pub(super) now: u64,
    /// What goes wrong by itself.
    pub(super) faults: Faults,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    network: Dice,
    storage: Dice,
    /// Answers that came, by caller.
    pub(super) answers: BTreeMap<Caller, Result<Answer, Declined>>,
    callers: u64,
    /// Changes that were acknowledged to an operator.
    pub(super) acknowledged: BTreeMap<ChangeId, Waiting>,
    waiting: BTreeMap<Caller, Waiting>,
    /// Which nodes were ever given a code of a group, or founded it.
    pub(super) invited: BTreeMap<GroupId, BTreeSet<usize>>,
    /// The node that founds a group just now: whatever group it writes first is that.
    pub(super) founding: Option<usize>,
    /// Since when a node knows that another one is no member of a group.
    outsiders: BTreeMap<(usize, usize, GroupId), u64>,
    /// Since when a node has a change in quarantine.
    quarantined: BTreeMap<(usize, ChangeId), u64>,
    /// True if who is in a group may change, and machines need not be what they were.
    pub(super) churns: bool,
    /// What was read of rows before.
    pub(super) read: Stored,
    /// What did not hold. A run ends with the first.
    pub(super) violations: Vec<(Invariant, String)>,
    /// What happened.
    pub(super) trace: Trace,
    /// Rare situations that were reached.
    pub(super) marks: Marks,
    /// How many events were handled.
    pub(super) events: u64,
    /// Frames that carried more than a sign of life, and batches, since the world is to be quiet.
    pub(super) noise: u64,
}

impl World {
    /// A world of nodes that are in no group yet.
    pub(super) fn new(plan: &Plan, trace: Trace) -> Self {
        let mut keys = Dice::new(plan.seed, "keys");
        let mut drifts = Dice::new(plan.seed, "drift");
        let most = i64::try_from(plan.faults.drift).unwrap_or(0);
        let node = |_| {
            let drift = i64::try_from(drifts.roll(2 * plan.faults.drift + 1)).unwrap_or(0) - most;
            Node::new(Secret::from_bytes(&keys.seed()), drift)
        };
        let mut world = Self {
            nodes: (0..plan.nodes).map(node).collect(),
            wire: Wire::default(),
            now: 0,
            faults: Faults::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            network: Dice::new(plan.seed, "network"),
            storage: Dice::new(plan.seed, "storage"),
            answers: BTreeMap::new(),
            callers: 0,
            acknowledged: BTreeMap::new(),
            waiting: BTreeMap::new(),
            invited: BTreeMap::new(),
            founding: None,
            outsiders: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            churns: plan.churns(),
            read: Stored::default(),
            violations: Vec::new(),
            trace,
            marks: Marks::default(),
            events: 0,
            noise: 0,
        };
        world.faults = plan.faults.clone();
        for node in 0..plan.nodes {
            world.boot(node);
        }
        world.after(links::MEET, Event::Meet);
        world
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    /// Notes what does not hold.
    pub(super) fn violate(&mut self, what: Invariant, words: String) {
        self.violations.push((what, words));
    }

    /// Asks a node for something.
    pub(super) fn ask(&mut self, node: usize, request: Request) -> Caller {
        self.ask_for(node, request, None)
    }

    /// Asks a node for something; if it is a write, it adds that item to a list.
    pub(super) fn ask_for(&mut self, node: usize, request: Request, adds: Option<(u8, String)>) -> Caller {
        self.callers += 1;
        let caller = Caller(self.callers);
        if let Request::Write(write) = &request {
            self.waiting.insert(caller, Waiting { node, group: write.group, adds, forgotten: false });
        }
        self.input(node, Input::Request { caller, request });
        caller
    }

    /// Hands an input to a node, if it runs.
    pub(super) fn input(&mut self, node: usize, input: Input) {
        let now = self.nodes[node].now(self.now);
        self.nodes[node].latest = self.nodes[node].latest.max(now.wall);
        let Some(machine) = self.nodes[node].machine.as_mut() else { return };
        self.trace.input(self.now, node, &input);
        let effects = machine.handle(now, input);
        self.note_quarantine(node);
        self.carry_out(node, effects);
        self.schedule(node);
        match judge(&self.nodes[node], self.nodes[node].judged, &mut self.read) {
            Ok(held) => self.nodes[node].judged = held,
            Err((what, words)) => self.violate(what, format!("node {node}: {words}")),
        }
    }

    fn schedule(&mut self, node: usize) {
        let of = &self.nodes[node];
        let Some(machine) = of.machine.as_ref() else { return };
        let at = of.at(machine.next_wake()).max(self.now + 1000);
        if at < of.wake || of.wake <= self.now {
            self.nodes[node].wake = at;
            self.after(at - self.now, Event::Tick { node, at });
        }
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        let last = effects.len();
        for (nth, effect) in effects.into_iter().enumerate() {
            if let Some((left, pause)) = self.nodes[node].dies {
                if left == 0 {
                    if nth > 0 && nth < last {
                        self.marks.reach("crash-midway");
                    }
                    return self.crash(node, pause, 0);
                }
                self.nodes[node].dies = Some((left - 1, pause));
            }
            self.trace.effect(self.now, node, &effect);
            self.watch(node, &effect);
            match effect {
                Effect::Store { token, rows } => {
                    self.noise += 1;
                    self.nodes[node].disk.write(token, rows);
                    self.start_sync(node);
                }
                Effect::Send { link, bytes } => self.send(node, link, bytes),
                Effect::Close { link, .. } => self.close(node, link),
                Effect::Visit { peer } => {
                    let delay = self.network.between(100, self.faults.delay.max(100));
                    self.after(delay, Event::Visit { node, to: peer });
                }
                Effect::Members(members) => self.nodes[node].members = members,
                Effect::Answer { caller, answer } => self.answered(caller, answer),
                Effect::Learn { .. } | Effect::Changed { .. } | Effect::Notice(_) => {}
            }
        }
    }

    fn answered(&mut self, caller: Caller, answer: Result<Answer, Declined>) {
        let waiting = self.waiting.remove(&caller);
        self.watch_answer(waiting.as_ref(), &answer);
        if let (Some(waiting), Ok(Answer::Written(Some(change)))) = (waiting, &answer) {
            self.acknowledged.insert(*change, waiting);
        }
        self.answers.insert(caller, answer);
    }

    /// Handles the next event. False if there is none.
    pub(super) fn step(&mut self) -> bool {
        let Some(((at, sequence), event)) = self.queue.pop_first() else { return false };
        self.now = self.now.max(at);
        if let Some(until) =
            event.inside().map(|node| self.nodes[node].frozen).filter(|until| *until > self.now)
        {
            // What waits for a node that stands still keeps its order.
            self.queue.insert((until, sequence), event);
            return true;
        }
        self.events += 1;
        match event {
            Event::Tick { node, at } => {
                // Only the newest alarm rings.
                if self.nodes[node].wake == at {
                    self.nodes[node].wake = 0;
                    self.input(node, Input::Tick);
                }
            }
            Event::Frame { link, node, bytes } => {
                if self.wire.hears(link, node) {
                    self.input(node, Input::Frame { link, bytes });
                }
            }
            Event::Sent { link, node, bytes } => self.input(node, Input::Sent { link, bytes }),
            Event::Sync { node, boot } => self.synced(node, boot),
            Event::Break { link, node } => self.break_link(link, node),
            Event::Meet => self.meet(),
            Event::Visit { node, to } => self.visit(node, to),
            Event::Boot { node } => self.boot(node),
            Event::Reopen { node, boot } => self.reopen(node, boot),
        }
        true
    }

    /// Runs until `until`, or until the condition holds, or something does not that must; true if the condition does.
    /// It is looked at now and then, since it may be dear.
    pub(super) fn run(&mut self, until: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        const EVERY: u64 = 16;
        let mut handled = 0;
        loop {
            if !self.violations.is_empty() {
                return false;
            }
            if handled % EVERY == 0 && done(self) {
                return true;
            }
            handled += 1;
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            if next.is_none_or(|at| at > until) {
                self.now = self.now.max(until);
                return done(self);
            }
            self.step();
        }
    }
}
