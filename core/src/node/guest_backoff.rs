//! Whom a node that asks to be let in visits, and when: at first often, since a join should take seconds, and then as
//! rarely as members take visits of one stranger.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use super::effect::Effect;
use super::input::MonoTime;
use crate::id::NodeId;
use crate::limits;

/// When each node was visited last, and how often so far.
#[derive(Clone, Debug, Default)]
pub(super) struct GuestBackoff(BTreeMap<NodeId, (MonoTime, u32)>);

impl GuestBackoff {
    /// True if it is time to visit that node, which counts as done then.
    fn try_start(&mut self, peer: NodeId, now: MonoTime) -> bool {
        let (last_opened_at, attempts) = self.0.get(&peer).copied().unwrap_or((now, 0));
        let pause = if attempts <= limits::FAST_GUEST_RETRIES {
            limits::GUEST_RETRY_MS
        } else {
            limits::SLOW_GUEST_RETRY_MS
        };
        let is_due = attempts == 0 || now.ms_since(last_opened_at) >= pause;
        if is_due {
            self.0.insert(peer, (now, attempts.saturating_add(1)));
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
        let is_joining = self.pending_joins.values().any(|pending| !pending.is_granted);
        let is_pairing = self.outgoing_pairing.as_ref().is_some_and(|pairing| pairing.joined_group.is_none());
        if !is_joining && !is_pairing {
            return self.guest_backoff.reset();
        }
        let peers_with_stream: BTreeSet<NodeId> = self
            .guest_streams
            .values()
            .filter(|stream| stream.opened_here)
            .map(|stream| stream.peer)
            .collect();
        // Members of one's own groups can let in by a code; to the others there is nothing to ask of them.
        let is_wanted = |peer: &&NodeId| is_joining || !self.announced_members.contains(*peer);
        let wanted: Vec<NodeId> = self.discovered.keys().filter(is_wanted).copied().collect();
        for peer in wanted {
            if !peers_with_stream.contains(&peer) && self.guest_backoff.try_start(peer, self.now.mono) {
                self.outbox.push(Effect::OpenGuestStream { peer });
            }
        }
        if self.guest_backoff.0.len() > limits::MAX_DISCOVERED_NODES {
            self.guest_backoff.0.retain(|peer, _| self.discovered.contains_key(peer));
        }
    }
}
