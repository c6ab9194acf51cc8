//! When to open a guest stream to a node again: often at first, because a join should take seconds, and later
//! as rarely as members accept streams of one peer.

use std::collections::BTreeMap;

use super::input::MonoTime;
use crate::id::NodeId;
use crate::limits;

/// By peer: when a guest stream was last opened to it, and how often so far.
#[derive(Clone, Debug, Default)]
pub(super) struct GuestBackoff(BTreeMap<NodeId, (MonoTime, u32)>);

impl GuestBackoff {
    /// When a stream to `peer` may be opened next.
    pub(super) fn due_at(&self, peer: &NodeId) -> MonoTime {
        let Some((last_opened_at, attempts)) = self.0.get(peer) else { return MonoTime::default() };
        let is_fast = *attempts <= limits::FAST_GUEST_RETRIES;
        last_opened_at.plus_ms(if is_fast { limits::GUEST_RETRY_MS } else { limits::SLOW_GUEST_RETRY_MS })
    }

    /// True if it is time to open a stream to `peer`. It then counts as opened.
    pub(super) fn try_start(&mut self, peer: NodeId, now: MonoTime) -> bool {
        let is_due = self.due_at(&peer) <= now;
        if is_due {
            let attempt = self.0.entry(peer).or_default();
            *attempt = (now, attempt.1.saturating_add(1));
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
