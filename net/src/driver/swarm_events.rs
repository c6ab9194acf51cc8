//! Passes the events of the libp2p swarm to the parts, and carries out what they request of it.

use std::time::Instant;

use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{PeerId, mdns};

use crate::behaviour::BehaviourEvent;
use crate::connections::PeerConnection;
use crate::driver::Driver;
use crate::effects::SwarmAction;
use crate::event::DiscoverySource;
use crate::link::stream::StreamEvent;
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
                tracing::debug!(%peer_id, ?cause, "connection closed");
                self.on_connection_closed(peer_id, connection_id, cause.is_some(), now);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                let node = peer_id.and_then(|peer| key::node_id_of(&peer));
                self.on_dial_failed(node, connection_id, &error, now);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "inbound connection failed");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                let is_changed = self.discovery.listeners.on_listen_addr_added(listener_id, &address, now);
                self.report_addresses_if(is_changed, now);
            }
            SwarmEvent::ExpiredListenAddr { listener_id, address } => {
                let is_changed =
                    self.discovery.listeners.on_listen_addrs_removed(listener_id, &[address], now);
                self.report_addresses_if(is_changed, now);
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                tracing::warn!(?addresses, ?reason, "listener closed");
                let is_changed =
                    self.discovery.listeners.on_listen_addrs_removed(listener_id, &addresses, now);
                self.report_addresses_if(is_changed, now);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener error"),
            _ => {}
        }
    }

    /// Reports the addresses of this node if `is_due`, and dials missing members over a new interface.
    pub(super) fn report_addresses_if(&mut self, is_due: bool, now: Instant) {
        if is_due && self.discovery.on_reachable_changed(&mut self.effects, now) {
            self.dial_missing_members(now);
        }
    }

    fn on_mdns(&mut self, event: mdns::Event, now: Instant) {
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

    fn on_stream_event(&mut self, event: StreamEvent, now: Instant) {
        if let Some(node) = key::node_id_of(&event.peer).filter(|_| !self.shutdown.is_shutting_down()) {
            let (peers, mut ctx) = self.peers_with_context(now);
            peers.on_stream(node, event.connection, event.outcome, &mut ctx);
        }
    }

    fn on_connection_established(
        &mut self,
        peer_id: PeerId,
        id: ConnectionId,
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
            self.on_dial_answered(node, id, target.socket, now);
        }
        self.dialer.cancel(node);
        let (established_at, last_used_at) = (now, now);
        let connection =
            PeerConnection { id, is_dialed_here, addr, established_at, last_used_at, is_closing: false };
        if self.shutdown.is_shutting_down() {
            self.peers.connections.insert(node, connection);
            return self.effects.act(SwarmAction::Disconnect(node));
        }
        let (peers, mut ctx) = self.peers_with_context(now);
        peers.on_connected(node, connection, &mut ctx);
    }

    /// Handles a closed connection. `is_broken` is true if this node did not close it.
    fn on_connection_closed(&mut self, peer_id: PeerId, id: ConnectionId, is_broken: bool, now: Instant) {
        let Some(node) = key::node_id_of(&peer_id) else { return };
        let (peers, mut ctx) = self.peers_with_context(now);
        let is_newly_missing = peers.on_connection_closed(node, id, is_broken, &mut ctx);
        if is_newly_missing && !self.shutdown.is_shutting_down() {
            let head_start = self.dial_head_start(node);
            if let Some(dial) = self.dialer.get_mut(node) {
                dial.on_connection_lost(now, head_start);
            }
            self.discovery.beacons.announce(now);
        }
    }

    /// Carries out what the parts requested of the swarm, in order.
    pub(super) fn carry_out_actions(&mut self, now: Instant) {
        while let Some(action) = self.effects.swarm_actions.pop_front() {
            match action {
                SwarmAction::Dial(node, opts) => {
                    let connection = opts.connection_id();
                    if let Err(error) = self.swarm.dial(opts) {
                        tracing::debug!(?node, %error, "dial not started");
                        self.dialer.on_dial_failed(node, connection, now);
                    }
                }
                SwarmAction::Disconnect(node) => {
                    if let Some(peer_id) = key::peer_id_of(node) {
                        let _ = self.swarm.disconnect_peer_id(peer_id);
                    }
                }
                SwarmAction::CloseConnection(id) => {
                    self.swarm.close_connection(id);
                }
                SwarmAction::RequestStream(node, id, kind) => {
                    if let Some(peer_id) = key::peer_id_of(node) {
                        self.swarm.behaviour_mut().streams.request_stream(peer_id, id, kind);
                    }
                }
            }
        }
    }
}
