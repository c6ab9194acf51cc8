//! Member links: how they come up and go down, which sessions they carry, and pings.

use std::collections::BTreeSet;

use super::Node;
use super::effect::{Effect, RequestError, Response};
use super::group_state::MemberLink;
use super::input::{LinkId, LinkKind, MonoTime, RequestId};
use super::node_info::DiscoveredNode;
use crate::id::{GroupId, NodeId};
use crate::limits;
use crate::wire::member::{GroupFrame, Hello, MemberFrame};
use crate::wire::{MIN_PROTOCOL_VERSION, PROTOCOL_VERSION};

/// A ping under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingPing {
    pub(super) request_id: RequestId,
    pub(super) link: LinkId,
    pub(super) sent_at: MonoTime,
}

impl Node {
    pub(super) fn on_node_discovered(&mut self, peer: NodeId, addresses: Vec<String>) {
        if peer == self.own_id {
            return;
        }
        if self.discovered.len() >= limits::MAX_DISCOVERED_NODES
            && !self.discovered.contains_key(&peer)
            && let Some(oldest) =
                self.discovered.iter().min_by_key(|(_, seen)| seen.last_seen_at).map(|(peer, _)| *peer)
        {
            self.limit_stats.record("nodes seen on the network", limits::MAX_DISCOVERED_NODES);
            self.discovered.remove(&oldest);
        }
        self.discovered.insert(
            peer,
            DiscoveredNode {
                addresses,
                last_seen_at: self.now.mono,
                last_seen_unix_secs: self.now.unix_secs,
            },
        );
        self.open_due_guest_streams();
        self.schedule_membership_proofs();
    }

    /// Visits members that are near and not linked, to show them the line of grants: one that was admitted on the other
    /// side of a cut is unknown here, and of a pair only the lower key dials.
    pub(super) fn schedule_membership_proofs(&mut self) {
        let now = self.now.mono;
        let linked: BTreeSet<NodeId> = self.links.values().map(|link| link.peer).collect();
        let is_near = |peer: &NodeId| {
            let seen = self.discovered.get(peer);
            seen.is_some_and(|seen| now.ms_since(seen.last_seen_at) < limits::NEARBY_WITHIN_MS)
        };
        let unlinked: BTreeSet<NodeId> = self
            .announced_members
            .iter()
            .copied()
            .filter(|peer| !linked.contains(peer) && is_near(peer))
            .collect();
        self.proof_due.retain(|peer, _| unlinked.contains(peer));
        for peer in unlinked {
            let due = self.proof_due.entry(peer).or_insert(now.plus_ms(limits::MEMBERSHIP_PROOF_DELAY_MS));
            if *due <= now {
                *due = now.plus_ms(limits::MEMBERSHIP_PROOF_RETRY_MS);
                self.outbox.push(Effect::OpenGuestStream { peer });
            }
        }
    }

    pub(super) fn on_own_addresses(&mut self, addresses: Vec<String>) {
        self.local_info.addresses = addresses;
        for state in self.groups.values_mut() {
            state.request_presence(self.now.mono, limits::PRESENCE_DEBOUNCE_MS);
        }
    }

    pub(super) fn on_link_up(&mut self, link: LinkId, peer: NodeId, kind: LinkKind, opened_here: bool) {
        match kind {
            LinkKind::Member => {
                self.links.insert(link, MemberLink::new(peer, self.now.mono));
                let hello = Hello {
                    newest_version: PROTOCOL_VERSION,
                    min_version: MIN_PROTOCOL_VERSION,
                    software: self.local_info.software.clone(),
                };
                self.send_member_frame(link, &MemberFrame::Hello(hello));
                self.schedule_membership_proofs();
            }
            LinkKind::Guest => {
                let (guest_streams, mut ctx) = self.split();
                guest_streams.on_up(&mut ctx, link, peer, opened_here);
            }
        }
    }

    pub(super) fn on_link_down(&mut self, link: LinkId) {
        self.guest_streams.on_down(link);
        if self.links.remove(&link).is_none() {
            return;
        }
        let lost_pings: Vec<_> =
            self.pending_pings.iter().filter(|(_, ping)| ping.link == link).map(|(id, _)| *id).collect();
        for request_id in lost_pings
            .iter()
            .filter_map(|id| self.pending_pings.remove(id))
            .map(|ping| ping.request_id)
            .collect::<Vec<_>>()
        {
            self.respond_error(request_id, RequestError::NotLinked);
        }
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            if let Some((state, mut ctx)) = self.group_with_context(group) {
                state.sync(&mut ctx).close_session(link);
            }
        }
        self.schedule_membership_proofs();
    }

    pub(super) fn on_bytes_sent(&mut self, link: LinkId, bytes: usize) {
        let Some(member_link) = self.links.get_mut(&link) else { return };
        let was_backpressured = member_link.is_backpressured();
        member_link.pending_bytes = member_link.pending_bytes.saturating_sub(bytes);
        if was_backpressured && !member_link.is_backpressured() {
            for group in self.groups.keys().copied().collect::<Vec<_>>() {
                if let Some((state, mut ctx)) = self.group_with_context(group) {
                    state.sync(&mut ctx).resume_sending();
                }
            }
        }
    }

    /// Opens a session wherever a neighbour is a member and has none yet.
    pub(super) fn open_sessions(&mut self) {
        let links: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.has_greeted)
            .map(|(id, link)| (*id, link.peer))
            .collect();
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            let Some((state, mut ctx)) = self.group_with_context(group) else { continue };
            let self_is_member = state.is_member(&ctx.own_id);
            for (link, peer) in &links {
                match (state.group.members().is_member(peer), self_is_member) {
                    (true, true) => state.sync(&mut ctx).open_session(*link, *peer),
                    (true, false) => state.send_leave_records(&mut ctx, *link),
                    (false, _) => {}
                }
            }
        }
    }

    /// Sends a frame that belongs to no group.
    pub(super) fn send_member_frame(&mut self, link: LinkId, frame: &MemberFrame) {
        let bytes = frame.encode();
        if let Some(link) = self.links.get_mut(&link) {
            link.record_sent(self.now.mono, bytes.len());
        }
        self.outbox.push(Effect::Send { link, bytes });
    }

    pub(super) fn send_ping(&mut self, request_id: RequestId, node: NodeId) {
        let Some((&link, _)) = self.links.iter().find(|(_, link)| link.peer == node) else {
            return self.respond_error(request_id, RequestError::NotLinked);
        };
        let nonce = self.rng.next_u64();
        self.pending_pings.insert(nonce, PendingPing { request_id, link, sent_at: self.now.mono });
        self.send_member_frame(link, &MemberFrame::Ping(nonce));
    }

    pub(super) fn on_pong(&mut self, link: LinkId, nonce: u64) {
        if let Some(ping) = self.pending_pings.remove(&nonce).filter(|ping| ping.link == link) {
            let micros = self.now.mono.0.saturating_sub(ping.sent_at.0);
            self.outbox.respond(ping.request_id, Ok(Response::RoundTripMicros(micros)));
        }
    }

    /// Pings links that carried nothing for a while: one without a frame counts as dead. Nobody waits for the answer.
    pub(super) fn ping_idle_links(&mut self) {
        let now = self.now.mono;
        let idle = self
            .links
            .iter()
            .filter(|(_, link)| now.ms_since(link.last_sent_at) >= limits::PRESENCE_INTERVAL_MS);
        for link in idle.map(|(id, _)| *id).collect::<Vec<_>>() {
            let nonce = self.rng.next_u64();
            self.send_member_frame(link, &MemberFrame::Ping(nonce));
        }
    }

    pub(super) fn set_paused(&mut self, request_id: RequestId, group: GroupId, paused: bool) {
        let Some((state, mut ctx)) = self.group_with_context(group) else {
            return self.respond_error(request_id, RequestError::UnknownGroup);
        };
        if state.paused != paused {
            state.paused = paused;
            let row = state.to_row();
            if paused {
                for link in state.sessions.keys().copied().collect::<Vec<_>>() {
                    ctx.send(link, &GroupFrame::StopSync);
                    state.sync(&mut ctx).close_session(link);
                }
            }
            ctx.outbox.store_batch(vec![row]);
        }
        self.open_sessions();
        self.outbox.respond(request_id, Ok(Response::Done));
    }
}
