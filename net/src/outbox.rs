//! Events of the driver that wait for room in the feed, so that the driver itself never waits.

use std::collections::VecDeque;

use crate::event::Event;
use crate::limits;

/// A bounded queue that knows which events may be dropped or merged.
#[derive(Default)]
pub(crate) struct Outbox {
    events: VecDeque<Event>,
}

impl Outbox {
    /// Queues `event`. A newer set of addresses takes the place of an older one; when full, the oldest `Seen` goes
    /// (it is told again), and if there is none the oldest event.
    pub(crate) fn push(&mut self, event: Event) {
        if matches!(event, Event::Listening { .. }) {
            self.events.retain(|e| !matches!(e, Event::Listening { .. }));
        }
        if self.events.len() >= limits::OUTBOX {
            let victim = self.events.iter().position(|e| matches!(e, Event::Seen { .. })).unwrap_or(0);
            self.events.remove(victim);
        }
        self.events.push_back(event);
    }

    /// The oldest event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
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
    use crate::event::{Source, VisitError};
    use larder_core::id::NodeId;

    #[test]
    fn a_flood_of_seen_costs_nothing_else() {
        let mut outbox = Outbox::default();
        let failed = Event::VisitFailed { peer: NodeId([0; 32]), reason: VisitError::Busy };
        outbox.push(failed.clone());
        for _ in 0..2 * limits::OUTBOX {
            outbox.push(Event::Seen { peer: NodeId([1; 32]), addrs: vec![], by: Source::Beacon });
        }
        assert_eq!(outbox.events.len(), limits::OUTBOX);
        assert_eq!(outbox.pop(), Some(failed));
    }
}
