//! When to open a guest stream to a node again: often at first, because a join should take seconds, and later
//! as rarely as members accept streams of one peer.

use std::collections::BTreeMap;

use super::Node;
use super::effect::Effect;
use super::input::MonoTime;
use super::pairing::OutgoingPairing;
use crate::id::NodeId;
use crate::limits;

/// By peer: when a guest stream was last opened to it, and how often so far.
#[derive(Clone, Debug, Default)]
pub(super) struct GuestBackoff(BTreeMap<NodeId, (MonoTime, u32)>);

impl GuestBackoff {
    /// When a stream to `peer` may be opened next.
    fn due_at(&self, peer: &NodeId) -> MonoTime {
        let Some((last_opened_at, attempts)) = self.0.get(peer) else { return MonoTime::default() };
        let is_fast = *attempts <= limits::FAST_GUEST_RETRIES;
        last_opened_at.plus_ms(if is_fast { limits::GUEST_RETRY_MS } else { limits::SLOW_GUEST_RETRY_MS })
    }

    /// True if it is time to open a stream to `peer`. It then counts as opened.
    fn try_start(&mut self, peer: NodeId, now: MonoTime) -> bool {
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
    fn trim(&mut self, is_discovered: impl Fn(&NodeId) -> bool) {
        if self.0.len() > limits::MAX_DISCOVERED_NODES {
            self.0.retain(|peer, _| is_discovered(peer));
        }
    }
}

impl Node {
    /// Opens a guest stream to every discovered node that is due, while this node joins or pairs.
    pub(super) fn open_due_guest_streams(&mut self) {
        self.pairings.expire_outgoing(self.now.mono);
        if !self.pending_joins.is_searching() && !self.pairings.is_searching() {
            return self.guest_backoff.reset();
        }
        for peer in self.admission_candidates() {
            if self.guest_backoff.try_start(peer, self.now.mono) {
                self.outbox.push(Effect::OpenGuestStream { peer });
            }
        }
        self.guest_backoff.trim(|peer| self.discovered.contains_key(peer));
    }

    /// When the next guest stream of a join or pairing is due, or the outgoing pairing ends.
    pub(super) fn guest_retry_due(&self) -> Option<MonoTime> {
        let expiry = self.pairings.outgoing.as_ref().map(OutgoingPairing::expires_at);
        let candidates = self.admission_candidates();
        candidates.iter().map(|peer| self.guest_backoff.due_at(peer)).chain(expiry).min()
    }

    /// The discovered nodes that could admit this one, except those to which it has a guest stream open.
    fn admission_candidates(&self) -> Vec<NodeId> {
        let is_joining = self.pending_joins.is_searching();
        if !is_joining && !self.pairings.is_searching() {
            return Vec::new();
        }
        let busy_peers = self.guest_streams.peers_opened_to();
        // A member of this node's groups can admit it to another group by a code, but not by pairing.
        let is_wanted = |peer: &&NodeId| is_joining || !self.announced_members.contains(*peer);
        let wanted = self.discovered.keys().filter(is_wanted);
        wanted.filter(|peer| !busy_peers.contains(*peer)).copied().collect()
    }
}
