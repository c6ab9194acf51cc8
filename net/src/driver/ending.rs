//! The end: goodbyes first, then connections, then nothing.

use std::time::Instant;

use crate::driver::Driver;
use crate::event::DownReason;
use crate::limits;
use crate::peer::Link;

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    /// Links say goodbye until then.
    Links(Instant),
    /// Connections flush and close until then.
    Connections(Instant),
    Over,
}

impl Ending {
    pub(super) fn is_over(self) -> bool {
        self == Self::Over
    }

    pub(super) fn begun(self) -> bool {
        self != Self::No
    }

    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Links(until) | Self::Connections(until) => Some(until),
            Self::No | Self::Over => None,
        }
    }
}

impl Driver {
    /// The daemon wants to stop.
    pub(super) fn stop(&mut self, now: Instant) {
        if self.ending.begun() {
            return;
        }
        self.ending = Ending::Links(now + 2 * limits::FLUSH);
        self.pace.stop();
        self.air.set(&[]);
        for peer in self.peers.values_mut() {
            if let Link::Roped(rope) = &peer.link {
                rope.queue.end(DownReason::Shutdown);
            }
            peer.visits.iter().for_each(|rope| rope.queue.end(DownReason::Shutdown));
            peer.dial.rest();
            peer.relink_at = None;
        }
    }

    /// Goes on to the next stage once nothing is left of this one, or its time is over.
    pub(super) fn end(&mut self, now: Instant) {
        match self.ending {
            Ending::Links(until) if until <= now || self.peers.values().all(|peer| peer.pumps == 0) => {
                let ids: Vec<_> = self.peers.values().map(|peer| peer.id).collect();
                for id in ids {
                    let _ = self.swarm.disconnect_peer_id(id);
                }
                self.ending = Ending::Connections(now + limits::FLUSH);
            }
            Ending::Connections(until)
                if until <= now || self.peers.values().all(|peer| peer.connections.is_empty()) =>
            {
                self.ending = Ending::Over;
            }
            _ => {}
        }
    }
}
