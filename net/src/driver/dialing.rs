//! Reacts to discovered nodes and dials missing ones.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use larder_core::id::NodeId;
use libp2p::mdns;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::DialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};

use crate::discovery::address_book::AddressOrigin;
use crate::discovery::beacon_socket::ReceivedBeacon;
use crate::driver::{Driver, random_delay};
use crate::event::{DiscoverySource, GuestStreamError, NetEvent};
use crate::peer::OutgoingGuestState;
use crate::{address, key, limits};

/// The delay before a dial is tried again when all dial slots are in use.
const DIAL_SLOT_RETRY_DELAY: Duration = Duration::from_millis(50);

impl Driver {
    pub(super) fn on_beacon(&mut self, received: ReceivedBeacon, now: Instant) {
        self.on_discovered(received.node, received.socket, DiscoverySource::Beacon, now);
    }

    pub(super) fn on_mdns(&mut self, event: mdns::Event, now: Instant) {
        if let mdns::Event::Discovered(discovered) = event {
            for (peer, addr) in discovered {
                if let (Some(node), Some(target)) =
                    (key::node_id_of(&peer), address::parse_dial_target(&addr))
                {
                    self.on_discovered(node, target.socket, DiscoverySource::Mdns, now);
                }
            }
        }
        self.mdns_limiter.pause_if_flooded(&mut self.swarm.behaviour_mut().mdns, &self.limit_stats, now);
    }

    /// Handles a discovery of `node` at `socket`.
    fn on_discovered(&mut self, node: NodeId, socket: SocketAddr, source: DiscoverySource, now: Instant) {
        if self.shutdown.is_shutting_down() || !self.is_acceptable_address(node, socket) {
            return;
        }
        let is_newcomer = self.address_book.is_newcomer(node, now);
        self.address_book.add_address(node, socket, AddressOrigin::Discovered, now);
        self.report_discovered(node, source, now);
        let is_missing =
            self.is_member(node) && self.peers.get(&node).is_some_and(|peer| !peer.is_connected());
        if is_missing {
            self.on_missing_member_discovered(node, now);
        }
        // A newcomer may not know this node. A leader that misses this node must learn of it, because the
        // leader dials. (A leader dials and does not answer, so two nodes never answer each other endlessly.)
        if is_newcomer || (is_missing && !self.is_leader_towards(node)) {
            self.answer_with_beacon(now);
        }
    }

    fn answer_with_beacon(&mut self, now: Instant) {
        if !self.beacon_sockets.is_empty() {
            self.beacon_schedule.plan_after(now, random_delay(limits::MAX_BEACON_REPLY_DELAY));
        }
    }

    /// Resets the backoff of a discovered missing member and replaces a stale dial.
    fn on_missing_member_discovered(&mut self, node: NodeId, now: Instant) {
        let head_start = self.dial_head_start(node);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.dial.on_peer_discovered(now, head_start) {
            peer.dial.clear_in_flight();
            let _ = self.swarm.disconnect_peer_id(peer.peer_id);
        }
    }

    /// Dials all missing members and static peers now, because the network may have changed.
    pub(super) fn dial_missing_members(&mut self, now: Instant) {
        let is_missing = |node: &NodeId| self.peers.get(node).is_some_and(|peer| !peer.is_connected());
        let missing_nodes: Vec<_> = self.members.iter().copied().filter(is_missing).collect();
        for node in missing_nodes {
            self.on_missing_member_discovered(node, now);
        }
        self.static_peers.dial_all_now(now);
    }

    pub(super) fn report_discovered(&mut self, peer: NodeId, source: DiscoverySource, now: Instant) {
        if let Some(sockets) = self.address_book.addresses_to_report(peer, now) {
            let addrs = sockets.into_iter().map(address::to_multiaddr).collect();
            self.event_backlog.push(NetEvent::NodeDiscovered { peer, addrs, source });
        }
    }

    /// Starts the dial of `node` that is due, or abandons one that timed out.
    pub(super) fn run_due_dial(&mut self, node: NodeId, now: Instant) {
        let is_member = self.is_member(node);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.dial.due().is_none_or(|due| due > now) {
            return;
        }
        if peer.is_connected()
            || !(is_member || matches!(peer.outgoing_guest, OutgoingGuestState::Dialing(_)))
        {
            peer.dial.clear();
        } else if peer.dial.in_flight().is_some() {
            peer.dial.abandon_and_back_off(now);
            let _ = self.swarm.disconnect_peer_id(peer.peer_id);
            self.fail_guest_stream_if_dialing(node);
        } else {
            self.start_dial(node, now);
        }
    }

    fn start_dial(&mut self, node: NodeId, now: Instant) {
        let sockets: Vec<_> = self
            .address_book
            .addresses_of(node)
            .into_iter()
            .filter(|socket| self.is_acceptable_address(node, *socket))
            .collect();
        let dials_in_flight = self.peers.values().filter(|peer| peer.dial.in_flight().is_some()).count();
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if sockets.is_empty() {
            // The next learned address plans a new dial.
            peer.dial.clear();
            return;
        }
        if dials_in_flight >= limits::MAX_DIALS_IN_FLIGHT {
            peer.dial.clear();
            peer.dial.plan_no_later_than(now + DIAL_SLOT_RETRY_DELAY);
            return;
        }
        // Each dial uses a new port. With the listener's port on both sides, two dials at the same moment are
        // a TCP simultaneous open with two Noise initiators; 30-58 % of such trials ended without a
        // connection.
        let opts = DialOpts::peer_id(peer.peer_id)
            .condition(PeerCondition::Always)
            .addresses(sockets.into_iter().map(address::to_multiaddr).collect())
            .allocate_new_port()
            .build();
        peer.dial.on_dial_started(opts.connection_id(), now);
        if let Err(error) = self.swarm.dial(opts) {
            tracing::debug!(peer = %node.short(), %error, "dial not started");
            peer.dial.abandon_and_back_off(now);
        }
    }

    /// Dials the due static peers, to learn their node ids.
    pub(super) fn dial_static_peers(&mut self, now: Instant) {
        while let Some(static_peer) = self.static_peers.next_due(now) {
            let socket = static_peer.socket;
            let is_connected = |node: &NodeId| self.peers.get(node).is_some_and(|peer| peer.is_connected());
            if let Some(node) = self.address_book.nodes_at(socket).find(is_connected) {
                static_peer.node = Some(node);
                continue;
            }
            let opts = DialOpts::unknown_peer_id()
                .address(address::to_multiaddr(socket))
                .allocate_new_port()
                .build();
            let connection = opts.connection_id();
            match self.swarm.dial(opts) {
                Ok(()) => static_peer.on_dial_started(connection),
                Err(_) => static_peer.postpone(now),
            }
        }
    }

    /// Handles a dial that ended without a connection.
    pub(super) fn on_dial_failed(
        &mut self,
        node: Option<NodeId>,
        connection: ConnectionId,
        error: DialError,
        now: Instant,
    ) {
        let socket_of = |addr| address::parse_dial_target(addr).map(|target| target.socket);
        match (&error, node) {
            (DialError::WrongPeerId { obtained, address }, Some(node)) => {
                if let (Some(socket), Some(obtained)) = (socket_of(address), key::node_id_of(obtained)) {
                    self.on_wrong_node(node, obtained, socket, connection, now);
                    return;
                }
            }
            (DialError::LocalPeerId { address }, _) => {
                self.static_peers.on_dial_answered(connection, self.local_node);
                if let (Some(node), Some(socket)) = (node, socket_of(address)) {
                    self.address_book.remove_address(node, socket);
                }
            }
            _ => {}
        }
        if self.static_peers.on_dial_failed(connection, now) {
            return;
        }
        let Some(peer) = node.and_then(|node| self.peers.get_mut(&node)) else { return };
        if peer.dial.on_dial_failed(connection, now) {
            tracing::debug!(peer = %peer.node.short(), %error, "dial failed");
            let node = peer.node;
            self.fail_guest_stream_if_dialing(node);
        }
    }

    /// Handles another node at an address of `node`. libp2p then fails the whole dial, so the other addresses
    /// are dialed again.
    fn on_wrong_node(
        &mut self,
        node: NodeId,
        actual: NodeId,
        socket: SocketAddr,
        connection: ConnectionId,
        now: Instant,
    ) {
        tracing::info!(expected = %node.short(), found = %actual.short(), %socket, "another node answers at \
            this address");
        self.address_book.remove_address(node, socket);
        self.static_peers.forget_node_at(socket, now);
        if actual != self.local_node {
            self.address_book.add_address(actual, socket, AddressOrigin::Dialled, now);
            self.plan_dial_of_missing(actual, now);
        }
        let has_other_address = !self.address_book.addresses_of(node).is_empty();
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if has_other_address && peer.dial.in_flight().is_some_and(|flight| flight.connection == connection) {
            peer.dial.clear_in_flight();
            peer.dial.plan_no_later_than(now);
        } else if peer.dial.on_dial_failed(connection, now) {
            self.fail_guest_stream_if_dialing(node);
        }
    }

    fn fail_guest_stream_if_dialing(&mut self, node: NodeId) {
        if self
            .peers
            .get(&node)
            .is_some_and(|peer| matches!(peer.outgoing_guest, OutgoingGuestState::Dialing(_)))
        {
            self.fail_guest_stream(node, GuestStreamError::Unreachable);
        }
    }
}
