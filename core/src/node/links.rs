//! Links and visits: what comes in on them, and to whom it goes.

use std::collections::BTreeSet;

use super::Node;
use super::effect::{Effect, NodeEvent, RequestError, Response};
use super::group_state::MemberLink;
use super::input::{LinkId, LinkKind, MonoTime, RequestId};
use super::join::JoinHandshake;
use super::node_info::DiscoveredNode;
use crate::id::{GroupId, NodeId};
use crate::limits;
use crate::record::SignedRecord;
use crate::wire::guest::GuestFrame;
use crate::wire::member::{Hello, MemberFrame};
use crate::wire::{MIN_PROTOCOL_VERSION, PROTOCOL_VERSION};

/// A visit, from either side.
#[derive(Clone, Debug)]
pub(super) struct GuestStream {
    pub(super) peer: NodeId,
    /// True if this node opened it.
    pub(super) opened_here: bool,
    pub(super) last_activity: MonoTime,
    /// What this node, as a joiner, has heard so far.
    pub(super) join_handshake: Option<JoinHandshake>,
    /// What this node, as a member, was asked for: group, the joiner's nonce and its own.
    pub(super) probe_nonces: Option<(GroupId, [u8; 16], [u8; 16])>,
    /// True once somebody asked on it to be let in without a code.
    pub(super) is_pairing: bool,
    /// True once this node told the other side everything, since that took one of the two for no member.
    pub(super) has_sent_full_membership: bool,
    /// A line of grants that comes in portions.
    pub(super) partial_records: Vec<SignedRecord>,
    /// Lines of grants that this node showed and that were not answered yet. Answers come in order: these before that
    /// to the first probe.
    pub(super) unanswered_grant_paths: usize,
}

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
            state.presence_due = state.presence_due.min(self.now.mono.plus_ms(limits::PRESENCE_DEBOUNCE_MS));
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
            }
            LinkKind::Guest => self.on_guest_stream_up(link, peer, opened_here),
        }
    }

    fn on_guest_stream_up(&mut self, link: LinkId, peer: NodeId, opened_here: bool) {
        if self.guest_streams.len() >= limits::MAX_GUEST_STREAMS {
            self.limit_stats.record("visits of strangers at once", limits::MAX_GUEST_STREAMS);
            self.outbox.push(Effect::Close { link, reason: "too many visits at once".to_owned() });
            return;
        }
        if self.outbox.has_failed() {
            self.outbox.push(Effect::Close { link, reason: "the store failed".to_owned() });
            return;
        }
        let last_activity = self.now.mono;
        self.guest_streams.insert(
            link,
            GuestStream {
                peer,
                opened_here,
                last_activity,
                join_handshake: None,
                probe_nonces: None,
                is_pairing: false,
                has_sent_full_membership: false,
                partial_records: Vec::new(),
                unanswered_grant_paths: 0,
            },
        );
        if !opened_here {
            return;
        }
        self.send_grant_paths(link, peer);
        let has_probed = self.send_next_probe(link, peer);
        let has_shown_grant_path =
            self.guest_streams.get(&link).is_some_and(|stream| stream.unanswered_grant_paths > 0);
        if !has_probed && !has_shown_grant_path {
            self.close_guest_stream(link, "nothing to say");
        }
    }

    pub(super) fn on_link_down(&mut self, link: LinkId) {
        self.guest_streams.remove(&link);
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
                state.close_session(&mut ctx, link);
            }
        }
    }

    pub(super) fn on_bytes_sent(&mut self, link: LinkId, bytes: usize) {
        let Some(member_link) = self.links.get_mut(&link) else { return };
        let was_backpressured = member_link.pending_bytes > limits::MAX_LINK_PENDING_BYTES;
        member_link.pending_bytes = member_link.pending_bytes.saturating_sub(bytes);
        if was_backpressured && member_link.pending_bytes <= limits::MAX_LINK_PENDING_BYTES {
            for group in self.groups.keys().copied().collect::<Vec<_>>() {
                if let Some((state, mut ctx)) = self.group_with_context(group) {
                    state.resume_sending(&mut ctx);
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
                    (true, true) => state.open_session(&mut ctx, *link, *peer),
                    (true, false) => state.send_leave_records(&mut ctx, *link),
                    (false, _) => {}
                }
            }
        }
    }

    pub(super) fn on_frame(&mut self, link: LinkId, bytes: &[u8]) {
        let outcome = if let Some(peer) = self.links.get(&link).map(|link| link.peer) {
            match MemberFrame::decode(bytes) {
                Ok(frame) => self.on_member_frame(link, peer, frame).map_err(|reason| (peer, reason)),
                Err(error) => {
                    self.outbox.push(Effect::Close { link, reason: error.to_string() });
                    Err((peer, error.to_string()))
                }
            }
        } else if let Some(peer) = self.guest_streams.get(&link).map(|stream| stream.peer) {
            if self.outbox.has_failed() {
                return self.close_guest_stream(link, "the store failed");
            }
            let outcome = match GuestFrame::decode(bytes) {
                Ok(frame) => self.on_guest_frame(link, peer, frame),
                Err(error) => Err(error.to_string()),
            };
            outcome.map_err(|reason| {
                self.close_guest_stream(link, &reason);
                (peer, reason)
            })
        } else {
            Ok(())
        };
        if let Err((peer, reason)) = outcome {
            self.outbox.push(Effect::Event(NodeEvent::ProtocolViolation { peer, reason }));
        }
    }

    fn on_member_frame(&mut self, link: LinkId, peer: NodeId, frame: MemberFrame) -> Result<(), String> {
        match &frame {
            MemberFrame::Hello(hello) => {
                self.on_hello(link, peer, hello);
                return Ok(());
            }
            MemberFrame::Ping(nonce) => {
                self.send_member_frame(link, &MemberFrame::Pong(*nonce));
                return Ok(());
            }
            MemberFrame::Pong(nonce) => {
                if let Some(ping) = self.pending_pings.remove(nonce).filter(|ping| ping.link == link) {
                    let micros = self.now.mono.0.saturating_sub(ping.sent_at.0);
                    self.outbox.respond(ping.request_id, Ok(Response::RoundTripMicros(micros)));
                }
                return Ok(());
            }
            _ => {}
        }
        if !self.links.get(&link).is_some_and(|link| link.has_greeted) {
            return Err("a frame before any hello".to_owned());
        }
        self.on_group_frame(link, peer, frame)
    }

    fn on_hello(&mut self, link: LinkId, peer: NodeId, hello: &Hello) {
        if hello.newest_version < MIN_PROTOCOL_VERSION || hello.min_version > PROTOCOL_VERSION {
            let software = hello.software.clone();
            self.outbox.push(Effect::Event(NodeEvent::IncompatibleVersion { peer, software }));
            self.outbox
                .push(Effect::Close { link, reason: "no version of the protocol in common".to_owned() });
            return;
        }
        if let Some(link) = self.links.get_mut(&link) {
            link.has_greeted = true;
        }
        self.open_sessions();
    }

    /// A frame that belongs to a group. Of a group that this node is not in, or has paused, nothing is said.
    fn on_group_frame(&mut self, link: LinkId, peer: NodeId, frame: MemberFrame) -> Result<(), String> {
        let Some(group) = group_of_frame(&frame) else { return Ok(()) };
        let Some((state, mut ctx)) = self.group_with_context(group) else { return Ok(()) };
        // What cannot be stored is not taken in, and what may not be stored is not given out.
        if state.paused
            || (ctx.outbox.has_failed()
                && !matches!(frame, MemberFrame::Presence(_) | MemberFrame::StopSync(_)))
        {
            return Ok(());
        }
        if !state.is_member(&ctx.own_id) {
            state.on_frame_as_nonmember(&mut ctx, link, peer, &frame)?;
            self.open_sessions();
            return Ok(());
        }
        if !state.group.members().is_member(&peer) {
            match frame {
                MemberFrame::GrantPath(bundle) => state.on_records(&mut ctx, link, &bundle)?,
                MemberFrame::ProveMembership(_) | MemberFrame::StopSync(_) => {}
                _ => state.challenge_nonmember(&mut ctx, link, peer),
            }
            self.open_sessions();
            return Ok(());
        }
        if !state.sessions.contains_key(&link) && !matches!(frame, MemberFrame::StopSync(_)) {
            state.open_session(&mut ctx, link, peer);
        }
        state.mark_alive(&mut ctx, peer);
        match frame {
            MemberFrame::GroupDigest(body) => state.on_digest(&mut ctx, link, &body),
            MemberFrame::GroupSummary(body) => state.on_summary(&mut ctx, link, &body),
            MemberFrame::RecordBatch(body) | MemberFrame::GrantPath(body) => {
                state.on_records(&mut ctx, link, &body)?
            }
            MemberFrame::ShardPositions(body) => state.on_positions(&mut ctx, link, &body),
            MemberFrame::RangeRequest(body) => state.on_range_request(&mut ctx, link, &body),
            MemberFrame::RangeResponse(body) => state.on_range_response(&mut ctx, link, &body)?,
            MemberFrame::Push(body) => state.on_push(&mut ctx, link, &body)?,
            MemberFrame::Presence(body) => state.on_presence(&mut ctx, link, &body),
            MemberFrame::StopSync(_) => state.close_session(&mut ctx, link),
            MemberFrame::ProveMembership(_) => state.send_grant_path(&mut ctx, link),
            MemberFrame::ForwardedJoin(body) => state.on_forwarded_join(&mut ctx, link, body)?,
            MemberFrame::ForwardedResponse(body) => state.on_forwarded_response(&mut ctx, body),
            MemberFrame::Hello(_) | MemberFrame::Ping(_) | MemberFrame::Pong(_) | MemberFrame::Unknown(_) => {
            }
        }
        Ok(())
    }

    fn on_guest_frame(&mut self, link: LinkId, peer: NodeId, frame: GuestFrame) -> Result<(), String> {
        if let Some(stream) = self.guest_streams.get_mut(&link) {
            stream.last_activity = self.now.mono;
        }
        match frame {
            GuestFrame::MembershipProbe(membership_probe) => self.on_probe(link, peer, &membership_probe),
            GuestFrame::ProbeResponse(response) => self.on_probe_response(link, peer, &response)?,
            GuestFrame::JoinRequest(request) => self.on_join_request(link, peer, request)?,
            GuestFrame::JoinResponse(response) => self.on_join_response(link, &response)?,
            GuestFrame::GrantPath(grant_path) => self.on_grant_path(link, peer, &grant_path)?,
            GuestFrame::MembershipEnded(ended) => self.on_membership_ended(link, &ended)?,
            GuestFrame::PairingRequest(request) => self.on_pairing_request(link, peer, request),
            GuestFrame::PairingNonce(nonce) => self.on_pairing_nonce(link, peer, nonce)?,
            GuestFrame::PairingReveal(nonce) => self.on_pairing_reveal(link, peer, nonce)?,
            GuestFrame::NotMember => {
                if !self.on_grant_path_answered(link, "not known") && !self.send_next_probe(link, peer) {
                    self.close_guest_stream(link, "not in the same group");
                }
            }
            GuestFrame::MemberRecognized(_) => drop(self.on_grant_path_answered(link, "known now")),
            GuestFrame::Unknown(_) => {}
        }
        Ok(())
    }

    /// A line that this node showed was answered, and nothing is left to say once all were, unless it came to ask for
    /// something too. False if none was waited for.
    pub(super) fn on_grant_path_answered(&mut self, link: LinkId, reason: &str) -> bool {
        let Some(stream) = self.guest_streams.get_mut(&link) else { return true };
        if stream.unanswered_grant_paths == 0 {
            return false;
        }
        stream.unanswered_grant_paths -= 1;
        if stream.unanswered_grant_paths == 0 && stream.join_handshake.is_none() {
            self.close_guest_stream(link, reason);
        }
        true
    }

    /// Sends a frame that belongs to no group.
    fn send_member_frame(&mut self, link: LinkId, frame: &MemberFrame) {
        let bytes = frame.encode();
        if let Some(link) = self.links.get_mut(&link) {
            link.record_sent(self.now.mono, bytes.len());
        }
        self.outbox.push(Effect::Send { link, bytes });
    }

    pub(super) fn send_guest_frame(&mut self, link: LinkId, frame: &GuestFrame) {
        self.outbox.push(Effect::Send { link, bytes: frame.encode() });
    }

    pub(super) fn close_guest_stream(&mut self, link: LinkId, reason: &str) {
        self.guest_streams.remove(&link);
        self.outbox.push(Effect::Close { link, reason: reason.to_owned() });
    }

    pub(super) fn close_idle_guest_streams(&mut self) {
        let now = self.now.mono;
        let idle = self
            .guest_streams
            .iter()
            .filter(|(_, stream)| now.ms_since(stream.last_activity) >= limits::GUEST_STREAM_IDLE_MS);
        for link in idle.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.close_guest_stream(link, "a visit without a word");
        }
    }

    pub(super) fn send_ping(&mut self, request_id: RequestId, node: NodeId) {
        let Some((&link, _)) = self.links.iter().find(|(_, link)| link.peer == node) else {
            return self.respond_error(request_id, RequestError::NotLinked);
        };
        let nonce = self.rng.next_u64();
        self.pending_pings.insert(nonce, PendingPing { request_id, link, sent_at: self.now.mono });
        self.send_member_frame(link, &MemberFrame::Ping(nonce));
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
                    ctx.send(link, &MemberFrame::StopSync(group));
                    state.close_session(&mut ctx, link);
                }
            }
            ctx.outbox.store_batch(vec![row]);
        }
        self.open_sessions();
        self.outbox.respond(request_id, Ok(Response::Done));
    }
}

fn group_of_frame(frame: &MemberFrame) -> Option<GroupId> {
    match frame {
        MemberFrame::GroupDigest(body) => Some(body.group),
        MemberFrame::GroupSummary(body) => Some(body.group),
        MemberFrame::RecordBatch(body) | MemberFrame::GrantPath(body) => Some(body.group),
        MemberFrame::ShardPositions(body) => Some(body.group),
        MemberFrame::RangeRequest(body) => Some(body.group),
        MemberFrame::RangeResponse(body) => Some(body.group),
        MemberFrame::Push(body) => Some(body.group),
        MemberFrame::Presence(body) => Some(body.group),
        MemberFrame::StopSync(group) | MemberFrame::ProveMembership(group) => Some(*group),
        MemberFrame::ForwardedJoin(body) => Some(body.group),
        MemberFrame::ForwardedResponse(body) => Some(body.group),
        MemberFrame::Hello(_) | MemberFrame::Ping(_) | MemberFrame::Pong(_) | MemberFrame::Unknown(_) => None,
    }
}
