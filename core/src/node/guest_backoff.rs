//! Whom a node that asks to be let in visits, and when: at first often, since a join should take seconds, and then as
//! rarely as members take visits of one stranger.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use super::effect::Effect;
use super::input::MonoTime;
use super::pairing::OutgoingPairing;
use crate::id::NodeId;
use crate::limits;

/// When each node was visited last, and how often so far.
#[derive(Clone, Debug, Default)]
pub(super) struct GuestBackoff(BTreeMap<NodeId, (MonoTime, u32)>);

impl GuestBackoff {
    /// When a guest stream to that node may be opened next.
    fn due_at(&self, peer: &NodeId) -> MonoTime {
        let Some((last_opened_at, attempts)) = self.0.get(peer) else { return MonoTime::default() };
        let is_fast = *attempts <= limits::FAST_GUEST_RETRIES;
        last_opened_at.plus_ms(if is_fast { limits::GUEST_RETRY_MS } else { limits::SLOW_GUEST_RETRY_MS })
    }

    /// Counts an attempt if one is due. True if it is.
    fn try_start(&mut self, peer: NodeId, now: MonoTime) -> bool {
        let is_due = self.due_at(&peer) <= now;
        if is_due {
            let attempt = self.0.entry(peer).or_default();
            *attempt = (now, attempt.1.saturating_add(1));
        }
        is_due
    }

    /// Begins anew: somebody asks for something else.
    pub(super) fn reset(&mut self) {
        self.0.clear();
    }
}

impl Node {
    /// Visits every node that was seen and whose turn it is, while this node asks to be let in somewhere.
    pub(super) fn open_due_guest_streams(&mut self) {
        self.expire_outgoing_pairing();
        if !self.is_seeking_admission() {
            return self.guest_backoff.reset();
        }
        for peer in self.wanted_guest_peers() {
            if self.guest_backoff.try_start(peer, self.now.mono) {
                self.outbox.push(Effect::OpenGuestStream { peer });
            }
        }
        if self.guest_backoff.0.len() > limits::MAX_DISCOVERED_NODES {
            self.guest_backoff.0.retain(|peer, _| self.discovered.contains_key(peer));
        }
    }

    fn is_joining(&self) -> bool {
        self.pending_joins.values().any(|pending| !pending.is_granted)
    }

    fn is_seeking_admission(&self) -> bool {
        let is_pairing = |pairing: &OutgoingPairing| pairing.joined_group.is_none();
        self.is_joining() || self.outgoing_pairing.as_ref().is_some_and(is_pairing)
    }

    /// When the next guest stream of a join or pairing is due, or the pairing ends.
    pub(super) fn guest_retry_due(&self) -> Option<MonoTime> {
        let expiry = self.outgoing_pairing.as_ref().map(OutgoingPairing::expires_at);
        let wanted = if self.is_seeking_admission() { self.wanted_guest_peers() } else { Vec::new() };
        wanted.iter().map(|peer| self.guest_backoff.due_at(peer)).chain(expiry).min()
    }

    /// The discovered nodes that could admit this one, without those that it has a guest stream with.
    fn wanted_guest_peers(&self) -> Vec<NodeId> {
        let is_joining = self.is_joining();
        let peers_with_stream: BTreeSet<NodeId> = self
            .guest_streams
            .values()
            .filter(|stream| stream.opened_here)
            .map(|stream| stream.peer)
            .collect();
        // Members of one's own groups can let in by a code; to the others there is nothing to ask of them.
        let is_wanted = |peer: &&NodeId| is_joining || !self.announced_members.contains(*peer);
        let wanted = self.discovered.keys().filter(is_wanted);
        wanted.filter(|peer| !peers_with_stream.contains(*peer)).copied().collect()
    }
}
