//! Events of the driver that wait for room in the feed, so that the driver itself never waits.

use std::collections::VecDeque;

use crate::event::NetEvent;
use crate::limits;

/// A bounded queue that knows which events may be dropped or merged.
#[derive(Default)]
pub(crate) struct EventBacklog {
    events: VecDeque<NetEvent>,
}

impl EventBacklog {
    /// Queues `event`. A newer set of addresses takes the place of an older one; when full, the oldest `NodeDiscovered` goes
    /// (it is told again), and if there is none the oldest event.
    pub(crate) fn push(&mut self, event: NetEvent) {
        if matches!(event, NetEvent::Listening { .. }) {
            self.events.retain(|e| !matches!(e, NetEvent::Listening { .. }));
        }
        if self.events.len() >= limits::MAX_BACKLOG_EVENTS {
            let evicted_index =
                self.events.iter().position(|e| matches!(e, NetEvent::NodeDiscovered { .. })).unwrap_or(0);
            self.events.remove(evicted_index);
        }
        self.events.push_back(event);
    }

    /// The oldest event.
    pub(crate) fn pop(&mut self) -> Option<NetEvent> {
        self.events.pop_front()
    }

    /// True if nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DiscoverySource, GuestStreamError};
    use larder_core::id::NodeId;

    #[test]
    fn a_full_backlog_drops_discovered_events_first() {
        let mut backlog = EventBacklog::default();
        let failed = NetEvent::GuestStreamFailed { peer: NodeId([0; 32]), reason: GuestStreamError::Busy };
        backlog.push(failed.clone());
        for _ in 0..2 * limits::MAX_BACKLOG_EVENTS {
            backlog.push(NetEvent::NodeDiscovered {
                peer: NodeId([1; 32]),
                addrs: vec![],
                source: DiscoverySource::Beacon,
            });
        }
        assert_eq!(backlog.events.len(), limits::MAX_BACKLOG_EVENTS);
        assert_eq!(backlog.pop(), Some(failed));
    }
}
