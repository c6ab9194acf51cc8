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

use super::Step;
use crate::id::{GroupId, NodeId};
use crate::limits;
use crate::node::admission::ReplyRoute;
use crate::node::admission::requests::{JoinRequestHandler, grant_responses};
use crate::node::input::LinkId;
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
        ctx: &mut NodeContext<'_>,
        link: LinkId,
        peer: NodeId,
        frame: GuestFrame,
    ) -> Result<Step, ProtocolError> {
        match (&self.phase, frame) {
            (_, GuestFrame::GrantPath(path)) => self.on_grant_path(ctx, link, peer, &path)?,
            (_, GuestFrame::MembershipProbe(probe)) => self.on_probe(ctx, link, peer, &probe),
            (ResponderPhase::Probed { group, nonces }, GuestFrame::JoinRequest(request)) => {
                on_join_request(ctx, link, peer, (*group, *nonces), &request)?;
            }
            (_, GuestFrame::PairingRequest(request)) => self.on_pairing_request(ctx, link, peer, request),
            (ResponderPhase::Pairing, GuestFrame::PairingReveal(nonce)) => {
                if ctx.pairings.incoming.on_reveal(&peer, nonce)? {
                    send_grant(ctx, link, &peer);
                }
            }
            (_, GuestFrame::Unknown(_)) => {}
            _ => return Err(ProtocolError::UnexpectedFrame),
        }
        Ok(Step::KeepOpen)
    }

    fn on_grant_path(
        &mut self,
        ctx: &mut NodeContext<'_>,
        link: LinkId,
        peer: NodeId,
        path: &GrantPath,
    ) -> Result<(), ProtocolError> {
        let group = path.group;
        if !ctx.groups.contains_key(&group) {
            // Nothing is kept of a group that this node is not in.
            if path.is_last {
                ctx.send(link, &GuestFrame::NotMember);
            }
            return Ok(());
        }
        let mut received = match std::mem::replace(&mut self.phase, ResponderPhase::Idle) {
            ResponderPhase::Verifying { group: earlier, received } if earlier == group => received,
            _ => Vec::new(),
        };
        collect_records(&mut received, &path.records)?;
        if !path.is_last {
            self.phase = ResponderPhase::Verifying { group, received };
            return Ok(());
        }
        let Some((state, mut group_ctx)) = ctx.group(group) else { return Ok(()) };
        let ids: BTreeSet<_> = received.iter().map(SignedRecord::id).collect();
        let applied = apply_records(state, &mut group_ctx, received);
        match judge_grant_path(state, &group_ctx.own_id, &peer, &ids) {
            PathVerdict::Recognized => ctx.send(link, &GuestFrame::MemberRecognized(group)),
            PathVerdict::Unknown => ctx.send(link, &GuestFrame::NotMember),
            PathVerdict::Ended(evidence) => ctx.send_records(link, &evidence, |records, is_last| {
                GuestFrame::MembershipEnded(GrantPath { group, records, is_last })
            }),
        }
        applied
    }

    fn on_probe(&mut self, ctx: &mut NodeContext<'_>, link: LinkId, peer: NodeId, probe: &MembershipProbe) {
        let nonce = ctx.rng.next_nonce();
        let own_id = ctx.own_id;
        let probed = ctx.groups.values().find(|state| probe.matches_group(state.group.id(), &peer, &own_id));
        let proof = probed.and_then(|state| Some((state.group.id(), grant_proof_of(&state.group, &own_id)?)));
        let Some((group, proof)) = proof else { return ctx.send(link, &GuestFrame::NotMember) };
        self.phase = ResponderPhase::Probed { group, nonces: (probe.nonce, nonce) };
        ctx.send_records(link, &proof, |records, is_last| {
            GuestFrame::ProbeResponse(ProbeResponse { nonce, records, is_last })
        });
    }

    fn on_pairing_request(
        &mut self,
        ctx: &mut NodeContext<'_>,
        link: LinkId,
        peer: NodeId,
        request: PairingRequest,
    ) {
        if !can_admit(ctx) {
            return ctx.send(link, &GuestFrame::NotMember);
        }
        let nonce = ctx.rng.next_nonce();
        let reply = match ctx.pairings.incoming.on_request(peer, request, nonce, ctx.now) {
            Some(reply) => {
                self.phase = ResponderPhase::Pairing;
                reply
            }
            None => {
                ctx.limit_stats.record("nodes that ask to pair", limits::MAX_INCOMING_PAIRINGS);
                GuestFrame::NotMember
            }
        };
        ctx.send(link, &reply);
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
    ctx: &mut NodeContext<'_>,
    link: LinkId,
    peer: NodeId,
    (group, nonces): (GroupId, ([u8; 16], [u8; 16])),
    request: &JoinRequest,
) -> Result<(), ProtocolError> {
    let terms = &request.terms;
    let is_consistent = terms.group == group
        && terms.joiner == peer
        && terms.contacted_member == ctx.own_id
        && terms.nonces == nonces
        && request.has_valid_signatures();
    if !is_consistent {
        ctx.send(link, &GuestFrame::JoinResponse(JoinResponse::Denied(JoinDenial::InvalidSignature)));
        return Err(ProtocolError::InvalidJoinRequest);
    }
    if let Some((state, mut ctx)) = ctx.group(group) {
        JoinRequestHandler { state, ctx: &mut ctx }.handle(request, ReplyRoute::GuestStream(link));
    }
    Ok(())
}

/// Sends `joiner` its grant, if an admin has approved it.
pub(super) fn send_grant(ctx: &mut NodeContext<'_>, link: LinkId, joiner: &NodeId) {
    let responses = ctx.groups.values().find_map(|state| grant_responses(&state.group, joiner));
    for response in responses.unwrap_or_default() {
        ctx.send(link, &GuestFrame::JoinResponse(response));
    }
}
