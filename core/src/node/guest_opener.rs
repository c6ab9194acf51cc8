//! Decides when this node opens guest streams: to nodes that could admit it, and to members that may not know
//! it.

use std::collections::BTreeSet;

use super::Node;
use super::effect::Effect;
use super::input::MonoTime;
use super::node_info::DiscoveredNode;
use super::pairing::OutgoingPairing;
use crate::id::NodeId;
use crate::limits;

/// Opens guest streams to discovered nodes.
pub(super) struct GuestOpener<'n> {
    pub(super) node: &'n mut Node,
}

impl GuestOpener<'_> {
    pub(super) fn on_node_discovered(&mut self, peer: NodeId, addresses: Vec<String>) {
        if peer == self.node.own_id {
            return;
        }
        if self.node.discovered.len() >= limits::MAX_DISCOVERED_NODES
            && !self.node.discovered.contains_key(&peer)
            && let Some(oldest) =
                self.node.discovered.iter().min_by_key(|(_, seen)| seen.last_seen_at).map(|(peer, _)| *peer)
        {
            self.node.limit_stats.record("nodes seen on the network", limits::MAX_DISCOVERED_NODES);
            self.node.discovered.remove(&oldest);
        }
        self.node.discovered.insert(
            peer,
            DiscoveredNode {
                addresses,
                last_seen_at: self.node.now.mono,
                last_seen_unix_secs: self.node.now.unix_secs,
            },
        );
        self.open_due_guest_streams();
        self.schedule_membership_proofs();
    }

    /// Opens guest streams to nearby members without a link, to send them this node's grant path. Such a
    /// member may not know this node, and of a pair only the node with the lower key dials.
    pub(super) fn schedule_membership_proofs(&mut self) {
        let now = self.node.now.mono;
        let linked: BTreeSet<NodeId> = self.node.links.values().map(|link| link.peer).collect();
        let is_near = |peer: &NodeId| {
            let seen = self.node.discovered.get(peer);
            seen.is_some_and(|seen| now.ms_since(seen.last_seen_at) < limits::NEARBY_WITHIN_MS)
        };
        let unlinked: BTreeSet<NodeId> = self
            .node
            .announced_members
            .iter()
            .copied()
            .filter(|peer| !linked.contains(peer) && is_near(peer))
            .collect();
        self.node.proof_due.retain(|peer, _| unlinked.contains(peer));
        for peer in unlinked {
            let due =
                self.node.proof_due.entry(peer).or_insert(now.plus_ms(limits::MEMBERSHIP_PROOF_DELAY_MS));
            if *due <= now {
                *due = now.plus_ms(limits::MEMBERSHIP_PROOF_RETRY_MS);
                self.node.outbox.push(Effect::OpenGuestStream { peer });
            }
        }
    }

    /// Opens a guest stream to every discovered node that is due, while this node joins or pairs.
    pub(super) fn open_due_guest_streams(&mut self) {
        self.node.pairings.expire_outgoing(self.node.now.mono);
        if !self.node.pending_joins.is_searching() && !self.node.pairings.is_searching() {
            return self.node.guest_backoff.reset();
        }
        for peer in admission_candidates(self.node) {
            if self.node.guest_backoff.try_start(peer, self.node.now.mono) {
                self.node.outbox.push(Effect::OpenGuestStream { peer });
            }
        }
        let discovered = &self.node.discovered;
        self.node.guest_backoff.trim(|peer| discovered.contains_key(peer));
    }
}

/// When the next guest stream of a join or pairing is due, or the outgoing pairing ends.
pub(super) fn guest_retry_due(node: &Node) -> Option<MonoTime> {
    let expiry = node.pairings.outgoing.as_ref().map(OutgoingPairing::expires_at);
    let candidates = admission_candidates(node);
    candidates.iter().map(|peer| node.guest_backoff.due_at(peer)).chain(expiry).min()
}

/// The discovered nodes that could admit this one, except those to which it has a guest stream open.
fn admission_candidates(node: &Node) -> Vec<NodeId> {
    let is_joining = node.pending_joins.is_searching();
    if !is_joining && !node.pairings.is_searching() {
        return Vec::new();
    }
    let busy_peers = node.guest_streams.peers_opened_to();
    // A member of this node's groups can admit it to another group by a code, but not by pairing.
    let is_wanted = |peer: &&NodeId| is_joining || !node.announced_members.contains(*peer);
    let wanted = node.discovered.keys().filter(is_wanted);
    wanted.filter(|peer| !busy_peers.contains(*peer)).copied().collect()
}
