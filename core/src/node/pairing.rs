//! Pairing: entering a group without an invite code, see [`crate::wire::pairing`]. A node asks every node
//! that it sees; operators on both sides compare six digits, and an admin approves.

mod incoming;
mod outgoing;

pub use incoming::IncomingPairing;
pub use outgoing::OutgoingPairing;

use self::incoming::IncomingPairings;
use super::Node;
use super::admin::AliasAndLabels;
use super::admission::requests::JoinRequestHandler;
use super::effect::{RequestError, Response};
use super::input::MonoTime;
use super::join;
use super::membership_proof::build_record_set;
use super::node_context::NodeContext;
use super::protocol_error::ProtocolError;
use crate::id::NodeId;
use crate::record::{Membership, SignedRecord};
use crate::wire::guest::{JoinDenial, JoinResponse};
use crate::wire::pairing::PairingRequest;

/// The pairing that this node asked for, and those that others ask of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairings {
    pub(super) outgoing: Option<OutgoingPairing>,
    pub(super) incoming: IncomingPairings,
}

impl Pairings {
    /// The outgoing pairing while it looks for a group.
    pub(super) fn searching(&mut self) -> Option<&mut OutgoingPairing> {
        self.outgoing.as_mut().filter(|outgoing| outgoing.joined_group().is_none())
    }

    pub(super) fn is_searching(&self) -> bool {
        self.outgoing.as_ref().is_some_and(|outgoing| outgoing.joined_group().is_none())
    }

    /// Ends the outgoing pairing after [`limits::PAIRING_TIMEOUT_MS`](crate::limits::PAIRING_TIMEOUT_MS).
    pub(super) fn expire_outgoing(&mut self, now: MonoTime) {
        self.outgoing.take_if(|outgoing| outgoing.expires_at() <= now);
    }

    /// `peer` sent its nonce. Returns the nonce to reveal to it.
    pub(super) fn on_nonce(
        &mut self,
        peer: &NodeId,
        nonce: [u8; 16],
    ) -> Result<Option<[u8; 16]>, ProtocolError> {
        self.outgoing.as_mut().map_or(Ok(None), |outgoing| outgoing.on_nonce(peer, nonce))
    }

    /// `peer` answered the pairing request.
    pub(super) fn on_response(
        &mut self,
        peer: &NodeId,
        response: &JoinResponse,
    ) -> Result<(), ProtocolError> {
        self.outgoing.as_mut().map_or(Ok(()), |outgoing| outgoing.on_response(peer, response))
    }
}

/// The pairing request to send to `peer`, if this node asks to pair.
pub(super) fn request_to(ctx: &mut NodeContext<'_>, peer: NodeId) -> Option<PairingRequest> {
    let nonce = ctx.rng.next_nonce();
    Some(ctx.pairings.searching()?.request_to(&ctx.own_id, peer, nonce))
}

/// Enters the group of the member whose digits the operator confirmed, once its grant is here.
pub(super) fn join_if_confirmed(ctx: &mut NodeContext<'_>) {
    let Some((member, records)) = ctx.pairings.searching().and_then(OutgoingPairing::take_confirmed_grant)
    else {
        return;
    };
    let Some(group) = records.iter().find_map(SignedRecord::genesis_group_id) else { return };
    let Some(record_set) = build_record_set(group, records) else { return };
    if Membership::evaluate(&record_set).is_member(&member)
        && join::enter_group(ctx, record_set) == Ok(true)
        && let Some(outgoing) = &mut ctx.pairings.outgoing
    {
        outgoing.on_joined(group);
    }
}

/// Starts to ask every discovered node to pair.
pub(super) fn start(ctx: &mut NodeContext<'_>, terms: AliasAndLabels) {
    let earlier = ctx.pairings.outgoing.take();
    ctx.pairings.outgoing = Some(OutgoingPairing::start(terms, ctx.now.mono, earlier));
    ctx.backoff.reset();
}

/// The operator has seen these digits on the screen of a member.
pub(super) fn confirm(ctx: &mut NodeContext<'_>, digits: u32) -> Result<Response, RequestError> {
    let outgoing = ctx.pairings.outgoing.as_mut();
    if !outgoing.is_some_and(|outgoing| outgoing.confirm(&ctx.own_id, digits)) {
        return Err(RequestError::WrongDigits);
    }
    join_if_confirmed(ctx);
    Ok(Response::Done)
}

/// Rejects a joiner: its pairing, and its join requests that wait for their issuer.
pub(super) fn reject(ctx: &mut NodeContext<'_>, joiner: &NodeId) -> Result<Response, RequestError> {
    let mut was_rejected = ctx.pairings.incoming.reject(joiner);
    for group in ctx.groups.keys().copied().collect::<Vec<_>>() {
        let Some((state, mut ctx)) = ctx.group(group) else { continue };
        let denied = vec![JoinResponse::Denied(JoinDenial::DeclinedByOperator)];
        was_rejected |= JoinRequestHandler { state, ctx: &mut ctx }.answer_waiting(joiner, denied);
    }
    if was_rejected { Ok(Response::Done) } else { Err(RequestError::NoPairingRequest) }
}

impl Node {
    /// The nodes that ask to pair, with the digits that their operators see, once these are known.
    pub fn incoming_pairings(&self) -> impl Iterator<Item = (NodeId, &IncomingPairing, Option<u32>)> {
        let undecided = self.pairings.incoming.undecided(self.own_id);
        undecided.filter(|(joiner, ..)| !self.announced_members.contains(joiner))
    }
}

/// The alias and labels that a joiner asked for, if these are the digits of its pairing.
pub(super) fn requested_terms(
    node: &Node,
    joiner: &NodeId,
    digits: Option<u32>,
) -> Result<AliasAndLabels, RequestError> {
    let (_, incoming, expected_digits) = node
        .incoming_pairings()
        .find(|(candidate, ..)| candidate == joiner)
        .ok_or(RequestError::NoPairingRequest)?;
    if expected_digits.is_none() || expected_digits != digits {
        return Err(RequestError::WrongDigits);
    }
    Ok((incoming.alias.clone(), incoming.labels.clone()))
}
