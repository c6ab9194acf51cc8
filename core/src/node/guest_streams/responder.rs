//! The answers on a guest stream that the peer opened.
//!
//! | phase | frame received | next phase; answer |
//! |---|---|---|
//! | any | `GrantPath`, more follow | `Verifying` |
//! | any | `GrantPath`, complete | `Idle`; `MemberRecognized`, `MembershipEnded` or `NotMember` |
//! | any | `MembershipProbe` of a group of this node | `Probed`; `ProbeResponse` |
//! | any | `MembershipProbe` of another group | unchanged; `NotMember` |
//! | `Probed` | `JoinRequest` | `Probed`; `JoinResponse`, perhaps only when the issuer answers |
//! | any | `PairingRequest` to an admin | `Pairing`; `PairingNonce`, or `JoinResponse` if rejected |
//! | any | `PairingRequest` to another node | unchanged; `NotMember` |
//! | `Pairing` | `PairingReveal` | `Pairing`; `JoinResponse` if the peer is a member |

use std::collections::BTreeSet;

use super::{OpenStream, Step};
use crate::id::GroupId;
use crate::limits;
use crate::node::admission::ReplyRoute;
use crate::node::admission::requests::{JoinRequestHandler, grant_responses};
use crate::node::membership_proof::{
    PathVerdict, apply_records, collect_records, grant_proof_of, judge_grant_path,
};
use crate::node::node_context::NodeContext;
use crate::node::protocol_error::ProtocolError;
use crate::record::{Role, SignedRecord};
use crate::wire::guest::{
    GrantPath, GuestFrame, JoinDenial, JoinRequest, JoinResponse, MembershipProbe, ProbeResponse,
};
use crate::wire::pairing::PairingRequest;

#[derive(Clone, Debug)]
enum ResponderPhase {
    /// No exchange is under way.
    Idle,
    /// A grant path has arrived in part.
    Verifying { group: GroupId, received: Vec<SignedRecord> },
    /// This node proved its membership to a joiner.
    Probed {
        group: GroupId,
        /// The nonces of the joiner and of this node.
        nonces: ([u8; 16], [u8; 16]),
    },
    /// The peer asked to pair.
    Pairing,
}

#[derive(Clone, Debug)]
pub(super) struct Responder {
    phase: ResponderPhase,
}

impl Responder {
    pub(super) fn new() -> Self {
        Self { phase: ResponderPhase::Idle }
    }

    pub(super) fn is_pairing(&self) -> bool {
        matches!(self.phase, ResponderPhase::Pairing)
    }

    #[cfg(test)]
    pub(super) fn partial_record_count(&self) -> usize {
        match &self.phase {
            ResponderPhase::Verifying { received, .. } => received.len(),
            _ => 0,
        }
    }

    pub(super) fn on_frame(
        &mut self,
        stream: &mut OpenStream<'_, '_>,
        frame: GuestFrame,
    ) -> Result<Step, ProtocolError> {
        match (&self.phase, frame) {
            (_, GuestFrame::GrantPath(path)) => self.on_grant_path(stream, &path)?,
            (_, GuestFrame::MembershipProbe(probe)) => self.on_probe(stream, &probe),
            (ResponderPhase::Probed { group, nonces }, GuestFrame::JoinRequest(request)) => {
                on_join_request(stream, (*group, *nonces), &request)?;
            }
            (_, GuestFrame::PairingRequest(request)) => self.on_pairing_request(stream, request),
            (ResponderPhase::Pairing, GuestFrame::PairingReveal(nonce)) => {
                if stream.ctx.pairings.incoming.on_reveal(&stream.peer, nonce)? {
                    send_grant(stream);
                }
            }
            (_, GuestFrame::Unknown(_)) => {}
            _ => return Err(ProtocolError::UnexpectedFrame),
        }
        Ok(Step::KeepOpen)
    }

    fn on_grant_path(
        &mut self,
        stream: &mut OpenStream<'_, '_>,
        path: &GrantPath,
    ) -> Result<(), ProtocolError> {
        let group = path.group;
        if !stream.ctx.groups.contains_key(&group) {
            // Nothing is kept of a group that this node is not in.
            if path.is_last {
                stream.send(&GuestFrame::NotMember);
            }
            return Ok(());
        }
        let mut received = match std::mem::replace(&mut self.phase, ResponderPhase::Idle) {
            ResponderPhase::Verifying { group: earlier, received } if earlier == group => received,
            _ => Vec::new(),
        };
        let Some(records) = collect_records(&mut received, &path.records, path.is_last)? else {
            self.phase = ResponderPhase::Verifying { group, received };
            return Ok(());
        };
        let Some((state, mut group_ctx)) = stream.ctx.group(group) else { return Ok(()) };
        let ids: BTreeSet<_> = records.iter().map(SignedRecord::id).collect();
        let applied = apply_records(state, &mut group_ctx, records);
        match judge_grant_path(state, &group_ctx.own_id, &stream.peer, &ids) {
            PathVerdict::Recognized => stream.send(&GuestFrame::MemberRecognized(group)),
            PathVerdict::Unknown => stream.send(&GuestFrame::NotMember),
            PathVerdict::Ended(evidence) => {
                stream.send_grant_path(group, &evidence, GuestFrame::MembershipEnded);
            }
        }
        applied
    }

    fn on_probe(&mut self, stream: &mut OpenStream<'_, '_>, probe: &MembershipProbe) {
        let nonce = stream.ctx.rng.next_nonce();
        let own_id = stream.ctx.own_id;
        let probed = stream
            .ctx
            .groups
            .values()
            .find(|state| probe.matches_group(state.group.id(), &stream.peer, &own_id));
        let proof = probed.and_then(|state| Some((state.group.id(), grant_proof_of(&state.group, &own_id)?)));
        let Some((group, proof)) = proof else { return stream.send(&GuestFrame::NotMember) };
        self.phase = ResponderPhase::Probed { group, nonces: (probe.nonce, nonce) };
        stream.send_records(&proof, |records, is_last| {
            GuestFrame::ProbeResponse(ProbeResponse { nonce, records, is_last })
        });
    }

    fn on_pairing_request(&mut self, stream: &mut OpenStream<'_, '_>, request: PairingRequest) {
        if !can_admit(stream.ctx) {
            return stream.send(&GuestFrame::NotMember);
        }
        let nonce = stream.ctx.rng.next_nonce();
        let reply = match stream.ctx.pairings.incoming.on_request(stream.peer, request, nonce, stream.ctx.now)
        {
            Some(reply) => {
                self.phase = ResponderPhase::Pairing;
                reply
            }
            None => {
                stream.ctx.limit_stats.record("nodes that ask to pair", limits::MAX_INCOMING_PAIRINGS);
                GuestFrame::NotMember
            }
        };
        stream.send(&reply);
    }
}

/// True if this node is an admin of a group.
fn can_admit(ctx: &NodeContext<'_>) -> bool {
    let is_admin = |role: Role| role == Role::Admin;
    let is_admin_of =
        |group: &crate::group::Group| group.members().oldest_grant_allowing(&ctx.own_id, is_admin).is_some();
    ctx.groups.values().any(|state| is_admin_of(&state.group))
}

/// A join request counts only on the stream whose nonces and nodes it names.
fn on_join_request(
    stream: &mut OpenStream<'_, '_>,
    (group, nonces): (GroupId, ([u8; 16], [u8; 16])),
    request: &JoinRequest,
) -> Result<(), ProtocolError> {
    let terms = &request.terms;
    let is_consistent = terms.group == group
        && terms.joiner == stream.peer
        && terms.contacted_member == stream.ctx.own_id
        && terms.nonces == nonces
        && request.has_valid_signatures();
    if !is_consistent {
        stream.send(&GuestFrame::JoinResponse(JoinResponse::Denied(JoinDenial::InvalidSignature)));
        return Err(ProtocolError::InvalidJoinRequest);
    }
    if let Some((state, mut ctx)) = stream.ctx.group(group) {
        JoinRequestHandler { state, ctx: &mut ctx }.handle(request, ReplyRoute::GuestStream(stream.link));
    }
    Ok(())
}

/// Sends the peer its grant, if an admin has approved it.
pub(super) fn send_grant(stream: &mut OpenStream<'_, '_>) {
    let groups = stream.ctx.groups.values();
    let responses = groups.map(|state| &state.group).find_map(|group| grant_responses(group, &stream.peer));
    for response in responses.unwrap_or_default() {
        stream.send(&GuestFrame::JoinResponse(response));
    }
}
