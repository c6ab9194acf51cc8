//! Presence: each member tells the others that it is alive, at which addresses, and with which digest.

use std::collections::BTreeSet;

use super::effect::{Effect, NodeEvent};
use super::group_state::{GroupContext, GroupState};
use super::input::{LinkId, MonoTime};
use crate::id::{Digest, NodeId};
use crate::limits;
use crate::wire::member::{GroupFrame, SignedPresence};
use crate::wire::presence::Presence;

/// What a node says of itself in every group.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalInfo {
    pub(super) boot_id: u64,
    pub(super) software: String,
    pub(super) host_name: String,
    pub(super) addresses: Vec<String>,
}

impl GroupState {
    /// Sends this node's presence to all neighbours, if it is due.
    pub(super) fn send_presence(&mut self, ctx: &mut GroupContext<'_>, local_info: &LocalInfo) {
        let Some(due) = self.presence_due.filter(|_| !self.paused) else { return };
        if self.sessions.is_empty() {
            self.presence_due = None;
            return;
        }
        if ctx.now.mono < due {
            return;
        }
        self.presence_due = Some(ctx.now.mono.plus_ms(limits::PRESENCE_INTERVAL_MS));
        self.presence_sequence += 1;
        let own_digest = self.digest();
        let presence = self.build_presence(ctx, local_info, own_digest);
        let (presence_bytes, signature) = presence.sign(ctx.secret);
        let frame = GroupFrame::Presence(SignedPresence { presence_bytes, signature });
        for (link, session) in &mut self.sessions {
            session.sent_digest = Some(own_digest);
            ctx.send(*link, &frame);
        }
    }

    fn build_presence(&self, ctx: &GroupContext<'_>, local_info: &LocalInfo, digest: Digest) -> Presence {
        let mut linked_peers: Vec<[u8; 8]> =
            self.sessions.values().map(|session| session.peer.fingerprint8()).collect();
        linked_peers.sort_unstable();
        linked_peers.truncate(limits::MAX_PRESENCE_LINKS);
        // After a store failure, what is in memory may not be durable, so no peer may rely on it.
        let (digest, change_count) = match ctx.outbox.has_failed() {
            true => (Digest::ZERO, 0),
            false => (digest, self.group.shard_states().change_count()),
        };
        Presence {
            group: self.group.id(),
            node: ctx.own_id,
            boot_id: local_info.boot_id,
            sequence: self.presence_sequence,
            software: local_info.software.clone(),
            host: local_info.host_name.clone(),
            addresses: local_info.addresses.iter().take(limits::MAX_ADDRESSES_PER_NODE).cloned().collect(),
            linked_peers,
            digest,
            change_count,
        }
    }

    /// Sends the next presence after at most `delay_ms`, or after the settle time of a large group.
    pub(super) fn request_presence(&mut self, now: MonoTime, delay_ms: u64) {
        let due = now.plus_ms(delay_ms.max(self.presence_settle_ms()));
        self.presence_due = Some(self.presence_due.map_or(due, |earlier| earlier.min(due)));
    }

    /// The time, in milliseconds, for which links of a group of this size settle; 0 in a small group. While
    /// many links come up at once, each node tells all of them in few messages.
    fn presence_settle_ms(&self) -> u64 {
        let extra_members = self.group.members().nodes().count().saturating_sub(limits::SMALL_GROUP_MEMBERS);
        extra_members as u64 * limits::PRESENCE_DEBOUNCE_PER_MEMBER_MS
    }

    /// Records a sign of life of a member.
    pub(super) fn mark_alive(&mut self, ctx: &mut GroupContext<'_>, peer: NodeId) {
        if self.liveness.mark_alive(peer, ctx.now) {
            let group = self.group.id();
            ctx.emit_event(NodeEvent::ReachabilityChanged { group, peer, is_reachable: true });
        }
    }

    pub(super) fn on_presence(&mut self, ctx: &mut GroupContext<'_>, link: LinkId, signed: &SignedPresence) {
        let Some(presence) = Presence::decode(&signed.presence_bytes) else { return };
        let (node, now) = (presence.node, ctx.now.mono);
        let sender = self.sessions.get(&link).map(|session| session.peer);
        let is_of_member =
            presence.group == self.group.id() && node != ctx.own_id && self.group.members().is_member(&node);
        // The transport proved the key of the sender; the presence of another node is proved by its
        // signature.
        let is_proved = |presence: &Presence| {
            sender == Some(node) || presence.is_signed_by_node(&signed.presence_bytes, &signed.signature)
        };
        // Old presences are dropped before their signature is checked, since most copies that arrive are old.
        if !is_of_member || !self.liveness.is_newer(&presence, now) || !is_proved(&presence) {
            return;
        }
        self.mark_alive(ctx, node);
        ctx.outbox.push(Effect::LearnAddresses { peer: node, addresses: presence.addresses.clone() });
        let settle_ms = self.presence_settle_ms();
        for (other, session) in &self.sessions {
            // The presence of a node that has just linked up names few of its links: it would be passed on to
            // members that are about to hear the node itself.
            let is_settling = now.ms_since(session.opened_at) < settle_ms;
            let is_known_there = session.peer == node || self.liveness.claims_link(sender, &session.peer);
            if *other != link && !is_settling && !is_known_there && !ctx.is_backpressured(*other) {
                ctx.send(*other, &GroupFrame::Presence(signed.clone()));
            }
        }
        let digest = presence.digest;
        self.liveness.record_presence(presence, now);
        if sender == Some(node) {
            self.sync(ctx).on_presence_digest(link, digest);
        }
    }

    /// The neighbours that this group is synced with.
    pub(super) fn linked_peers(&self) -> BTreeSet<NodeId> {
        self.sessions.values().map(|session| session.peer).collect()
    }

    /// Reports members without a link as away that were silent for too long.
    pub(super) fn expire_liveness(&mut self, ctx: &mut GroupContext<'_>) {
        let group = self.group.id();
        for peer in self.liveness.expire(&self.linked_peers(), ctx.now.mono) {
            ctx.emit_event(NodeEvent::ReachabilityChanged { group, peer, is_reachable: false });
        }
    }
}
