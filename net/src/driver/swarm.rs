//! What libp2p reports.

use std::sync::PoisonError;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, SwarmEvent};

use crate::behaviour::BehaviourEvent;
use crate::discovery::book::Origin;
use crate::driver::Driver;
use crate::event::{DownReason, Event, Source};
use crate::peer::{Connection, Link, Visit};
use crate::{address, key};

impl Driver {
    pub(super) fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>, now: Instant) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.on_stream(event, now),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(event)) => self.on_mdns(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint, now);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                if let Some(node) = key::node(&peer_id) {
                    tracing::debug!(peer = %node.short(), ?cause, "connection closed");
                    self.on_closed(node, connection_id, cause.is_some(), now);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_error(peer_id.and_then(|peer| key::node(&peer)), connection_id, error, now);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "inbound connection failed");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                let changed = self.listeners.add(listener_id, &address);
                self.on_listening(changed, now);
            }
            SwarmEvent::ExpiredListenAddr { listener_id, address } => {
                let changed = self.listeners.remove(listener_id, &[address]);
                self.on_listening(changed, now);
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                tracing::warn!(?addresses, ?reason, "a listener closed");
                let changed = self.listeners.remove(listener_id, &addresses);
                self.on_listening(changed, now);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener has trouble"),
            _ => {}
        }
    }

    fn on_established(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        now: Instant,
    ) {
        // The gate lets nobody in whose key is not Ed25519.
        let Some(node) = key::node(&id) else { return };
        let remote = endpoint.get_remote_address();
        let target = address::parse(remote);
        let addr = target.map_or_else(|| remote.clone(), |target| address::plain(target.socket));
        let dialed = endpoint.is_dialer();
        if dialed && let Some(target) = target {
            self.on_answer(node, connection, target.socket, now);
        }
        let Some(peer) = self.peer(node, now) else { return };
        peer.connections.push(Connection {
            id: connection,
            dialed,
            addr,
            since: now,
            used: now,
            closing: false,
        });
        peer.missing = None;
        peer.dial.rest();
        self.count(node);
        if self.ending.begun() {
            let _ = self.swarm.disconnect_peer_id(id);
            return;
        }
        if self.is_member(node) {
            self.tend(node);
        }
        if self.peers.get(&node).is_some_and(|peer| matches!(peer.visit, Visit::Dialing(_))) {
            self.open_visit(node, now);
        }
    }

    /// A dial of ours was answered.
    fn on_answer(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        socket: std::net::SocketAddr,
        now: Instant,
    ) {
        if self.statics.answered(connection, node).is_some() {
            self.book.add(node, socket, Origin::Static, now);
            self.tell_seen(node, Source::Static, now);
        } else {
            self.book.add(node, socket, Origin::Used, now);
        }
        let Some(peer) = self.peer(node, now) else { return };
        if peer.told.replace(socket) != Some(socket) {
            self.outbox.push(Event::Address { peer: node, addr: address::plain(socket) });
        }
    }

    /// `broken`: not closed by us.
    fn on_closed(&mut self, node: NodeId, id: ConnectionId, broken: bool, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.connections.retain(|connection| connection.id != id);
        if peer.link_connection() == Some(id) {
            let link = std::mem::replace(&mut peer.link, Link::None);
            peer.relink_at = None;
            if let Link::Roped(rope) = link
                && !broken
            {
                rope.queue.end(DownReason::Lost);
            }
        }
        // A broken connection wakes the readers of its streams, and they take what has arrived. Yamux does not do so
        // where we close ourselves.
        if !broken {
            peer.visits.iter().filter(|r| r.connection == id).for_each(|r| r.queue.end(DownReason::Lost));
        }
        self.count(node);
        self.on_fewer(node, now);
        self.forget_if_over(node);
    }

    /// One connection less: another takes its place, or the peer is missing.
    fn on_fewer(&mut self, node: NodeId, now: Instant) {
        let member = self.is_member(node);
        let head_start = self.head_start(node);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.is_connected() {
            if member {
                self.tend(node);
            }
            return;
        }
        let linked = std::mem::take(&mut peer.linked);
        if peer.mark_missing(now) && member && !self.ending.begun() {
            peer.dial.lost(now, linked, head_start);
            self.pace.adjust(now, self.absence(now));
            self.pace.soon_if_started(now);
        }
    }

    fn count(&mut self, node: NodeId) {
        let count = self.peers.get(&node).map_or(0, |peer| peer.connections.len());
        let mut census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        if count == 0 {
            census.remove(&node);
        } else {
            census.insert(node, count);
        }
    }
}
