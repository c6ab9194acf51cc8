//! The end: goodbyes first, then connections, then nothing.

use std::time::Instant;

use crate::driver::Driver;
use crate::event::DownReason;
use crate::limits;
use crate::peer::MemberLinkState;

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShutdownState {
    Running,
    /// Links say goodbye until then.
    ClosingLinks(Instant),
    /// Connections flush and close until then.
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
    /// The daemon wants to stop.
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

    /// Goes on to the next stage once nothing is left of this one, or its time is over.
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
