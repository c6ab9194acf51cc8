//! Reacts to the events of the libp2p swarm.

use std::sync::PoisonError;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, SwarmEvent};

use crate::behaviour::BehaviourEvent;
use crate::discovery::address_book::AddressOrigin;
use crate::driver::Driver;
use crate::event::{DiscoverySource, DownReason, NetEvent};
use crate::peer::{MemberLinkState, OutgoingGuestState, PeerConnection};
use crate::{address, key};

impl Driver {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>, now: Instant) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.on_stream_event(event, now),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(event)) => self.on_mdns(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connection_established(peer_id, connection_id, &endpoint, now);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                if let Some(node) = key::node_id_of(&peer_id) {
                    tracing::debug!(peer = %node.short(), ?cause, "connection closed");
                    self.on_connection_closed(node, connection_id, cause.is_some(), now);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(
                    peer_id.and_then(|peer| key::node_id_of(&peer)),
                    connection_id,
                    error,
                    now,
                );
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "inbound connection failed");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                let changed = self.listeners.on_listen_addr_added(listener_id, &address);
                self.on_listen_change(changed, now);
            }
            SwarmEvent::ExpiredListenAddr { listener_id, address } => {
                let changed = self.listeners.on_listen_addrs_removed(listener_id, &[address]);
                self.on_listen_change(changed, now);
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                tracing::warn!(?addresses, ?reason, "listener closed");
                let changed = self.listeners.on_listen_addrs_removed(listener_id, &addresses);
                self.on_listen_change(changed, now);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener error"),
            _ => {}
        }
    }

    fn on_connection_established(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        now: Instant,
    ) {
        // Admission denies keys that are not Ed25519, so this always succeeds.
        let Some(node) = key::node_id_of(&peer_id) else { return };
        let remote = endpoint.get_remote_address();
        let target = address::parse_dial_target(remote);
        let addr = target.map_or_else(|| remote.clone(), |target| address::to_multiaddr(target.socket));
        let is_dialed_here = endpoint.is_dialer();
        if is_dialed_here && let Some(target) = target {
            self.on_dial_answered(node, connection, target.socket, now);
        }
        let Some(peer) = self.peer_or_insert(node, now) else { return };
        peer.connections.push(PeerConnection {
            id: connection,
            is_dialed_here,
            addr,
            established_at: now,
            last_used_at: now,
            is_closing: false,
        });
        peer.missing_since = None;
        peer.dial.clear();
        self.update_connection_count(node);
        if self.shutdown.is_shutting_down() {
            let _ = self.swarm.disconnect_peer_id(peer_id);
            return;
        }
        if self.is_member(node) {
            self.reconcile_member_link(node);
        }
        if self
            .peers
            .get(&node)
            .is_some_and(|peer| matches!(peer.outgoing_guest, OutgoingGuestState::Dialing(_)))
        {
            self.request_guest_stream(node, now);
        }
    }

    /// Records the address at which a dial succeeded.
    fn on_dial_answered(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        socket: std::net::SocketAddr,
        now: Instant,
    ) {
        if self.static_peers.on_dial_answered(connection, node).is_some() {
            self.address_book.add_address(node, socket, AddressOrigin::Static, now);
            self.report_discovered(node, DiscoverySource::Static, now);
        } else {
            self.address_book.add_address(node, socket, AddressOrigin::Dialled, now);
        }
        let Some(peer) = self.peer_or_insert(node, now) else { return };
        if peer.last_reported_addr.replace(socket) != Some(socket) {
            self.event_backlog
                .push(NetEvent::AddressConfirmed { peer: node, addr: address::to_multiaddr(socket) });
        }
    }

    /// Handles a closed connection. `is_broken` is true if this node did not close it.
    fn on_connection_closed(&mut self, node: NodeId, id: ConnectionId, is_broken: bool, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.connections.retain(|connection| connection.id != id);
        if peer.link_connection() == Some(id) {
            let link = std::mem::replace(&mut peer.link, MemberLinkState::None);
            peer.relink_at = None;
            if let MemberLinkState::Open(handle) = link
                && !is_broken
            {
                handle.queue.end_link(DownReason::Lost);
            }
        }
        // A broken connection wakes the readers of its streams, and they read what has arrived. Yamux does
        // not wake them when this node closes the connection.
        if !is_broken {
            peer.guest_streams
                .iter()
                .filter(|r| r.connection == id)
                .for_each(|r| r.queue.end_link(DownReason::Lost));
        }
        self.update_connection_count(node);
        self.on_connection_count_reduced(node, now);
        self.forget_if_unused(node);
    }

    /// Moves the link to another connection, or marks the peer as missing.
    fn on_connection_count_reduced(&mut self, node: NodeId, now: Instant) {
        let is_member = self.is_member(node);
        let head_start = self.dial_head_start(node);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.is_connected() {
            if is_member {
                self.reconcile_member_link(node);
            }
            return;
        }
        let had_link = std::mem::take(&mut peer.had_link);
        if peer.mark_missing_if_disconnected(now) && is_member && !self.shutdown.is_shutting_down() {
            peer.dial.on_connection_lost(now, had_link, head_start);
            self.beacon_schedule.on_missing_changed(now, self.missing_members(now));
            self.beacon_schedule.plan_soon_if_started(now);
        }
    }

    fn update_connection_count(&mut self, node: NodeId) {
        let count = self.peers.get(&node).map_or(0, |peer| peer.connections.len());
        let mut connection_counts = self.connection_counts.lock().unwrap_or_else(PoisonError::into_inner);
        if count == 0 {
            connection_counts.remove(&node);
        } else {
            connection_counts.insert(node, count);
        }
    }
}
