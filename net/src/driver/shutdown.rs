//! Shuts down: ends the links, then closes the connections.

use std::time::Instant;

use crate::driver::Driver;
use crate::event::DownReason;
use crate::limits;
use crate::peer::MemberLinkState;

/// The stage of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShutdownState {
    Running,
    /// Links send their queues and a goodbye until this time.
    ClosingLinks(Instant),
    /// Connections flush and close until this time.
    ClosingConnections(Instant),
    Finished,
}

impl ShutdownState {
    pub(super) fn is_finished(self) -> bool {
        self == Self::Finished
    }

    pub(super) fn is_shutting_down(self) -> bool {
        self != Self::Running
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::ClosingLinks(deadline) | Self::ClosingConnections(deadline) => Some(deadline),
            Self::Running | Self::Finished => None,
        }
    }
}

impl Driver {
    /// Starts the shutdown.
    pub(super) fn begin_shutdown(&mut self, now: Instant) {
        if self.shutdown.is_shutting_down() {
            return;
        }
        self.shutdown = ShutdownState::ClosingLinks(now + 2 * limits::FLUSH_TIMEOUT);
        self.beacon_schedule.stop();
        self.beacon_sockets.set_interfaces(&[]);
        for peer in self.peers.values_mut() {
            if let MemberLinkState::Open(handle) = &peer.link {
                handle.queue.end_link(DownReason::Shutdown);
            }
            peer.guest_streams.iter().for_each(|handle| handle.queue.end_link(DownReason::Shutdown));
            peer.dial.clear();
            peer.relink_at = None;
        }
    }

    /// Enters the next stage when this one is complete or timed out.
    pub(super) fn advance_shutdown(&mut self, now: Instant) {
        match self.shutdown {
            ShutdownState::ClosingLinks(deadline)
                if deadline <= now || self.peers.values().all(|peer| peer.running_link_tasks == 0) =>
            {
                let peer_ids: Vec<_> = self.peers.values().map(|peer| peer.peer_id).collect();
                for peer_id in peer_ids {
                    let _ = self.swarm.disconnect_peer_id(peer_id);
                }
                self.shutdown = ShutdownState::ClosingConnections(now + limits::FLUSH_TIMEOUT);
            }
            ShutdownState::ClosingConnections(deadline)
                if deadline <= now || self.peers.values().all(|peer| peer.connections.is_empty()) =>
            {
                self.shutdown = ShutdownState::Finished;
            }
            _ => {}
        }
    }
}
