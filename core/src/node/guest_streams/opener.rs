//! The exchanges on a guest stream that this node opened, one after the other: it proves its membership in
//! every group that it shares with the peer, then asks to join by code, then to pair.
//!
//! | phase | frame received | next |
//! |---|---|---|
//! | `Ready` | (the stream is open) | the next exchange |
//! | `Proving` | `MemberRecognized` | the next exchange |
//! | `Proving` | `NotMember` | the next exchange |
//! | `Proving` | `MembershipEnded`, refuted | `Proving` with all records |
//! | `Proving` | `MembershipEnded`, else | the next exchange |
//! | `Probing` | `NotMember` | the next exchange |
//! | `Probing` | `ProbeResponse` | `Joining`; the next exchange if the join is over |
//! | `Joining` | `JoinResponse` waiting for the issuer | `Joining` |
//! | `Joining` | `JoinResponse` granted or denied | closed |
//! | `Pairing` | `PairingNonce` | `Pairing` |
//! | `Pairing` | `JoinResponse` | `Pairing` |
//! | `Pairing` | `NotMember` | closed |
//!
//! A `MembershipEnded` is refuted once, if by the records that are here both nodes are members. A
//! `ProbeResponse` must prove that the peer is a member.
//!
//! The next exchange is `Proving` for the next shared group, else `Probing` for the next group to join, else
//! `Pairing` if an operator asked for it and the peer is not a fellow member; if there is none, the stream is
//! closed.

use std::collections::VecDeque;

use super::{OpenStream, Step};
use crate::id::{GroupId, InviteId, NodeId};
use crate::node::join;
use crate::node::membership_proof::{
    apply_records, build_record_set, collect_records, full_membership, grant_proof_of,
};
use crate::node::node_context::NodeContext;
use crate::node::pairing::exchange;
use crate::node::protocol_error::ProtocolError;
use crate::record::{Membership, RecordSet, SignedRecord};
use crate::wire::guest::{
    GrantPath, GuestFrame, JoinRequest, JoinResponse, JoinTerms, MembershipProbe, ProbeResponse,
};

#[derive(Clone, Debug)]
enum OpenerPhase {
    /// No exchange has begun.
    Ready,
    /// A grant path was sent.
    Proving {
        group: GroupId,
        /// True once all records of the group were sent.
        has_sent_all: bool,
        /// Records of an incomplete `MembershipEnded`.
        received: Vec<SignedRecord>,
    },
    /// A probe with this nonce was sent.
    Probing {
        group: GroupId,
        nonce: [u8; 16],
        /// Records of an incomplete `ProbeResponse`.
        received: Vec<SignedRecord>,
    },
    /// A join request was sent to a proven member.
    Joining {
        group: GroupId,
        invite: InviteId,
        /// The records by which the peer proved its membership.
        member_records: RecordSet,
        /// Records of an incomplete grant.
        received: Vec<SignedRecord>,
    },
    /// A pairing request was sent.
    Pairing,
}

#[derive(Clone, Debug)]
pub(super) struct Opener {
    phase: OpenerPhase,
    /// The shared groups in which this node has not begun to prove its membership.
    unproved: VecDeque<GroupId>,
    /// True if this node and the peer are members of one group.
    is_fellow_member: bool,
}

impl Opener {
    pub(super) fn new(ctx: &NodeContext<'_>, peer: &NodeId) -> Self {
        let shared = ctx.groups.values().filter(|state| state.group.members().is_member(peer));
        let shared = shared.filter(|state| state.is_member(&ctx.own_id));
        let unproved: VecDeque<GroupId> = shared.map(|state| state.group.id()).collect();
        Self { phase: OpenerPhase::Ready, is_fellow_member: !unproved.is_empty(), unproved }
    }

    /// Begins the next exchange. Closes the stream for `reason` if there is none.
    pub(super) fn start_next(&mut self, stream: &mut OpenStream<'_, '_>, reason: &'static str) -> Step {
        while let Some(group) = self.unproved.pop_front() {
            let proof = stream
                .ctx
                .groups
                .get(&group)
                .and_then(|state| grant_proof_of(&state.group, &stream.ctx.own_id));
            if let Some(proof) = proof {
                stream.send_grant_path(group, &proof, GuestFrame::GrantPath);
                self.phase = OpenerPhase::Proving { group, has_sent_all: false, received: Vec::new() };
                return Step::KeepOpen;
            }
        }
        let last_probed = match self.phase {
            OpenerPhase::Probing { group, .. } => Some(group),
            _ => None,
        };
        if let Some(group) = stream.ctx.joins.next_to_probe(last_probed) {
            let nonce = stream.ctx.rng.next_nonce();
            let probe = MembershipProbe::new(group, &stream.ctx.own_id, &stream.peer, nonce);
            stream.send(&GuestFrame::MembershipProbe(probe));
            self.phase = OpenerPhase::Probing { group, nonce, received: Vec::new() };
            return Step::KeepOpen;
        }
        if !self.is_fellow_member
            && let Some(request) = exchange::request_to(stream.ctx, stream.peer)
        {
            stream.send(&GuestFrame::PairingRequest(request));
            self.phase = OpenerPhase::Pairing;
            return Step::KeepOpen;
        }
        Step::Close(reason)
    }

    pub(super) fn on_frame(
        &mut self,
        stream: &mut OpenStream<'_, '_>,
        frame: GuestFrame,
    ) -> Result<Step, ProtocolError> {
        match (&self.phase, frame) {
            (_, GuestFrame::Unknown(_)) => Ok(Step::KeepOpen),
            (OpenerPhase::Proving { group, .. }, GuestFrame::MemberRecognized(recognized))
                if *group == recognized =>
            {
                Ok(self.start_next(stream, "the peer recognized this node as a member"))
            }
            (OpenerPhase::Proving { .. } | OpenerPhase::Probing { .. }, GuestFrame::NotMember) => {
                Ok(self.start_next(stream, "the peer is in none of these groups"))
            }
            (OpenerPhase::Pairing, GuestFrame::NotMember) => Ok(Step::Close("the peer cannot admit a node")),
            (OpenerPhase::Proving { .. }, GuestFrame::MembershipEnded(ended)) => {
                self.on_membership_ended(stream, &ended)
            }
            (OpenerPhase::Probing { .. }, GuestFrame::ProbeResponse(response)) => {
                self.on_probe_response(stream, &response)
            }
            (OpenerPhase::Joining { .. }, GuestFrame::JoinResponse(response)) => {
                self.on_join_response(stream, response)
            }
            (OpenerPhase::Pairing, GuestFrame::PairingNonce(nonce)) => {
                if let Some(own_nonce) = stream.ctx.pairings.on_nonce(&stream.peer, nonce)? {
                    stream.send(&GuestFrame::PairingReveal(own_nonce));
                }
                Ok(Step::KeepOpen)
            }
            (OpenerPhase::Pairing, GuestFrame::JoinResponse(response)) => {
                stream.ctx.pairings.on_response(&stream.peer, &response)?;
                exchange::join_if_confirmed(stream.ctx);
                Ok(Step::KeepOpen)
            }
            _ => Err(ProtocolError::UnexpectedFrame),
        }
    }

    /// The peer answered a grant path: it takes one of the two nodes for a former member, and sent the
    /// reason.
    fn on_membership_ended(
        &mut self,
        stream: &mut OpenStream<'_, '_>,
        ended: &GrantPath,
    ) -> Result<Step, ProtocolError> {
        let OpenerPhase::Proving { group, has_sent_all, received } = &mut self.phase else {
            return Err(ProtocolError::UnexpectedFrame);
        };
        if ended.group != *group {
            return Err(ProtocolError::UnexpectedFrame);
        }
        let Some(records) = collect_records(received, &ended.records, ended.is_last)? else {
            return Ok(Step::KeepOpen);
        };
        let group = *group;
        let applied = match stream.ctx.group(group) {
            Some((state, mut ctx)) => apply_records(state, &mut ctx, records),
            None => Ok(()),
        };
        let all = stream
            .ctx
            .groups
            .get(&group)
            .and_then(|state| full_membership(state, &stream.ctx.own_id, &stream.peer));
        let step = match all {
            Some(all) if !*has_sent_all => {
                *has_sent_all = true;
                stream.send_grant_path(group, &all, GuestFrame::GrantPath);
                Step::KeepOpen
            }
            _ => self.start_next(stream, "the peer takes this node for a former member"),
        };
        applied.map(|()| step)
    }

    /// The peer answered a probe. If it proved that it is a member, it gets the join request.
    fn on_probe_response(
        &mut self,
        stream: &mut OpenStream<'_, '_>,
        response: &ProbeResponse,
    ) -> Result<Step, ProtocolError> {
        let OpenerPhase::Probing { group, nonce, received } = &mut self.phase else {
            return Err(ProtocolError::UnexpectedFrame);
        };
        let Some(records) = collect_records(received, &response.records, response.is_last)? else {
            return Ok(Step::KeepOpen);
        };
        let (group, nonce) = (*group, *nonce);
        let member_records =
            build_record_set(group, records).ok_or(ProtocolError::GrantPathWithoutGenesis)?;
        if !Membership::evaluate(&member_records).is_member(&stream.peer) {
            return Err(ProtocolError::GrantPathOfOtherNode);
        }
        let Some(join) = stream.ctx.joins.unfinished(&group) else {
            return Ok(self.start_next(stream, "this node has joined the group"));
        };
        let terms = JoinTerms {
            group,
            invite_id: join.code.invite_id(),
            issuer_fingerprint: join.code.issuer_fingerprint,
            joiner: stream.ctx.own_id,
            contacted_member: stream.peer,
            nonces: (nonce, response.nonce),
            alias: join.alias.clone(),
            labels: join.labels.clone(),
        };
        let invite = terms.invite_id;
        let request = JoinRequest::sign(terms, &join.code.invite_key(), stream.ctx.secret);
        stream.send(&GuestFrame::JoinRequest(request));
        self.phase = OpenerPhase::Joining { group, invite, member_records, received: Vec::new() };
        Ok(Step::KeepOpen)
    }

    fn on_join_response(
        &mut self,
        stream: &mut OpenStream<'_, '_>,
        response: JoinResponse,
    ) -> Result<Step, ProtocolError> {
        let OpenerPhase::Joining { group, invite, member_records, received } = &mut self.phase else {
            return Err(ProtocolError::UnexpectedFrame);
        };
        match response {
            JoinResponse::Granted { records, is_last } => {
                let Some(records) = collect_records(received, &records, is_last)? else {
                    return Ok(Step::KeepOpen);
                };
                for record in records {
                    member_records.insert(record);
                }
                match join::enter_group(stream.ctx, member_records.clone())? {
                    true => Ok(Step::Close("this node has joined the group")),
                    false => Ok(Step::Close("the member that granted the join is no longer an admin")),
                }
            }
            JoinResponse::Denied(denial) => {
                join::on_denied(stream.ctx, *group, invite, denial);
                Ok(Step::Close("the join was denied"))
            }
            JoinResponse::WaitingForIssuer { issuer_name } => {
                stream.ctx.joins.on_waiting_for_issuer(group, issuer_name);
                Ok(Step::KeepOpen)
            }
        }
    }
}
