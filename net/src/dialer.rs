//! Dials missing nodes and the operator's peers. Pure: the caller passes the time and carries out the dials.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use larder_core::id::NodeId;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};

use crate::dial::DialState;
use crate::discovery::static_peers::StaticPeers;
use crate::effects::{DriverEffects, SwarmAction};
use crate::jitter::random_delay;
use crate::{address, key, limits};

/// The delay before a dial is tried again when all dial slots are in use.
const DIAL_SLOT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The dials of members, of nodes that get a guest stream, and of the operator's addresses.
#[derive(Default)]
pub(crate) struct Dialer {
    dials: BTreeMap<NodeId, DialState>,
    static_peers: StaticPeers,
}

/// The time that this node waits for the leader of a pair to dial first. A leader that was not discovered may
/// not know this node, so the wait is shorter.
pub(crate) fn head_start(is_leader_here: bool, has_undiscovered_address: bool) -> Duration {
    let head_start = if is_leader_here {
        return Duration::ZERO;
    } else if has_undiscovered_address {
        limits::LEADER_HEAD_START
    } else {
        limits::DISCOVERED_LEADER_HEAD_START
    };
    head_start + random_delay(limits::LEADER_HEAD_START)
}

impl Dialer {
    /// Keeps a dial state of `node` from now on, without a plan.
    pub(crate) fn track(&mut self, node: NodeId) {
        self.dials.entry(node).or_insert_with(DialState::new);
    }

    /// Forgets the nodes that are no longer used.
    pub(crate) fn retain(&mut self, is_used: impl Fn(NodeId) -> bool) {
        self.dials.retain(|node, _| is_used(*node));
    }

    /// The dial state of a tracked node.
    pub(crate) fn get_mut(&mut self, node: NodeId) -> Option<&mut DialState> {
        self.dials.get_mut(&node)
    }

    /// Plans a dial of a tracked node after `delay`, unless one is in progress or planned for earlier.
    pub(crate) fn plan(&mut self, node: NodeId, delay: Duration, now: Instant) {
        if let Some(dial) = self.get_mut(node).filter(|dial| dial.in_flight().is_none()) {
            dial.plan_no_later_than(now + delay);
        }
    }

    /// Cancels the plan and the dial of a node, because it is connected or no longer wanted.
    pub(crate) fn cancel(&mut self, node: NodeId) {
        if let Some(dial) = self.get_mut(node) {
            dial.clear();
        }
    }

    /// Cancels all plans.
    pub(crate) fn cancel_all(&mut self) {
        self.dials.values_mut().for_each(DialState::clear);
    }

    /// When the next dial starts or times out.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let due_times = self.dials.values().filter_map(DialState::due);
        due_times.chain(self.static_peers.next_dial_at()).min()
    }

    /// The nodes with a dial that starts or times out now.
    pub(crate) fn due_nodes(&self, now: Instant) -> Vec<NodeId> {
        let due_dials = self.dials.iter().filter(|(_, dial)| dial.due().is_some_and(|due| due <= now));
        due_dials.map(|(node, _)| *node).collect()
    }

    /// Starts the dial of `node` at its addresses, or ends the one that timed out. True if one timed out.
    pub(crate) fn run_due(
        &mut self,
        node: NodeId,
        sockets: &[SocketAddr],
        effects: &mut DriverEffects,
        now: Instant,
    ) -> bool {
        let dials_in_flight = self.dials.values().filter(|dial| dial.in_flight().is_some()).count();
        let Some(dial) = self.dials.get_mut(&node) else { return false };
        if dial.in_flight().is_some() {
            dial.abandon_and_back_off(now);
            effects.act(SwarmAction::Disconnect(node));
            return true;
        }
        dial.clear();
        let Some(peer_id) = key::peer_id_of(node).filter(|_| !sockets.is_empty()) else {
            // The next learned address plans a new dial.
            return false;
        };
        if dials_in_flight >= limits::MAX_DIALS_IN_FLIGHT {
            dial.plan_no_later_than(now + DIAL_SLOT_RETRY_DELAY);
            return false;
        }
        // Each dial uses a new port. With the listener's port on both sides, two dials at the same moment are
        // a TCP simultaneous open with two Noise initiators; 30-58 % of such trials ended without a
        // connection.
        let opts = DialOpts::peer_id(peer_id)
            .condition(PeerCondition::Always)
            .addresses(sockets.iter().copied().map(address::to_multiaddr).collect())
            .allocate_new_port()
            .build();
        dial.on_dial_started(opts.connection_id(), now);
        effects.act(SwarmAction::Dial(Some(node), opts));
        false
    }

    /// Handles a discovery of a missing node: resets its backoff and replaces a stale dial.
    pub(crate) fn on_missing_discovered(
        &mut self,
        node: NodeId,
        head_start: Duration,
        effects: &mut DriverEffects,
        now: Instant,
    ) {
        let Some(dial) = self.get_mut(node) else { return };
        if dial.on_peer_discovered(now, head_start) {
            dial.clear_in_flight();
            effects.act(SwarmAction::Disconnect(node));
        }
    }

    /// Handles a dial that ended without a connection. True if it was the current dial of a node.
    pub(crate) fn on_dial_failed(
        &mut self,
        node: Option<NodeId>,
        connection: ConnectionId,
        now: Instant,
    ) -> bool {
        !self.static_peers.on_dial_failed(connection, now)
            && node
                .and_then(|node| self.get_mut(node))
                .is_some_and(|dial| dial.on_dial_failed(connection, now))
    }

    /// Handles a dial of `node` that reached another node. libp2p then fails the whole dial, so the remaining
    /// addresses are dialed again. True if there is none and the dial has failed.
    pub(crate) fn on_wrong_node(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        has_other_address: bool,
        now: Instant,
    ) -> bool {
        let Some(dial) = self.get_mut(node) else { return false };
        if has_other_address && dial.in_flight().is_some_and(|flight| flight.connection == connection) {
            dial.clear_in_flight();
            dial.plan_no_later_than(now);
            return false;
        }
        dial.on_dial_failed(connection, now)
    }

    /// The operator's addresses without a node id.
    pub(crate) fn static_peers(&mut self) -> &mut StaticPeers {
        &mut self.static_peers
    }

    /// Dials the operator's addresses that are due, unless a node at the address is connected already.
    pub(crate) fn run_due_static(
        &mut self,
        connected_node_at: impl Fn(SocketAddr) -> Option<NodeId>,
        effects: &mut DriverEffects,
        now: Instant,
    ) {
        while let Some(static_peer) = self.static_peers.next_due(now) {
            static_peer.node = connected_node_at(static_peer.socket);
            if static_peer.node.is_none() {
                let addr = address::to_multiaddr(static_peer.socket);
                let opts = DialOpts::unknown_peer_id().address(addr).allocate_new_port().build();
                static_peer.on_dial_started(opts.connection_id());
                effects.act(SwarmAction::Dial(None, opts));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([1; 32]);
    const MS: Duration = Duration::from_millis(1);

    fn socket() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 7440))
    }

    /// Takes the requested actions: the started dials, and how many disconnects there were.
    fn take_actions(effects: &mut DriverEffects) -> (Vec<ConnectionId>, usize) {
        let actions = std::mem::take(&mut effects.swarm_actions);
        let disconnects = actions.iter().filter(|a| matches!(a, SwarmAction::Disconnect(_))).count();
        let dials = actions.iter().filter_map(|action| match action {
            SwarmAction::Dial(_, opts) => Some(opts.connection_id()),
            _ => None,
        });
        (dials.collect(), disconnects)
    }

    #[test]
    fn a_planned_dial_starts_and_is_aborted_after_its_timeout() {
        let (mut dialer, mut effects, start) = (Dialer::default(), DriverEffects::default(), Instant::now());
        dialer.plan(NODE, Duration::ZERO, start);
        assert_eq!(dialer.next_deadline(), None, "the node is not tracked");
        dialer.track(NODE);
        dialer.plan(NODE, 5 * MS, start);
        assert_eq!(dialer.next_deadline(), Some(start + 5 * MS));
        assert!(dialer.due_nodes(start).is_empty());
        let started_at = start + 5 * MS;
        assert_eq!(dialer.due_nodes(started_at), [NODE]);
        assert!(!dialer.run_due(NODE, &[socket()], &mut effects, started_at));
        assert_eq!(take_actions(&mut effects).0.len(), 1);
        let deadline = started_at + limits::DIAL_TIMEOUT;
        assert_eq!(dialer.next_deadline(), Some(deadline));
        assert!(dialer.run_due(NODE, &[socket()], &mut effects, deadline));
        assert_eq!(take_actions(&mut effects), (vec![], 1));
        assert!(dialer.next_deadline().is_some_and(|next| next > deadline), "a later attempt is planned");
    }

    #[test]
    fn a_node_without_an_address_is_not_dialed() {
        let (mut dialer, mut effects, now) = (Dialer::default(), DriverEffects::default(), Instant::now());
        dialer.track(NODE);
        dialer.plan(NODE, Duration::ZERO, now);
        assert!(!dialer.run_due(NODE, &[], &mut effects, now));
        assert!(effects.swarm_actions.is_empty());
        assert_eq!(dialer.next_deadline(), None);
    }

    #[test]
    fn dials_beyond_the_limit_wait_for_a_slot() {
        let (mut dialer, mut effects, now) = (Dialer::default(), DriverEffects::default(), Instant::now());
        let last = u8::try_from(limits::MAX_DIALS_IN_FLIGHT).unwrap();
        for seed in 0..=last {
            dialer.track(NodeId([seed; 32]));
            dialer.plan(NodeId([seed; 32]), Duration::ZERO, now);
            dialer.run_due(NodeId([seed; 32]), &[socket()], &mut effects, now);
        }
        assert_eq!(take_actions(&mut effects).0.len(), limits::MAX_DIALS_IN_FLIGHT);
        assert_eq!(dialer.next_deadline(), Some(now + DIAL_SLOT_RETRY_DELAY));
    }

    #[test]
    fn an_address_of_the_operator_is_dialed_until_a_node_there_is_connected() {
        let (mut dialer, mut effects, now) = (Dialer::default(), DriverEffects::default(), Instant::now());
        dialer.static_peers().add(socket(), now);
        dialer.run_due_static(|_| None, &mut effects, now);
        let (dials, _) = take_actions(&mut effects);
        assert_eq!((dials.len(), dialer.next_deadline()), (1, None));
        assert!(!dialer.on_dial_failed(None, dials[0], now));
        let next = dialer.next_deadline().unwrap();
        assert!(next > now);
        dialer.run_due_static(|_| Some(NODE), &mut effects, next);
        assert_eq!((effects.swarm_actions.len(), dialer.next_deadline()), (0, None));
    }

    #[test]
    fn after_a_wrong_node_only_the_other_addresses_are_dialed_again() {
        let (mut dialer, mut effects, now) = (Dialer::default(), DriverEffects::default(), Instant::now());
        dialer.track(NODE);
        dialer.run_due(NODE, &[socket()], &mut effects, now);
        let (dials, _) = take_actions(&mut effects);
        assert!(!dialer.on_wrong_node(NODE, dials[0], true, now));
        assert_eq!(dialer.next_deadline(), Some(now));
        dialer.run_due(NODE, &[socket()], &mut effects, now);
        let (dials, _) = take_actions(&mut effects);
        assert!(dialer.on_wrong_node(NODE, dials[0], false, now), "no address is left");
        assert!(dialer.next_deadline().is_some_and(|next| next > now));
    }
}
