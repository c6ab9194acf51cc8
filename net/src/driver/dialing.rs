//! Connects discovery and dialer: what is discovered is dialed.

use std::net::SocketAddr;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::swarm::{ConnectionId, DialError};

use crate::discovery::address_book::AddressOrigin;
use crate::driver::Driver;
use crate::event::{DiscoverySource, GuestStreamError, NetEvent};
use crate::{address, key};

impl Driver {
    /// Handles a discovery of `node` at `socket`.
    pub(super) fn on_discovered(
        &mut self,
        node: NodeId,
        socket: SocketAddr,
        source: DiscoverySource,
        now: Instant,
    ) {
        if self.shutdown.is_shutting_down() {
            return;
        }
        let effects = &mut self.effects;
        let Some(is_newcomer) = self.discovery.on_discovered(node, socket, source, effects, now) else {
            return;
        };
        let is_missing = self.members.contains(node) && !self.peers.connections.is_connected(node);
        if is_missing {
            let head_start = self.dial_head_start(node);
            self.dialer.on_missing_discovered(node, head_start, &mut self.effects, now);
        }
        // A newcomer may not know this node. A leader that misses this node must learn of it, because the
        // leader dials. (A leader dials and does not answer, so two nodes never answer each other endlessly.)
        if is_newcomer || (is_missing && !self.members.leads(node)) {
            self.discovery.beacons.announce(now);
        }
    }

    /// Dials all missing members and static peers now, because the network may have changed.
    pub(super) fn dial_missing_members(&mut self, now: Instant) {
        for node in self.peers.connections.missing() {
            let head_start = self.dial_head_start(node);
            self.dialer.on_missing_discovered(node, head_start, &mut self.effects, now);
        }
        self.dialer.static_peers().dial_all_now(now);
    }

    /// Starts the dials that are due, and ends those that took too long.
    pub(super) fn run_due_dials(&mut self, now: Instant) {
        for node in self.dialer.due_nodes(now) {
            let is_wanted = self.members.contains(node) || self.peers.guests.is_dialing(node);
            if self.peers.connections.is_connected(node) || !is_wanted {
                self.dialer.cancel(node);
                continue;
            }
            let sockets = self.discovery.dial_addresses(node);
            if self.dialer.run_due(node, &sockets, &mut self.effects, now) {
                self.fail_guest_stream_if_dialing(node, now);
            }
        }
        let (connections, address_book) = (&self.peers.connections, &self.discovery.address_book);
        let connected_node_at =
            |socket| address_book.nodes_at(socket).find(|node| connections.is_connected(*node));
        self.dialer.run_due_static(connected_node_at, &mut self.effects, now);
    }

    /// Records the address at which a dial succeeded.
    pub(super) fn on_dial_answered(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        socket: SocketAddr,
        now: Instant,
    ) {
        let is_static = self.dialer.static_peers().on_dial_answered(connection, node).is_some();
        let origin = if is_static { AddressOrigin::Static } else { AddressOrigin::Dialled };
        let is_other_address = self.discovery.address_book.on_dial_answered(node, socket, origin, now);
        if is_static {
            self.discovery.report(node, DiscoverySource::Static, &mut self.effects, now);
        }
        if is_other_address {
            let addr = address::to_multiaddr(socket);
            self.effects.report(NetEvent::AddressConfirmed { peer: node, addr });
        }
    }

    /// Handles a dial that ended without a connection.
    pub(super) fn on_dial_failed(
        &mut self,
        node: Option<NodeId>,
        connection: ConnectionId,
        error: &DialError,
        now: Instant,
    ) {
        let socket_of = |addr| address::parse_dial_target(addr).map(|target| target.socket);
        match (error, node) {
            (DialError::WrongPeerId { obtained, address }, Some(node)) => {
                if let (Some(socket), Some(obtained)) = (socket_of(address), key::node_id_of(obtained)) {
                    return self.on_wrong_node(node, obtained, socket, connection, now);
                }
            }
            (DialError::LocalPeerId { address }, _) => {
                let local_node = self.members.local_node();
                self.dialer.static_peers().on_dial_answered(connection, local_node);
                if let (Some(node), Some(socket)) = (node, socket_of(address)) {
                    self.discovery.address_book.remove_address(node, socket);
                }
            }
            _ => {}
        }
        if self.dialer.on_dial_failed(node, connection, now)
            && let Some(node) = node
        {
            tracing::debug!(peer = %node.short(), %error, "dial failed");
            self.fail_guest_stream_if_dialing(node, now);
        }
    }

    /// Handles another node at an address of `node`.
    fn on_wrong_node(
        &mut self,
        node: NodeId,
        actual: NodeId,
        socket: SocketAddr,
        connection: ConnectionId,
        now: Instant,
    ) {
        let (expected, found) = (node.short(), actual.short());
        tracing::info!(%expected, %found, %socket, "another node answers at this address");
        let address_book = &mut self.discovery.address_book;
        address_book.remove_address(node, socket);
        self.dialer.static_peers().forget_node_at(socket, now);
        if actual != self.members.local_node() {
            address_book.add_address(actual, socket, AddressOrigin::Dialled, now);
            self.plan_dial_of_missing(actual, now);
        }
        let has_other_address = !self.discovery.address_book.addresses_of(node).is_empty();
        if self.dialer.on_wrong_node(node, connection, has_other_address, now) {
            self.fail_guest_stream_if_dialing(node, now);
        }
    }

    fn fail_guest_stream_if_dialing(&mut self, node: NodeId, now: Instant) {
        if self.peers.guests.is_dialing(node) {
            let (peers, mut ctx) = self.peers_with_context(now);
            peers.fail_guest_stream(node, GuestStreamError::Unreachable, &mut ctx);
        }
    }
}
