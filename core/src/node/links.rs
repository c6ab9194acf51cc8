//! Member links: how they come up and go down, which sessions they carry, and pings.

use std::collections::BTreeSet;

use super::Node;
use super::effect::{Effect, RequestError, Response};
use super::group_state::MemberLink;
use super::guest_opener::GuestOpener;
use super::input::{LinkId, LinkKind, MonoTime, RequestId};
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
    pub(super) fn link_handler(&mut self) -> LinkHandler<'_> {
        LinkHandler { node: self }
    }
}

/// Handles the events and frames of member links. Its frame handlers stand in `dispatch`.
pub(super) struct LinkHandler<'n> {
    pub(super) node: &'n mut Node,
}

impl LinkHandler<'_> {
    pub(super) fn on_link_up(&mut self, link: LinkId, peer: NodeId, kind: LinkKind, is_opened_here: bool) {
        match kind {
            LinkKind::Member => {
                self.node.links.insert(link, MemberLink::new(peer, self.node.now.mono));
                let hello = Hello {
                    newest_version: PROTOCOL_VERSION,
                    min_version: MIN_PROTOCOL_VERSION,
                    software: self.node.local_info.software.clone(),
                };
                self.send_member_frame(link, &MemberFrame::Hello(hello));
                GuestOpener { node: self.node }.schedule_membership_proofs();
            }
            LinkKind::Guest => {
                let (guest_streams, mut ctx) = self.node.split();
                guest_streams.on_up(&mut ctx, link, peer, is_opened_here);
            }
        }
    }

    pub(super) fn on_link_down(&mut self, link: LinkId) {
        self.node.guest_streams.on_down(link);
        if self.node.links.remove(&link).is_none() {
            return;
        }
        let lost_pings: Vec<_> =
            self.node.pending_pings.iter().filter(|(_, ping)| ping.link == link).map(|(id, _)| *id).collect();
        for request_id in lost_pings
            .iter()
            .filter_map(|id| self.node.pending_pings.remove(id))
            .map(|ping| ping.request_id)
            .collect::<Vec<_>>()
        {
            self.node.outbox.respond(request_id, Err(RequestError::NotLinked));
        }
        for group in self.node.groups.keys().copied().collect::<Vec<_>>() {
            if let Some((state, mut ctx)) = self.node.group_with_context(group) {
                state.sync(&mut ctx).close_session(link);
            }
        }
        GuestOpener { node: self.node }.schedule_membership_proofs();
    }

    pub(super) fn on_bytes_sent(&mut self, link: LinkId, bytes: usize) {
        let Some(member_link) = self.node.links.get_mut(&link) else { return };
        let was_backpressured = member_link.is_backpressured();
        member_link.pending_bytes = member_link.pending_bytes.saturating_sub(bytes);
        if was_backpressured && !member_link.is_backpressured() {
            for group in self.node.groups.keys().copied().collect::<Vec<_>>() {
                if let Some((state, mut ctx)) = self.node.group_with_context(group) {
                    state.sync(&mut ctx).resume_sending();
                }
            }
        }
    }

    /// Opens a session for each group and each neighbour that is a member of it and has none.
    pub(super) fn open_sessions(&mut self) {
        let links: Vec<_> = self
            .node
            .links
            .iter()
            .filter(|(_, link)| link.has_greeted)
            .map(|(id, link)| (*id, link.peer))
            .collect();
        for group in self.node.groups.keys().copied().collect::<Vec<_>>() {
            let Some((state, mut ctx)) = self.node.group_with_context(group) else { continue };
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
        if let Some(link) = self.node.links.get_mut(&link) {
            link.record_sent(self.node.now.mono, bytes.len());
        }
        self.node.outbox.push(Effect::Send { link, bytes });
    }

    pub(super) fn send_ping(&mut self, request_id: RequestId, node: NodeId) {
        if node == self.node.own_id {
            return self.node.outbox.respond(request_id, Ok(Response::RoundTrip { node, micros: 0 }));
        }
        let Some((&link, _)) = self.node.links.iter().find(|(_, link)| link.peer == node) else {
            return self.node.outbox.respond(request_id, Err(RequestError::NotLinked));
        };
        let nonce = self.node.rng.next_u64();
        self.node.pending_pings.insert(nonce, PendingPing { request_id, link, sent_at: self.node.now.mono });
        self.send_member_frame(link, &MemberFrame::Ping(nonce));
    }

    pub(super) fn on_pong(&mut self, link: LinkId, peer: NodeId, nonce: u64) {
        if let Some(ping) = self.node.pending_pings.remove(&nonce).filter(|ping| ping.link == link) {
            let micros = self.node.now.mono.0.saturating_sub(ping.sent_at.0);
            self.node.outbox.respond(ping.request_id, Ok(Response::RoundTrip { node: peer, micros }));
        }
    }

    /// Pings links that carried no frame for a while, since a silent link counts as dead. The pongs are
    /// ignored.
    pub(super) fn ping_idle_links(&mut self) {
        let now = self.node.now.mono;
        let idle = self
            .node
            .links
            .iter()
            .filter(|(_, link)| now.ms_since(link.last_sent_at) >= limits::PRESENCE_INTERVAL_MS);
        for link in idle.map(|(id, _)| *id).collect::<Vec<_>>() {
            let nonce = self.node.rng.next_u64();
            self.send_member_frame(link, &MemberFrame::Ping(nonce));
        }
    }

    pub(super) fn set_paused(&mut self, request_id: RequestId, group: GroupId, paused: bool) {
        let Some((state, mut ctx)) = self.node.group_with_context(group) else {
            return self.node.outbox.respond(request_id, Err(RequestError::UnknownGroup));
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
        self.node.outbox.respond(request_id, Ok(Response::Done));
    }

    /// Follows a change of membership in any group: reports with which nodes to keep links, and opens and
    /// closes sessions on the existing links.
    pub(super) fn announce_members(&mut self) {
        for group in self.node.groups.keys().copied().collect::<Vec<_>>() {
            if let Some((state, mut ctx)) = self.node.group_with_context(group) {
                state.close_nonmember_sessions(&mut ctx);
            }
        }
        let linked_groups = self.node.groups.values().filter(|state| state.needs_links(&self.node.own_id));
        let members: BTreeSet<NodeId> = linked_groups
            .flat_map(|state| state.group.members().nodes())
            .filter(|key| *key != self.node.own_id)
            .collect();
        if members != self.node.announced_members {
            self.node.announced_members = members.clone();
            self.node.outbox.push(Effect::SetMembers(members));
            GuestOpener { node: self.node }.schedule_membership_proofs();
        }
        self.open_sessions();
    }
}
