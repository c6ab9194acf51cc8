//! The operator's addresses: dialled to learn who is there.

use std::net::SocketAddr;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::swarm::ConnectionId;

use crate::dial::Backoff;
use crate::limits;

/// One address without a name, until somebody answers there.
pub(crate) struct StaticPeer {
    pub(crate) socket: SocketAddr,
    pub(crate) node: Option<NodeId>,
    in_flight: Option<ConnectionId>,
    backoff: Backoff,
    next_dial_at: Option<Instant>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct StaticPeers {
    peers: Vec<StaticPeer>,
}

impl StaticPeers {
    /// Takes these addresses in place of the earlier ones; what is known of those that stay is kept.
    pub(crate) fn set_addresses(&mut self, sockets: &[SocketAddr], now: Instant) {
        self.peers.retain(|s| sockets.contains(&s.socket));
        for socket in sockets {
            if !self.peers.iter().any(|s| s.socket == *socket) && self.peers.len() < limits::MAX_STATIC_PEERS
            {
                let (backoff, next_dial_at) =
                    (Backoff::new(limits::MIN_REDIAL_DELAY, limits::MAX_REDIAL_DELAY), Some(now));
                self.peers.push(StaticPeer {
                    socket: *socket,
                    node: None,
                    in_flight: None,
                    backoff,
                    next_dial_at,
                });
            }
        }
    }

    /// An address to dial now, if one is due.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<&mut StaticPeer> {
        self.peers.iter_mut().find(|s| {
            s.node.is_none() && s.in_flight.is_none() && s.next_dial_at.is_some_and(|next| next <= now)
        })
    }

    /// When the next one is due.
    pub(crate) fn next_dial_at(&self) -> Option<Instant> {
        self.peers
            .iter()
            .filter(|s| s.node.is_none() && s.in_flight.is_none())
            .filter_map(|s| s.next_dial_at)
            .min()
    }

    /// A dial of one of these ended without an answer. True if it was one of these.
    pub(crate) fn on_dial_failed(&mut self, connection: ConnectionId, now: Instant) -> bool {
        let Some(static_peer) = self.peers.iter_mut().find(|s| s.in_flight == Some(connection)) else {
            return false;
        };
        static_peer.in_flight = None;
        static_peer.next_dial_at = Some(now + static_peer.backoff.next_delay());
        true
    }

    /// A dial of one of these was answered by `node`: which address it was.
    pub(crate) fn on_dial_answered(&mut self, connection: ConnectionId, node: NodeId) -> Option<SocketAddr> {
        let static_peer = self.peers.iter_mut().find(|s| s.in_flight == Some(connection))?;
        static_peer.in_flight = None;
        static_peer.node = Some(node);
        static_peer.backoff.reset();
        Some(static_peer.socket)
    }

    /// `node` no longer answers at `socket`, or the network came back: asked again, soon.
    pub(crate) fn forget_node_at(&mut self, socket: SocketAddr, now: Instant) {
        if let Some(static_peer) = self.peers.iter_mut().find(|s| s.socket == socket) {
            static_peer.node = None;
            static_peer.next_dial_at = Some(now);
        }
    }

    /// All that wait are dialled at once.
    pub(crate) fn dial_all_now(&mut self, now: Instant) {
        for static_peer in &mut self.peers {
            static_peer.next_dial_at = Some(now);
        }
    }
}

impl StaticPeer {
    /// A dial of it is under way.
    pub(crate) fn on_dial_started(&mut self, connection: ConnectionId) {
        self.in_flight = Some(connection);
    }

    /// Not now.
    pub(crate) fn postpone(&mut self, now: Instant) {
        self.next_dial_at = Some(now + self.backoff.next_delay());
    }
}
