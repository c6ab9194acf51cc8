//! Presence: who lives, where, and whether it has what we have.

use std::collections::BTreeSet;

use super::effect::{Effect, NodeEvent};
use super::group_state::{GroupContext, GroupState, Liveness};
use super::input::{LinkId, MonoTime};
use crate::id::NodeId;
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

/// Boots of one node that are remembered as over.
const MAX_RETIRED_BOOTS: usize = 8;

impl GroupState {
    /// Tells all neighbours that this node lives, if it is time to.
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
        let mut linked_peers: Vec<[u8; 8]> =
            self.sessions.values().map(|session| session.peer.fingerprint8()).collect();
        linked_peers.sort_unstable();
        linked_peers.truncate(limits::MAX_PRESENCE_LINKS);
        // What is in memory after storage failed may not be durable: nobody may take it for that.
        let (digest, change_count) = match ctx.outbox.has_failed() {
            true => (crate::id::Digest::ZERO, 0),
            false => (self.digest(), self.group.shard_states().change_count()),
        };
        let presence = Presence {
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
        };
        let (presence, signature) = presence.sign(ctx.secret);
        let frame = GroupFrame::Presence(SignedPresence { presence_bytes: presence, signature });
        let own_digest = self.digest();
        for (link, session) in &mut self.sessions {
            session.sent_digest = Some(own_digest);
            ctx.send(*link, &frame);
        }
    }

    /// Sends the next presence after at most `delay_ms`.
    pub(super) fn request_presence(&mut self, now: MonoTime, delay_ms: u64) {
        let due = now.plus_ms(delay_ms);
        self.presence_due = Some(self.presence_due.map_or(due, |earlier| earlier.min(due)));
    }

    /// A link with a member stands: it lives, whatever it says.
    pub(super) fn mark_alive(&mut self, ctx: &mut GroupContext<'_>, peer: NodeId) {
        let liveness = self.liveness.entry(peer).or_insert_with(|| Liveness {
            presence: None,
            last_alive_at: ctx.now.mono,
            last_alive_unix_secs: ctx.now.unix_secs,
            retired_boots: Vec::new(),
            presence_received_at: MonoTime::default(),
            is_up: false,
        });
        (liveness.last_alive_at, liveness.last_alive_unix_secs) = (ctx.now.mono, ctx.now.unix_secs);
        if !liveness.is_up {
            liveness.is_up = true;
            let group = self.group.id();
            ctx.emit_event(NodeEvent::ReachabilityChanged { group, peer, is_reachable: true });
        }
    }

    pub(super) fn on_presence(&mut self, ctx: &mut GroupContext<'_>, link: LinkId, signed: &SignedPresence) {
        let Some(presence) = Presence::decode(&signed.presence_bytes) else { return };
        let node = presence.node;
        let sender = self.sessions.get(&link).map(|session| session.peer);
        let is_of_member =
            presence.group == self.group.id() && node != ctx.own_id && self.group.members().is_member(&node);
        // Who is at the other end of a link was proved when it came up; of others only a signature proves the word.
        let is_proved = |presence: &Presence| {
            sender == Some(node) || presence.is_signed_by_node(&signed.presence_bytes, &signed.signature)
        };
        // What is old is passed over before its signature is looked at: that is most of what comes twice.
        if !is_of_member || !self.is_newer_presence(ctx, &presence) || !is_proved(&presence) {
            return;
        }
        self.retire_previous_boot(&presence);
        self.mark_alive(ctx, node);
        ctx.outbox.push(Effect::LearnAddresses { peer: node, addresses: presence.addresses.clone() });
        let others: Vec<_> = self
            .sessions
            .iter()
            .filter(|(other, session)| **other != link && session.peer != node)
            .filter(|(_, session)| !self.claims_link_with(sender, session.peer))
            .map(|(other, _)| *other)
            .collect();
        for other in others.into_iter().filter(|other| !ctx.is_backpressured(*other)).collect::<Vec<_>>() {
            ctx.send(other, &GroupFrame::Presence(signed.clone()));
        }
        let digest = presence.digest;
        if let Some(liveness) = self.liveness.get_mut(&node) {
            liveness.presence = Some(presence);
            liveness.presence_received_at = ctx.now.mono;
        }
        if sender == Some(node) {
            self.compare_presence(ctx, link, digest);
        }
    }

    /// True if it is newer than what is known of that node. A boot that was followed by another is over.
    fn is_newer_presence(&self, ctx: &GroupContext<'_>, presence: &Presence) -> bool {
        let Some(liveness) = self.liveness.get(&presence.node) else { return true };
        let Some(known) = &liveness.presence else { return true };
        if known.boot_id == presence.boot_id {
            let is_spaced =
                ctx.now.mono.ms_since(liveness.presence_received_at) >= limits::PRESENCE_MIN_INTERVAL_MS;
            return presence.sequence > known.sequence && is_spaced;
        }
        !liveness.retired_boots.contains(&presence.boot_id)
    }

    /// A node speaks that was started anew: what is told of its earlier boot is old from now on.
    fn retire_previous_boot(&mut self, presence: &Presence) {
        let Some(liveness) = self.liveness.get_mut(&presence.node) else { return };
        let previous_boot = liveness.presence.as_ref().map(|known| known.boot_id);
        liveness.retired_boots.extend(previous_boot.filter(|boot| *boot != presence.boot_id));
        if liveness.retired_boots.len() > MAX_RETIRED_BOOTS {
            liveness.retired_boots.remove(0);
        }
    }

    fn compare_presence(&mut self, ctx: &mut GroupContext<'_>, link: LinkId, digest: crate::id::Digest) {
        let (own_digest, now) = (self.digest(), ctx.now.mono);
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.received_digest = Some(digest);
        if digest == own_digest {
            return self.on_in_sync(ctx, link);
        }
        session.mismatch.get_or_insert((now, digest));
    }

    /// Neighbours that have differed for a while, with nothing under way to mend it, are compared with again.
    pub(super) fn retry_mismatched_sessions(&mut self, ctx: &mut GroupContext<'_>) {
        let (now, own_digest) = (ctx.now.mono, self.digest());
        let mut mismatched = Vec::new();
        for (link, session) in &mut self.sessions {
            if session.repair_due_at().is_none_or(|due| due > now) {
                continue;
            }
            session.mismatch = None;
            if session.received_digest != Some(own_digest) {
                mismatched.push(*link);
            }
        }
        for link in mismatched {
            self.send_digest(ctx, link);
        }
    }

    fn linked_peers(&self) -> BTreeSet<NodeId> {
        self.sessions.values().map(|session| session.peer).collect()
    }

    /// When the first member without a link has been silent for too long.
    pub(super) fn away_due(&self) -> Option<MonoTime> {
        let linked = self.linked_peers();
        let unlinked = self.liveness.iter().filter(|(node, known)| known.is_up && !linked.contains(*node));
        unlinked.map(|(_, known)| known.last_alive_at.plus_ms(limits::AWAY_AFTER_MS)).min()
    }

    /// Members that have not been heard for too long are away.
    pub(super) fn expire_liveness(&mut self, ctx: &mut GroupContext<'_>) {
        let linked = self.linked_peers();
        let (now, group) = (ctx.now.mono, self.group.id());
        let mut silent = Vec::new();
        for (node, liveness) in &mut self.liveness {
            if liveness.is_up
                && !linked.contains(node)
                && now.ms_since(liveness.last_alive_at) >= limits::AWAY_AFTER_MS
            {
                liveness.is_up = false;
                silent.push(*node);
            }
        }
        for peer in silent {
            ctx.emit_event(NodeEvent::ReachabilityChanged { group, peer, is_reachable: false });
        }
    }
}
