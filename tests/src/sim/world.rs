//! The event queue, the nodes, and the responses to requests.
//!
//! | module           | contents                                                            |
//! |------------------|---------------------------------------------------------------------|
//! | `node`           | one node: key, disk, clock, and the core's node                     |
//! | `node_lifecycle` | how nodes start, crash and pause, and what their disks do           |
//! | `links`          | how nodes meet, and what becomes of a frame                         |
//! | `disk_copies`    | hosts that are rolled back, and data directories that are copied    |
//! | `damage`         | stores with missing or wrong rows                                   |
//! | `effect_checks`  | what must hold of every single effect                               |

mod damage;
mod disk_copies;
mod effect_checks;
mod links;
mod node;
mod node_lifecycle;

use std::collections::{BTreeMap, BTreeSet};

use larder_core::id::{ChangeId, GroupId, NodeId, SecretKey};
use larder_core::node::{Effect, Input, LinkId, Request, RequestError, RequestId, Response, WriteRequest};
use larder_core::typed_name::GroupName;

pub(super) use node::SimNode;

use super::coverage::Coverage;
use super::invariants::Invariant;
use super::network::SimNetwork;
use super::node_checks::check_if_changed;
use super::plan::{Faults, Plan};
use super::stored_state::StoredStateReader;
use super::trace::EventTrace;
use crate::rng::TestRng;

/// An event, and the node or link that it concerns.
#[derive(Clone, Debug)]
enum WorldEvent {
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

impl WorldEvent {
    /// The node that handles the event; `None` for an event of the host or of the network. A frozen node
    /// handles no events.
    fn node_index(&self) -> Option<usize> {
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

/// A write whose response is pending.
#[derive(Clone, Debug)]
pub(super) struct PendingWrite {
    /// The node that received the request.
    pub(super) node: usize,
    pub(super) group: GroupId,
    /// The item that the write adds to a list, with the index of the resource.
    pub(super) list_item: Option<(u8, String)>,
    /// True after the disk on which the write was first made durable was damaged; then other nodes must have
    /// it.
    pub(super) is_forgotten: bool,
}

/// The whole simulated world.
pub(super) struct World {
    pub(super) nodes: Vec<SimNode>,
    pub(super) network: SimNetwork,
    /// The virtual time in microseconds since the start.
    pub(super) now: u64,
    pub(super) faults: Faults,
    event_queue: BTreeMap<(u64, u64), WorldEvent>,
    sequence: u64,
    network_rng: TestRng,
    storage_rng: TestRng,
    pub(super) answers: BTreeMap<RequestId, Result<Response, RequestError>>,
    next_request: u64,
    /// The changes that were acknowledged to an operator.
    pub(super) acknowledged_writes: BTreeMap<ChangeId, PendingWrite>,
    pending_writes: BTreeMap<RequestId, PendingWrite>,
    /// The nodes that were ever given an invite code of a group, or that created it.
    pub(super) invited_nodes: BTreeMap<GroupId, BTreeSet<usize>>,
    /// The node that is creating a group. The next new group that it stores is that group.
    pub(super) founding_node: Option<usize>,
    /// The time since when a node knows that another node is not a member of a group.
    non_member_since: BTreeMap<(usize, usize, GroupId), u64>,
    /// The time since when a node has a change in quarantine.
    quarantined_since: BTreeMap<(usize, ChangeId), u64>,
    /// True if the run can change the membership, or can copy, roll back or forge.
    pub(super) changes_membership: bool,
    pub(super) stored_state: StoredStateReader,
    /// The violations. A run ends with the first.
    pub(super) violations: Vec<(Invariant, String)>,
    pub(super) trace: EventTrace,
    pub(super) coverage: Coverage,
    /// The number of handled events.
    pub(super) events: u64,
    /// The number of frames (other than presence) and of batches since the world should be quiet.
    pub(super) traffic: u64,
}

impl World {
    /// Creates a world of nodes that are in no group yet.
    pub(super) fn new(plan: &Plan, trace: EventTrace) -> Self {
        let mut keys = TestRng::new(plan.seed, "keys");
        let mut drifts = TestRng::new(plan.seed, "drift");
        let most = i64::try_from(plan.faults.drift).unwrap_or(0);
        let node = |_| {
            let drift = i64::try_from(drifts.below(2 * plan.faults.drift + 1)).unwrap_or(0) - most;
            SimNode::new(SecretKey::from_bytes(&keys.next_seed()), drift)
        };
        let mut world = Self {
            nodes: (0..plan.nodes).map(node).collect(),
            network: SimNetwork::default(),
            now: 0,
            faults: Faults::default(),
            event_queue: BTreeMap::new(),
            sequence: 0,
            network_rng: TestRng::new(plan.seed, "network"),
            storage_rng: TestRng::new(plan.seed, "storage"),
            answers: BTreeMap::new(),
            next_request: 0,
            acknowledged_writes: BTreeMap::new(),
            pending_writes: BTreeMap::new(),
            invited_nodes: BTreeMap::new(),
            founding_node: None,
            non_member_since: BTreeMap::new(),
            quarantined_since: BTreeMap::new(),
            changes_membership: plan.changes_membership(),
            stored_state: StoredStateReader::default(),
            violations: Vec::new(),
            trace,
            coverage: Coverage::default(),
            events: 0,
            traffic: 0,
        };
        world.faults = plan.faults.clone();
        for node in 0..plan.nodes {
            world.boot_node(node);
        }
        world.schedule_event(links::LINK_INTERVAL_US, WorldEvent::Meet);
        world
    }

    fn schedule_event(&mut self, delay: u64, event: WorldEvent) {
        self.sequence += 1;
        self.event_queue.insert((self.now + delay, self.sequence), event);
    }

    /// Records a violation.
    pub(super) fn record_violation(&mut self, what: Invariant, detail: String) {
        self.violations.push((what, detail));
    }

    /// Sends a request to a node.
    pub(super) fn send_request(&mut self, node: usize, request: Request) -> RequestId {
        self.send_request_adding(node, request, None)
    }

    /// Sends a request to a node. If it is a write, it adds `list_item` to a list.
    pub(super) fn send_request_adding(
        &mut self,
        node: usize,
        request: Request,
        adds: Option<(u8, String)>,
    ) -> RequestId {
        self.next_request += 1;
        let request_id = RequestId(self.next_request);
        if let Request::Write(WriteRequest { group: GroupName::Id(group), .. }) = &request {
            self.pending_writes.insert(
                request_id,
                PendingWrite { node, group: *group, list_item: adds, is_forgotten: false },
            );
        }
        self.deliver_input(node, Input::Request { request_id, request });
        request_id
    }

    /// Delivers an input to a node, if the node runs.
    pub(super) fn deliver_input(&mut self, node: usize, input: Input) {
        let now = self.nodes[node].clocks_at(self.now);
        self.nodes[node].latest_wall = self.nodes[node].latest_wall.max(now.unix_secs);
        let Some(core_node) = self.nodes[node].core_node.as_mut() else { return };
        self.trace.record_input(self.now, node, &input);
        let effects = core_node.handle(now, input);
        self.track_quarantine(node);
        self.apply_effects(node, effects);
        self.schedule_tick(node);
        match check_if_changed(&self.nodes[node], self.nodes[node].checked, &mut self.stored_state) {
            Ok(held) => self.nodes[node].checked = held,
            Err((what, detail)) => self.record_violation(what, format!("node {node}: {detail}")),
        }
    }

    fn schedule_tick(&mut self, node: usize) {
        let sim_node = &self.nodes[node];
        let Some(core_node) = sim_node.core_node.as_ref() else { return };
        let Some(wake_at) = core_node.next_wake_at() else { return };
        let wake_at = sim_node.world_time_of(wake_at).max(self.now + 1000);
        if wake_at < sim_node.next_tick || sim_node.next_tick <= self.now {
            self.nodes[node].next_tick = wake_at;
            self.schedule_event(wake_at - self.now, WorldEvent::Tick { node, at: wake_at });
        }
    }

    fn apply_effects(&mut self, node: usize, effects: Vec<Effect>) {
        let last = effects.len();
        for (nth, effect) in effects.into_iter().enumerate() {
            if let Some((left, pause)) = self.nodes[node].dies_after {
                if left == 0 {
                    if nth > 0 && nth < last {
                        self.coverage.record("crash-midway");
                    }
                    return self.crash_node(node, pause, 0);
                }
                self.nodes[node].dies_after = Some((left - 1, pause));
            }
            self.trace.record_effect(self.now, node, &effect);
            self.check_effect(node, &effect);
            match effect {
                Effect::Store { batch_id, rows } => {
                    self.traffic += 1;
                    self.nodes[node].disk.write(batch_id, rows);
                    self.schedule_disk_sync(node);
                }
                Effect::Send { link, bytes } => self.send_frame(node, link, bytes),
                Effect::Close { link, .. } => self.close_stream(node, link),
                Effect::OpenGuestStream { peer } => {
                    let delay = self.network_rng.between(100, self.faults.delay.max(100));
                    self.schedule_event(delay, WorldEvent::Visit { node, to: peer });
                }
                Effect::SetMembers(members) => self.nodes[node].linked_members = members,
                Effect::Respond { request_id, response: answer } => self.on_response(request_id, answer),
                Effect::LearnAddresses { .. } | Effect::DesiredChanged { .. } | Effect::Event(_) => {}
            }
        }
    }

    fn on_response(&mut self, request_id: RequestId, answer: Result<Response, RequestError>) {
        let waiting = self.pending_writes.remove(&request_id);
        self.check_response(waiting.as_ref(), &answer);
        if let (Some(waiting), Ok(Response::Written(Some(change)))) = (waiting, &answer) {
            self.acknowledged_writes.insert(*change, waiting);
        }
        self.answers.insert(request_id, answer);
    }

    /// Handles the next event. Returns false if there is none.
    pub(super) fn handle_next_event(&mut self) -> bool {
        let Some(((at, sequence), event)) = self.event_queue.pop_first() else { return false };
        self.now = self.now.max(at);
        if let Some(until) =
            event.node_index().map(|node| self.nodes[node].frozen_until).filter(|until| *until > self.now)
        {
            // Events for a frozen node keep their order.
            self.event_queue.insert((until, sequence), event);
            return true;
        }
        self.events += 1;
        match event {
            WorldEvent::Tick { node, at } => {
                // Only the newest wake-up time counts.
                if self.nodes[node].next_tick == at {
                    self.nodes[node].next_tick = 0;
                    self.deliver_input(node, Input::Tick);
                }
            }
            WorldEvent::Frame { link, node, bytes } => {
                if self.network.can_receive(link, node) {
                    self.deliver_input(node, Input::FrameReceived { link, bytes });
                }
            }
            WorldEvent::Sent { link, node, bytes } => {
                self.deliver_input(node, Input::BytesSent { link, bytes })
            }
            WorldEvent::Sync { node, boot } => self.on_disk_sync(node, boot),
            WorldEvent::Break { link, node } => self.break_link_end(link, node),
            WorldEvent::Meet => self.link_members(),
            WorldEvent::Visit { node, to } => self.open_guest_stream(node, to),
            WorldEvent::Boot { node } => self.boot_node(node),
            WorldEvent::Reopen { node, boot } => self.reopen_store(node, boot),
        }
        true
    }

    /// Runs until the time `until`, the condition `done`, or a violation. Returns true if the condition
    /// holds. The condition may be expensive, so it is checked after every sixteenth event only.
    pub(super) fn run_until(&mut self, until: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
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
            let next = self.event_queue.first_key_value().map(|((at, _), _)| *at);
            if next.is_none_or(|at| at > until) {
                self.now = self.now.max(until);
                return done(self);
            }
            self.handle_next_event();
        }
    }
}
