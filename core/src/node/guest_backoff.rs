//! When to open a guest stream to a node again: soon at first, because a join should take seconds, and later
//! as rarely as members accept streams of one peer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::input::MonoTime;
use crate::backoff::Backoff;
use crate::id::NodeId;
use crate::limits;

/// The delay before the next guest stream to a peer to which none was opened yet doubles with every stream.
const NEW_BACKOFF: Backoff = Backoff::new(
    Duration::from_millis(limits::MIN_GUEST_RETRY_MS),
    Duration::from_millis(limits::MAX_GUEST_RETRY_MS),
);

/// By peer: when a guest stream to it may be opened next.
#[derive(Clone, Debug, Default)]
pub(super) struct GuestBackoff(BTreeMap<NodeId, (MonoTime, Backoff)>);

impl GuestBackoff {
    /// When a stream to `peer` may be opened next.
    pub(super) fn due_at(&self, peer: &NodeId) -> MonoTime {
        self.0.get(peer).map(|(due, _)| *due).unwrap_or_default()
    }

    /// True if it is time to open a stream to `peer`. It then counts as opened.
    pub(super) fn try_start(&mut self, peer: NodeId, now: MonoTime) -> bool {
        let (due, backoff) = self.0.entry(peer).or_insert((MonoTime::default(), NEW_BACKOFF));
        let is_due = *due <= now;
        if is_due {
            *due = now + backoff.next_delay();
        }
        is_due
    }

    /// Starts over for all peers, because an operator asked for something new.
    pub(super) fn reset(&mut self) {
        self.0.clear();
    }

    /// Forgets peers that are no longer discovered, once there are too many.
    pub(super) fn trim(&mut self, is_discovered: impl Fn(&NodeId) -> bool) {
        if self.0.len() > limits::MAX_DISCOVERED_NODES {
            self.0.retain(|peer, _| is_discovered(peer));
        }
    }
}
