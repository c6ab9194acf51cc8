//! The operator's addresses: dialled to learn who is there.

use std::net::SocketAddr;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::swarm::ConnectionId;

use crate::dial::Pause;
use crate::limits;

/// One address without a name, until somebody answers there.
pub(crate) struct Static {
    pub(crate) socket: SocketAddr,
    pub(crate) found: Option<NodeId>,
    flight: Option<ConnectionId>,
    pause: Pause,
    next: Option<Instant>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Statics {
    all: Vec<Static>,
}

impl Statics {
    /// Takes these addresses in place of the earlier ones; what is known of those that stay is kept.
    pub(crate) fn set(&mut self, sockets: &[SocketAddr], now: Instant) {
        self.all.retain(|s| sockets.contains(&s.socket));
        for socket in sockets {
            if !self.all.iter().any(|s| s.socket == *socket) && self.all.len() < limits::STATIC_PEERS {
                let (pause, next) = (Pause::new(limits::REDIAL, limits::REDIAL_CAP), Some(now));
                self.all.push(Static { socket: *socket, found: None, flight: None, pause, next });
            }
        }
    }

    /// An address to dial now, if one is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<&mut Static> {
        self.all
            .iter_mut()
            .find(|s| s.found.is_none() && s.flight.is_none() && s.next.is_some_and(|next| next <= now))
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.all.iter().filter(|s| s.found.is_none() && s.flight.is_none()).filter_map(|s| s.next).min()
    }

    /// A dial of one of these ended without an answer. True if it was one of these.
    pub(crate) fn failed(&mut self, connection: ConnectionId, now: Instant) -> bool {
        let Some(one) = self.all.iter_mut().find(|s| s.flight == Some(connection)) else { return false };
        one.flight = None;
        one.next = Some(now + one.pause.next());
        true
    }

    /// A dial of one of these was answered by `node`: which address it was.
    pub(crate) fn answered(&mut self, connection: ConnectionId, node: NodeId) -> Option<SocketAddr> {
        let one = self.all.iter_mut().find(|s| s.flight == Some(connection))?;
        one.flight = None;
        one.found = Some(node);
        one.pause.reset();
        Some(one.socket)
    }

    /// `node` no longer answers at `socket`, or the network came back: asked again, soon.
    pub(crate) fn forget(&mut self, socket: SocketAddr, now: Instant) {
        if let Some(one) = self.all.iter_mut().find(|s| s.socket == socket) {
            one.found = None;
            one.next = Some(now);
        }
    }

    /// All that wait are dialled at once.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for one in &mut self.all {
            one.next = Some(now);
        }
    }
}

impl Static {
    /// A dial of it is under way.
    pub(crate) fn flying(&mut self, connection: ConnectionId) {
        self.flight = Some(connection);
    }

    /// Not now.
    pub(crate) fn later(&mut self, now: Instant) {
        self.next = Some(now + self.pause.next());
    }
}
