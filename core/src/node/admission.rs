//! Letting others in: invites made here, and what strangers ask of a member.

use std::collections::BTreeSet;

use super::Node;
use super::effect::{Effect, NodeEvent, RequestError, Response};
use super::group_state::{GroupContext, GroupState, ReplyRoute};
use super::input::{LinkId, RequestId};
use super::join::collect_records;
use super::membership_status::mark_if_due;
use super::protocol_error::ProtocolError;
use super::record_issuer::RecordIssuer;
use crate::id::{GroupId, InviteId, NodeId, RecordId, SecretKey};
use crate::limits;
use crate::record::{Frontiers, Grant, RecordBody, Revoke, RevokeTarget, Role, SignedRecord};
use crate::store::{InviteRow, LAYOUT_VERSION, Row, Table, key};
use crate::wire::guest::{
    GrantPath, GuestFrame, JoinDenial, JoinRequest, JoinResponse, MembershipProbe, ProbeResponse,
    split_records,
};
use crate::wire::invite_code::InviteCode;
use crate::wire::member::{ForwardedJoin, ForwardedResponse, GroupFrame, RecordBatch};

/// What [`limits::MAX_WAITING_JOINS`] bounds.
const WAITING_JOINS_LIMIT: &str = "requests to join that wait for their issuer";

impl Node {
    pub(super) fn create_invite(
        &mut self,
        request_id: RequestId,
        group: GroupId,
        role: Role,
        max_uses: u32,
        expires_unix_secs: i64,
    ) {
        let secret = self.rng.next_nonce();
        let (me, now) = (self.own_id, self.now);
        let Some((state, ctx)) = self.group_with_context(group) else {
            return self.respond_error(request_id, RequestError::UnknownGroup);
        };
        let Some(grant) = state.group.members().oldest_grant_allowing(&me, |role| role == Role::Admin) else {
            ctx.outbox.respond(request_id, Err(RequestError::NotAdmin));
            return;
        };
        if state.invites.len() >= limits::MAX_INVITES_PER_GROUP {
            // Those whose time is over make room.
            let expired: Vec<_> = state
                .invites
                .iter()
                .filter(|(_, row)| row.expires_at <= now.unix_secs)
                .map(|(id, _)| *id)
                .collect();
            for invite in expired {
                state.invites.remove(&invite);
                ctx.outbox.store_batch(vec![Row::remove(Table::Invites, key::invite(group, invite))]);
            }
            if state.invites.len() >= limits::MAX_INVITES_PER_GROUP {
                ctx.outbox.respond(request_id, Err(RequestError::LimitReached("invites")));
                return;
            }
        }
        let code = InviteCode::new(group, &me, secret);
        let row = InviteRow {
            version: LAYOUT_VERSION,
            grant,
            role_byte: role.to_byte(),
            max_uses,
            created_at: now.unix_secs,
            expires_at: expires_unix_secs,
        };
        ctx.outbox.store_batch(vec![Row::put_encoded(
            Table::Invites,
            key::invite(group, code.invite_id()),
            &row,
        )]);
        state.invites.insert(code.invite_id(), row);
        ctx.outbox.respond(request_id, Ok(Response::InviteCreated(code)));
    }

    pub(super) fn revoke_invite(&mut self, request_id: RequestId, group: GroupId, invite: InviteId) {
        let Some((state, mut ctx)) = self.group_with_context(group) else {
            return self.respond_error(request_id, RequestError::UnknownGroup);
        };
        if !state.invites.contains_key(&invite) || state.group.members().is_revoked(&invite) {
            ctx.outbox.respond(request_id, Err(RequestError::UnknownInvite));
            return;
        }
        let body = RecordBody::Revoke(Revoke {
            target: RevokeTarget::Invite(invite),
            frontiers: Frontiers::default(),
        });
        let response =
            RecordIssuer::new(state, &mut ctx, "", "").issue_as_admin(body).map(|_| Response::Done);
        ctx.outbox.respond(request_id, response);
    }

    pub(super) fn on_probe(&mut self, link: LinkId, peer: NodeId, probe: &MembershipProbe) {
        let nonce = self.rng.next_nonce();
        let probed_group =
            self.groups.values().find(|state| probe.matches_group(state.group.id(), &peer, &self.own_id));
        let grant_path = probed_group.and_then(|probed_state| {
            let grant = probed_state.group.members().live_grants_of(&self.own_id).next()?.grant;
            Some((probed_state.group.id(), probed_state.group.records().grant_proof(&grant)?))
        });
        let Some((group, records)) = grant_path else {
            self.send_guest_frame(link, &GuestFrame::NotMember);
            return;
        };
        if let Some(stream) = self.guest_streams.get_mut(&link) {
            stream.probe_nonces = Some((group, probe.nonce, nonce));
        }
        for (records, last) in split_records(records.iter().map(SignedRecord::encode).collect()) {
            self.send_guest_frame(
                link,
                &GuestFrame::ProbeResponse(ProbeResponse { nonce, records, is_last: last }),
            );
        }
    }

    pub(super) fn on_join_request(
        &mut self,
        link: LinkId,
        peer: NodeId,
        request: JoinRequest,
    ) -> Result<(), ProtocolError> {
        let probe_nonces = self.guest_streams.get(&link).and_then(|stream| stream.probe_nonces);
        let (group, joiner_nonce, own_nonce) = probe_nonces.ok_or(ProtocolError::JoinRequestBeforeProbe)?;
        let terms = &request.terms;
        let is_consistent = terms.group == group
            && terms.joiner == peer
            && terms.contacted_member == self.own_id
            && terms.nonces == (joiner_nonce, own_nonce)
            && request.has_valid_signatures();
        if !is_consistent {
            self.send_guest_frame(
                link,
                &GuestFrame::JoinResponse(JoinResponse::Denied(JoinDenial::InvalidSignature)),
            );
            return Err(ProtocolError::InvalidJoinRequest);
        }
        let Some((state, mut ctx)) = self.group_with_context(group) else { return Ok(()) };
        state.handle_join_request(&mut ctx, request, ReplyRoute::GuestStream(link));
        Ok(())
    }

    /// A member that this node had not heard of shows its line of grants.
    pub(super) fn on_grant_path(
        &mut self,
        link: LinkId,
        peer: NodeId,
        grant_path: &GrantPath,
    ) -> Result<(), ProtocolError> {
        if !self.groups.contains_key(&grant_path.group) {
            // Not in that group: keep nothing, and say no more than to any stranger.
            if grant_path.is_last {
                self.send_guest_frame(link, &GuestFrame::NotMember);
            }
            return Ok(());
        }
        let Some(stream) = self.guest_streams.get_mut(&link) else { return Ok(()) };
        collect_records(&mut stream.partial_records, &grant_path.records)?;
        if !grant_path.is_last {
            return Ok(());
        }
        let records = std::mem::take(&mut stream.partial_records);
        let Some((state, mut ctx)) = self.group_with_context(grant_path.group) else { return Ok(()) };
        let shown_ids: BTreeSet<RecordId> = records.iter().map(SignedRecord::id).collect();
        let recorded = state.group.apply_records(records);
        let fault = recorded.fault;
        state.sync(&mut ctx).on_records_ingested(recorded, None);
        let (peer_is_member, self_is_member) =
            (state.group.members().is_member(&peer), state.is_member(&ctx.own_id));
        let evidence = match self_is_member || !peer_is_member {
            true => state.group.membership_records().removal_proof_for_path(&peer, &shown_ids),
            // A member that does not know that this node is none any more: it may have been set back since it said so.
            false => state.group.membership_records().removal_proof(&ctx.own_id),
        };
        if peer_is_member && self_is_member {
            self.send_guest_frame(link, &GuestFrame::MemberRecognized(grant_path.group));
        } else if evidence.is_empty() {
            self.send_guest_frame(link, &GuestFrame::NotMember);
        } else {
            // It knows the group; what it does not know yet is that it is none of it any more.
            for (records, last) in split_records(evidence.iter().map(SignedRecord::encode).collect()) {
                self.send_guest_frame(
                    link,
                    &GuestFrame::MembershipEnded(GrantPath {
                        group: grant_path.group,
                        records,
                        is_last: last,
                    }),
                );
            }
        }
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// A node that was shown a line of grants says that these count no more, and why.
    pub(super) fn on_membership_ended(
        &mut self,
        link: LinkId,
        ended: &GrantPath,
    ) -> Result<(), ProtocolError> {
        let Some(stream) = self.guest_streams.get_mut(&link) else { return Ok(()) };
        collect_records(&mut stream.partial_records, &ended.records)?;
        if !ended.is_last {
            return Ok(());
        }
        let records = std::mem::take(&mut stream.partial_records);
        let mut fault = None;
        if let Some((state, mut ctx)) = self.group_with_context(ended.group) {
            let recorded = state.group.apply_records(records);
            fault = recorded.fault;
            state.sync(&mut ctx).on_records_ingested(recorded, None);
        }
        self.send_full_membership(link, ended.group);
        self.on_grant_path_answered(link, "a member no more");
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// A node says that one of the two is no member, and by all that is known here both are: what it said does not count,
    /// and it does not know that. It is told everything, once.
    fn send_full_membership(&mut self, link: LinkId, group: GroupId) {
        let Some(stream) =
            self.guest_streams.get_mut(&link).filter(|candidate| !candidate.has_sent_full_membership)
        else {
            return;
        };
        let peer = stream.peer;
        let Some(state) = self.groups.get(&group).filter(|candidate| candidate.is_member(&self.own_id))
        else {
            return;
        };
        let records = state.group.membership_records().missing_records(&[]);
        let size: usize = records.iter().map(SignedRecord::encoded_len).sum();
        if !state.group.members().is_member(&peer) || size > limits::MAX_FULL_MEMBERSHIP_BYTES {
            return;
        }
        stream.has_sent_full_membership = true;
        stream.unanswered_grant_paths += 1;
        for (records, last) in split_records(records.iter().map(SignedRecord::encode).collect()) {
            self.send_guest_frame(link, &GuestFrame::GrantPath(GrantPath { group, records, is_last: last }));
        }
    }

    /// A visit to a member that does not know this node: shows it the line of grants in every group that both are in.
    pub(super) fn send_grant_paths(&mut self, link: LinkId, peer: NodeId) {
        let mut frames = Vec::new();
        for state in self.groups.values().filter(|state| state.group.members().is_member(&peer)) {
            let Some(grant) = state.group.members().live_grants_of(&self.own_id).next() else { continue };
            let records = state.group.records().grant_proof(&grant.grant).unwrap_or_default();
            for (records, last) in split_records(records.iter().map(SignedRecord::encode).collect()) {
                frames.push(GuestFrame::GrantPath(GrantPath {
                    group: state.group.id(),
                    records,
                    is_last: last,
                }));
            }
        }
        let complete_paths =
            frames.iter().filter(|frame| matches!(frame, GuestFrame::GrantPath(path) if path.is_last));
        if let Some(stream) = self.guest_streams.get_mut(&link) {
            stream.unanswered_grant_paths = complete_paths.count();
        }
        for frame in frames {
            self.send_guest_frame(link, &frame);
        }
    }
}

impl GroupState {
    /// Sees to a request to join: grants or refuses it here, or carries it to its issuer.
    pub(super) fn handle_join_request(
        &mut self,
        ctx: &mut GroupContext<'_>,
        request: JoinRequest,
        route: ReplyRoute,
    ) {
        if let Some(responses) = self.grant_responses_for_request(&request) {
            return self.send_join_responses(ctx, &request, route, responses);
        }
        if request.terms.issuer_fingerprint != ctx.own_id.fingerprint8() {
            let hops_left = limits::MAX_FORWARD_HOPS;
            self.remember_waiting_join(&request);
            if self.forwarded_joins.len() < limits::MAX_WAITING_JOINS {
                self.forwarded_joins.insert(request.id(), (route, ctx.now.mono));
            } else {
                ctx.limit_stats.record(WAITING_JOINS_LIMIT, limits::MAX_WAITING_JOINS);
            }
            let issuer = self.find_linked_issuer(&request);
            if issuer.is_none() {
                let issuer_name = self.issuer_name(&request);
                self.send_join_responses(
                    ctx,
                    &request,
                    route,
                    vec![JoinResponse::WaitingForIssuer { issuer_name }],
                );
            }
            return self.forward_join(ctx, request, hops_left, None);
        }
        let responses = match self.issue_join_grant(ctx, &request) {
            Err(denial) => vec![JoinResponse::Denied(denial)],
            Ok(()) => self.grant_responses_for_request(&request).unwrap_or_default(),
        };
        self.send_join_responses(ctx, &request, route, responses);
    }

    fn remember_waiting_join(&mut self, request: &JoinRequest) {
        if self.waiting_joins.len() < limits::MAX_WAITING_JOINS
            || self.waiting_joins.contains_key(&request.terms.joiner)
        {
            self.waiting_joins.insert(request.terms.joiner, request.clone());
        }
    }

    /// The answer for somebody who is a member already.
    fn grant_responses_for_request(&self, request: &JoinRequest) -> Option<Vec<JoinResponse>> {
        self.grant_responses(&request.terms.joiner)
    }

    /// What tells `joiner` that it is a member, if it is one.
    pub(super) fn grant_responses(&self, joiner: &NodeId) -> Option<Vec<JoinResponse>> {
        let effective_grant = self.group.members().live_grants_of(joiner).last()?;
        let records = self.group.records().grant_proof(&effective_grant.grant)?;
        let records = records.iter().map(SignedRecord::encode).collect();
        Some(
            split_records(records)
                .into_iter()
                .map(|(records, last)| JoinResponse::Granted { records, last })
                .collect(),
        )
    }

    /// Answers somebody who waited for the issuer of a code, and was let in by another admin.
    pub(super) fn grant_waiting_join(&mut self, ctx: &mut GroupContext<'_>, joiner: &NodeId) {
        let Some(request) = self.waiting_joins.remove(joiner) else { return };
        let responses = self.grant_responses_for_request(&request).unwrap_or_default();
        if let Some((route, _)) = self.forwarded_joins.remove(&request.id()) {
            self.send_join_responses(ctx, &request, route, responses);
        }
    }

    /// Tells somebody who waits for the issuer of a code that it is not let in.
    pub(super) fn deny_waiting_join(
        &mut self,
        ctx: &mut GroupContext<'_>,
        joiner: &NodeId,
        denial: JoinDenial,
    ) {
        let Some(request) = self.waiting_joins.remove(joiner) else { return };
        if let Some((route, _)) = self.forwarded_joins.remove(&request.id()) {
            self.send_join_responses(ctx, &request, route, vec![JoinResponse::Denied(denial)]);
        }
    }

    /// Machines that wait for the issuer of their code, with what they would like to be called.
    pub fn waiting_join_terms(&self) -> impl Iterator<Item = (NodeId, &str, &[(String, String)], String)> {
        self.waiting_joins.values().map(|request| {
            let terms = &request.terms;
            (terms.joiner, terms.alias.as_str(), terms.labels.as_slice(), self.issuer_name(request))
        })
    }

    fn issue_join_grant(
        &mut self,
        ctx: &mut GroupContext<'_>,
        request: &JoinRequest,
    ) -> Result<(), JoinDenial> {
        let terms = &request.terms;
        let invite = self.invites.get(&terms.invite_id).cloned().ok_or(JoinDenial::UnknownInvite)?;
        if self.group.members().is_revoked(&terms.invite_id) {
            return Err(JoinDenial::Revoked);
        }
        if ctx.now.unix_secs >= invite.expires_at {
            return Err(JoinDenial::Expired);
        }
        let uses = self
            .group
            .members()
            .grants()
            .filter(|effective_grant| effective_grant.invite == Some(terms.invite_id))
            .count();
        if uses >= invite.max_uses as usize {
            return Err(JoinDenial::UsedUp);
        }
        let is_printable = |text: &str| !text.chars().any(char::is_control);
        let is_valid = is_printable(&terms.alias)
            && terms.labels.iter().all(|(key, value)| is_printable(key) && is_printable(value));
        let body = RecordBody::Grant(Grant {
            holder: terms.joiner,
            role: Role::from_byte(invite.role_byte),
            alias: terms.alias.clone(),
            labels: terms.labels.clone(),
            invite: Some(terms.invite_id),
        });
        if !is_valid {
            return Err(JoinDenial::InvalidTerms);
        }
        RecordIssuer::new(self, ctx, "", "").issue_as_admin(body).map_err(|error| match error {
            RequestError::InvalidGrantTerms => JoinDenial::InvalidTerms,
            _ => JoinDenial::IssuerNotAdmin,
        })?;
        self.waiting_joins.remove(&terms.joiner);
        let (group, peer) = (self.group.id(), terms.joiner);
        ctx.emit_event(NodeEvent::MemberAdmitted { group, peer });
        Ok(())
    }

    fn send_join_responses(
        &mut self,
        ctx: &mut GroupContext<'_>,
        request: &JoinRequest,
        route: ReplyRoute,
        responses: Vec<JoinResponse>,
    ) {
        for response in responses {
            match route {
                ReplyRoute::GuestStream(link) => {
                    let bytes = GuestFrame::JoinResponse(response).encode();
                    ctx.outbox.push(Effect::Send { link, bytes });
                }
                ReplyRoute::MemberLink(link) => {
                    let forwarded = ForwardedResponse { join_id: request.id(), response };
                    ctx.send(link, &GroupFrame::ForwardedResponse(forwarded));
                }
            }
        }
    }

    fn find_linked_issuer(&self, request: &JoinRequest) -> Option<LinkId> {
        let is_issuer = |peer: &NodeId| peer.fingerprint8() == request.terms.issuer_fingerprint;
        self.sessions.iter().find(|(_, session)| is_issuer(&session.peer)).map(|(link, _)| *link)
    }

    fn issuer_name(&self, request: &JoinRequest) -> String {
        let issuer =
            self.group.members().nodes().find(|key| key.fingerprint8() == request.terms.issuer_fingerprint);
        issuer.map(|key| key.short()).unwrap_or_default()
    }

    /// Sends a request on its way: straight to its issuer if that is a neighbour, else to all neighbours.
    pub(super) fn forward_join(
        &mut self,
        ctx: &mut GroupContext<'_>,
        request: JoinRequest,
        hops_left: u8,
        from: Option<LinkId>,
    ) {
        let target_links: Vec<LinkId> = match self.find_linked_issuer(&request) {
            Some(link) => vec![link],
            None => self.sessions.keys().copied().filter(|link| Some(*link) != from).collect(),
        };
        let forwarded = ForwardedJoin { hops: hops_left, request };
        for link in target_links {
            ctx.send(link, &GroupFrame::ForwardedJoin(forwarded.clone()));
        }
    }

    pub(super) fn on_forwarded_join(
        &mut self,
        ctx: &mut GroupContext<'_>,
        link: LinkId,
        forwarded: ForwardedJoin,
    ) -> Result<(), ProtocolError> {
        let ForwardedJoin { hops: hops_left, request, .. } = forwarded;
        if request.terms.group != self.group.id() || !request.has_valid_signatures() {
            return Err(ProtocolError::InvalidJoinRequest);
        }
        let id = request.id();
        if self.forwarded_joins.contains_key(&id) {
            return Ok(());
        }
        if self.forwarded_joins.len() >= limits::MAX_WAITING_JOINS {
            ctx.limit_stats.record(WAITING_JOINS_LIMIT, limits::MAX_WAITING_JOINS);
            return Ok(());
        }
        let can_answer_here = request.terms.issuer_fingerprint == ctx.own_id.fingerprint8()
            || self.group.members().is_member(&request.terms.joiner);
        if can_answer_here {
            self.handle_join_request(ctx, request, ReplyRoute::MemberLink(link));
            return Ok(());
        }
        self.forwarded_joins.insert(id, (ReplyRoute::MemberLink(link), ctx.now.mono));
        if let Some(hops_left) = hops_left.min(limits::MAX_FORWARD_HOPS).checked_sub(1) {
            self.forward_join(ctx, request, hops_left, Some(link));
        }
        Ok(())
    }

    pub(super) fn on_forwarded_response(&mut self, ctx: &mut GroupContext<'_>, forwarded: ForwardedResponse) {
        let Some((route, _)) = self.forwarded_joins.get(&forwarded.join_id).copied() else { return };
        let is_final = match &forwarded.response {
            JoinResponse::Granted { last: is_last, .. } => *is_last,
            JoinResponse::Denied(_) => true,
            JoinResponse::WaitingForIssuer { .. } => false,
        };
        if is_final {
            self.forwarded_joins.remove(&forwarded.join_id);
            self.waiting_joins.retain(|_, request| request.id() != forwarded.join_id);
        }
        match route {
            ReplyRoute::GuestStream(link) => {
                let bytes = GuestFrame::JoinResponse(forwarded.response).encode();
                ctx.outbox.push(Effect::Send { link, bytes });
            }
            ReplyRoute::MemberLink(link) => ctx.send(link, &GroupFrame::ForwardedResponse(forwarded)),
        }
    }

    /// Answers an asking neighbour with what proves that this node is a member: its line, with all else that counts if that
    /// is little, for something may have come between that the neighbour has not heard of. Once in a while, or when who is a
    /// member changes: to ask costs nothing, to answer does.
    pub(super) fn send_grant_path(&mut self, ctx: &mut GroupContext<'_>, link: LinkId) {
        if !mark_if_due(&mut self.proof_sent, link, ctx.now.mono) {
            return;
        }
        let Some(effective_grant) = self.group.members().live_grants_of(&ctx.own_id).next() else { return };
        let mut records = self.group.records().grant_proof(&effective_grant.grant).unwrap_or_default();
        let all = self.group.membership_records().missing_records(&[]);
        if all.iter().map(SignedRecord::encoded_len).sum::<usize>() <= limits::MAX_FULL_MEMBERSHIP_BYTES {
            records.extend(all);
        }
        let records = records.iter().map(SignedRecord::encode).collect();
        for (records, last) in split_records(records) {
            ctx.send(link, &GroupFrame::GrantPath(RecordBatch { records, is_last: last }));
        }
    }

    /// Forgets requests that were carried and never answered.
    pub(super) fn expire_forwarded_joins(&mut self, ctx: &GroupContext<'_>) {
        let now = ctx.now.mono;
        self.forwarded_joins
            .retain(|_, (_, forwarded_at)| now.ms_since(*forwarded_at) < limits::FORWARDED_JOIN_TTL_MS);
    }
}

/// Founds a group: its Genesis record and the private recovery key.
pub(super) fn create_genesis(
    founder: &SecretKey,
    name: &str,
    nonce: [u8; 16],
    recovery_seed: [u8; 32],
) -> (SignedRecord, SecretKey) {
    let recovery_key = SecretKey::from_bytes(&recovery_seed);
    (crate::record::create_genesis(founder, name, nonce, recovery_key.node_id()), recovery_key)
}
