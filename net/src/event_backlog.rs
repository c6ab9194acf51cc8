//! The events of the driver that wait for room in the event channel, so that the driver never waits.

use std::collections::VecDeque;

use crate::event::NetEvent;
use crate::limits;

/// A bounded queue that merges and drops events where nothing is lost.
#[derive(Default)]
pub(crate) struct EventBacklog {
    events: VecDeque<NetEvent>,
}

impl EventBacklog {
    /// Queues `event`. A newer `Listening` replaces an older one. A full queue drops the oldest
    /// `NodeDiscovered`, which is sent again later, or else the oldest event.
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

    /// Removes the oldest event.
    pub(crate) fn pop(&mut self) -> Option<NetEvent> {
        self.events.pop_front()
    }

    /// True if no event waits.
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
