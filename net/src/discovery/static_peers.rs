//! The operator's peer addresses without a node id, dialed to learn which node answers.

use std::net::SocketAddr;
use std::time::Instant;

use larder_core::backoff::Backoff;
use larder_core::id::NodeId;
use libp2p::swarm::ConnectionId;

use crate::jitter::with_jitter;
use crate::limits;

/// One configured address; `node` is known once a node has answered.
pub(crate) struct StaticPeer {
    pub(crate) socket: SocketAddr,
    pub(crate) node: Option<NodeId>,
    in_flight: Option<ConnectionId>,
    backoff: Backoff,
    next_dial_at: Option<Instant>,
}

/// All configured addresses without a node id.
#[derive(Default)]
pub(crate) struct StaticPeers {
    peers: Vec<StaticPeer>,
}

impl StaticPeers {
    /// Adds an address, and plans its dial.
    pub(crate) fn add(&mut self, socket: SocketAddr, now: Instant) {
        if self.peers.iter().any(|s| s.socket == socket) {
            return;
        }
        let backoff = Backoff::new(limits::MIN_REDIAL_DELAY, limits::MAX_REDIAL_DELAY);
        let next_dial_at = Some(now);
        self.peers.push(StaticPeer { socket, node: None, in_flight: None, backoff, next_dial_at });
    }

    /// Returns an address whose dial is due.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<&mut StaticPeer> {
        self.peers.iter_mut().find(|s| {
            s.node.is_none() && s.in_flight.is_none() && s.next_dial_at.is_some_and(|next| next <= now)
        })
    }

    /// When the next dial is due.
    pub(crate) fn next_dial_at(&self) -> Option<Instant> {
        self.peers
            .iter()
            .filter(|s| s.node.is_none() && s.in_flight.is_none())
            .filter_map(|s| s.next_dial_at)
            .min()
    }

    /// Handles a failed dial. True if it dialed one of these addresses.
    pub(crate) fn on_dial_failed(&mut self, connection: ConnectionId, now: Instant) -> bool {
        let Some(static_peer) = self.peers.iter_mut().find(|s| s.in_flight == Some(connection)) else {
            return false;
        };
        static_peer.in_flight = None;
        static_peer.next_dial_at = Some(now + with_jitter(static_peer.backoff.next_delay()));
        true
    }

    /// Handles a successful dial. Returns its address if it is one of these.
    pub(crate) fn on_dial_answered(&mut self, connection: ConnectionId, node: NodeId) -> Option<SocketAddr> {
        let static_peer = self.peers.iter_mut().find(|s| s.in_flight == Some(connection))?;
        static_peer.in_flight = None;
        static_peer.node = Some(node);
        static_peer.backoff.reset();
        Some(static_peer.socket)
    }

    /// Dials `socket` again now, because another node may answer there.
    pub(crate) fn forget_node_at(&mut self, socket: SocketAddr, now: Instant) {
        if let Some(static_peer) = self.peers.iter_mut().find(|s| s.socket == socket) {
            static_peer.node = None;
            static_peer.next_dial_at = Some(now);
        }
    }

    /// Makes all waiting dials due now.
    pub(crate) fn dial_all_now(&mut self, now: Instant) {
        for static_peer in &mut self.peers {
            static_peer.next_dial_at = Some(now);
        }
    }
}

impl StaticPeer {
    /// Records that a dial has started.
    pub(crate) fn on_dial_started(&mut self, connection: ConnectionId) {
        self.in_flight = Some(connection);
    }
}
