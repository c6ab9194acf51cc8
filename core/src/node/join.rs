//! Joining a group by a code: every node that is seen is asked, without saying for which group, whether it is in it; one
//! that proves so is asked to be let in.

use super::Node;
use super::effect::{Effect, NodeEvent, RequestError, Response};
use super::group_state::GroupState;
use super::input::{LinkId, RequestId};
use super::protocol_error::ProtocolError;
use crate::group::Group;
use crate::id::{GroupId, InviteId, NodeId};
use crate::limits;
use crate::record::{RecordSet, SignedRecord};
use crate::store::{JoinRow, LAYOUT_VERSION, Row, Table, key};
use crate::wire::EncodedRecords;
use crate::wire::guest::{GuestFrame, JoinRequest, JoinResponse, JoinTerms, MembershipProbe, ProbeResponse};
use crate::wire::invite_code::InviteCode;

/// A join under way.
#[derive(Clone, Debug)]
pub struct PendingJoin {
    pub(super) code: InviteCode,
    pub(super) alias: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) request_id: Option<RequestId>,
    /// True once the grant is here and only the first sync is missing.
    pub is_granted: bool,
    /// The issuer that a member waits for.
    pub waiting_for_issuer: Option<String>,
}

/// What a joiner has heard of one member so far.
#[derive(Clone, Debug)]
pub(super) struct JoinHandshake {
    pub(super) group: GroupId,
    pub(super) own_nonce: [u8; 16],
    /// Records that come in portions.
    pub(super) records: Vec<SignedRecord>,
    /// The line of grants by which it proved itself.
    pub(super) member_records: Option<RecordSet>,
    /// By which invite it was asked to let this node in, once it had proved itself.
    pub(super) requested_invite: Option<InviteId>,
}

impl Node {
    pub(super) fn start_join(
        &mut self,
        request_id: Option<RequestId>,
        code: InviteCode,
        alias: String,
        labels: Vec<(String, String)>,
    ) {
        let group = code.group;
        if self.groups.get(&group).is_some_and(|state| state.is_member(&self.own_id)) {
            if let Some(request_id) = request_id {
                self.outbox.respond(request_id, Err(RequestError::AlreadyMember));
            }
            return;
        }
        if self.groups.len() + self.pending_joins.len() >= limits::MAX_GROUPS
            && !self.pending_joins.contains_key(&group)
        {
            if let Some(request_id) = request_id {
                self.outbox.respond(request_id, Err(RequestError::LimitReached("groups")));
            }
            return;
        }
        let row = JoinRow {
            version: LAYOUT_VERSION,
            code: code.to_bytes(),
            alias: alias.clone(),
            labels: labels.clone(),
        };
        self.outbox.store_batch(vec![Row::put_encoded(Table::Joins, key::for_group(group), &row)]);
        let pending_join =
            PendingJoin { code, alias, labels, request_id, is_granted: false, waiting_for_issuer: None };
        let earlier = self.pending_joins.insert(group, pending_join);
        if let Some(request_id) = earlier.and_then(|earlier| earlier.request_id) {
            self.outbox.respond(request_id, Err(RequestError::JoinReplaced));
        }
        self.guest_backoff.reset();
        self.open_due_guest_streams();
    }

    /// A visit to `peer` stands: asks it for the groups that are to be joined, one after the other. False if there is
    /// none left to ask for.
    pub(super) fn send_next_probe(&mut self, link: LinkId, peer: NodeId) -> bool {
        let last_probed = self
            .guest_streams
            .get(&link)
            .and_then(|stream| stream.join_handshake.as_ref())
            .map(|handshake| handshake.group);
        let next = self
            .pending_joins
            .iter()
            .find(|(group, pending)| !pending.is_granted && Some(**group) > last_probed);
        let Some((&group, _)) = next else { return self.send_pairing_request(link, peer) };
        let nonce = self.rng.next_nonce();
        if let Some(stream) = self.guest_streams.get_mut(&link) {
            stream.join_handshake = Some(JoinHandshake {
                group,
                own_nonce: nonce,
                records: Vec::new(),
                member_records: None,
                requested_invite: None,
            });
        }
        self.send_guest_frame(
            link,
            &GuestFrame::MembershipProbe(MembershipProbe::new(group, &self.own_id, &peer, nonce)),
        );
        true
    }

    pub(super) fn on_probe_response(
        &mut self,
        link: LinkId,
        peer: NodeId,
        response: &ProbeResponse,
    ) -> Result<(), ProtocolError> {
        let Some(stream) = self.guest_streams.get_mut(&link) else { return Ok(()) };
        let Some(handshake) =
            stream.join_handshake.as_mut().filter(|candidate| candidate.requested_invite.is_none())
        else {
            return Err(ProtocolError::UnrequestedProof);
        };
        collect_records(&mut handshake.records, &response.records)?;
        if !response.is_last {
            return Ok(());
        }
        let (group, joiner_nonce) = (handshake.group, handshake.own_nonce);
        let received = std::mem::take(&mut handshake.records);
        let records = build_record_set(group, received).ok_or(ProtocolError::GrantPathWithoutGenesis)?;
        if !crate::record::Membership::evaluate(&records).is_member(&peer) {
            return Err(ProtocolError::GrantPathOfOtherNode);
        }
        let Some(pending_join) = self.pending_joins.get(&group).filter(|candidate| !candidate.is_granted)
        else {
            return Ok(());
        };
        handshake.requested_invite = Some(pending_join.code.invite_id());
        handshake.member_records = Some(records);
        let terms = JoinTerms {
            group,
            invite_id: pending_join.code.invite_id(),
            issuer_fingerprint: pending_join.code.issuer_fingerprint,
            joiner: self.own_id,
            contacted_member: peer,
            nonces: (joiner_nonce, response.nonce),
            alias: pending_join.alias.clone(),
            labels: pending_join.labels.clone(),
        };
        let request = JoinRequest::sign(terms, &pending_join.code.invite_key(), &self.secret);
        self.send_guest_frame(link, &GuestFrame::JoinRequest(request));
        Ok(())
    }

    pub(super) fn on_join_response(
        &mut self,
        link: LinkId,
        response: &JoinResponse,
    ) -> Result<(), ProtocolError> {
        let Some(stream) = self.guest_streams.get_mut(&link) else { return Ok(()) };
        if stream.is_pairing {
            let peer = stream.peer;
            return self.on_pairing_response(peer, response);
        }
        // Whoever has not proved that it is a member has no say in it: any node on the LAN can be visited.
        let Some(handshake) =
            stream.join_handshake.as_mut().filter(|candidate| candidate.requested_invite.is_some())
        else {
            return Err(ProtocolError::UnrequestedJoinResponse);
        };
        let group = handshake.group;
        match response {
            JoinResponse::Granted { records, last } => {
                collect_records(&mut handshake.records, records)?;
                if *last {
                    let mut record_set =
                        handshake.member_records.take().ok_or(ProtocolError::UselessGrant)?;
                    for record in std::mem::take(&mut handshake.records) {
                        record_set.insert(record);
                    }
                    match self.join_group(record_set)? {
                        true => self.close_guest_stream(link, "joined"),
                        false => self.close_guest_stream(link, "let in by one whose grant does not count"),
                    }
                }
            }
            JoinResponse::Denied(denial) => {
                // What is granted stays granted; and a join by another code is not meant.
                let requested_invite = handshake.requested_invite;
                let is_denied = |pending: &PendingJoin| {
                    !pending.is_granted && Some(pending.code.invite_id()) == requested_invite
                };
                if self.pending_joins.get(&group).is_some_and(is_denied)
                    && let Some(pending_join) = self.pending_joins.remove(&group)
                {
                    self.outbox.store_batch(vec![Row::remove(Table::Joins, key::for_group(group))]);
                    if let Some(request_id) = pending_join.request_id {
                        self.outbox.respond(request_id, Err(RequestError::JoinDenied(*denial)));
                    }
                }
                self.close_guest_stream(link, "refused");
            }
            JoinResponse::WaitingForIssuer { issuer_name: issuer } => {
                if let Some(pending_join) =
                    self.pending_joins.get_mut(&group).filter(|candidate| !candidate.is_granted)
                {
                    pending_join.waiting_for_issuer = Some(issuer.clone());
                }
            }
        }
        Ok(())
    }

    /// The grant is here: the group begins on this node. False if it does not count, as this node knows and the member that
    /// issued it does not.
    pub(super) fn join_group(&mut self, records: RecordSet) -> Result<bool, ProtocolError> {
        let id = records.group();
        if let Some((state, mut ctx)) = self.group_with_context(id) {
            // It was a member once, and is let in again.
            let outcome = state.group.apply_records(records.iter().cloned());
            state.sync(&mut ctx).on_records_ingested(outcome, None);
            state.leave_confirmed = false;
            if !state.is_member(&ctx.own_id) {
                return Ok(false);
            }
            ctx.outbox.store_batch(vec![Row::remove(Table::Joins, key::for_group(id))]);
            self.on_group_entered(id);
            return Ok(true);
        }
        let group = Group::new(records);
        if !group.members().is_member(&self.own_id) {
            return Err(ProtocolError::UselessGrant);
        }
        let mut state = GroupState::new(group, self.now);
        let mut rows = state.group.initial_rows();
        rows.push(state.to_row());
        rows.push(Row::remove(Table::Joins, key::for_group(id)));
        self.groups.insert(id, state);
        self.outbox.store_batch(rows);
        self.on_group_entered(id);
        Ok(true)
    }

    fn on_group_entered(&mut self, id: GroupId) {
        if let Some(pending_join) = self.pending_joins.get_mut(&id) {
            pending_join.is_granted = true;
            pending_join.waiting_for_issuer = None;
        }
        self.outbox.push(Effect::Event(NodeEvent::GroupEntered { group: id }));
        self.outbox.push(Effect::DesiredChanged { group: id });
    }

    /// A join is done once the first neighbour was found equal.
    pub(super) fn finish_joins(&mut self) {
        let completed: Vec<GroupId> = self
            .pending_joins
            .iter()
            .filter(|(group, pending_join)| {
                let has_synced = self
                    .groups
                    .get(group)
                    .is_some_and(|state| state.sessions.values().any(|session| session.has_synced()));
                pending_join.is_granted && has_synced
            })
            .map(|(group, _)| *group)
            .collect();
        for group in completed {
            if let Some(request_id) =
                self.pending_joins.remove(&group).and_then(|pending_join| pending_join.request_id)
            {
                self.outbox.respond(request_id, Ok(Response::Joined(group)));
            }
        }
    }
}

/// Reads records that come in portions.
pub(super) fn collect_records(
    into: &mut Vec<SignedRecord>,
    encoded: &EncodedRecords,
) -> Result<(), ProtocolError> {
    let mut size: usize = into.iter().map(SignedRecord::encoded_len).sum();
    for bytes in encoded {
        let record = SignedRecord::decode(bytes)?;
        size += record.encoded_len();
        into.push(record);
        if into.len() > limits::MAX_RECORDS_PER_GROUP || size > limits::MAX_GRANT_PATH_BYTES {
            return Err(ProtocolError::TooManyRecords);
        }
    }
    Ok(())
}

/// The set that these records make, Genesis first; `None` if it is not that of `group`.
pub(super) fn build_record_set(group: GroupId, records: Vec<SignedRecord>) -> Option<RecordSet> {
    let genesis = records.iter().find(|record| record.genesis_group_id() == Some(group))?;
    let mut record_set = RecordSet::from_genesis(genesis.clone())?;
    for record in records {
        record_set.insert(record);
    }
    Some(record_set)
}
