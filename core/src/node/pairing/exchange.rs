//! What a node does in a pairing: it asks, confirms the digits, enters the group, or rejects a joiner.

use super::incoming::IncomingPairing;
use super::outgoing::OutgoingPairing;
use crate::id::NodeId;
use crate::node::Node;
use crate::node::admission::requests::JoinRequestHandler;
use crate::node::effect::{RequestError, Response};
use crate::node::input::AliasAndLabels;
use crate::node::join;
use crate::node::membership_proof::build_record_set;
use crate::node::node_context::NodeContext;
use crate::record::{Membership, SignedRecord};
use crate::wire::guest::{JoinDenial, JoinResponse};
use crate::wire::pairing::PairingRequest;

/// The pairing request to send to `peer`, if this node asks to pair.
pub(in crate::node) fn request_to(ctx: &mut NodeContext<'_>, peer: NodeId) -> Option<PairingRequest> {
    let nonce = ctx.rng.next_nonce();
    Some(ctx.pairings.searching()?.request_to(&ctx.own_id, peer, nonce))
}

/// Enters the group of the member whose digits the operator confirmed, once its grant is here.
pub(in crate::node) fn join_if_confirmed(ctx: &mut NodeContext<'_>) {
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
pub(in crate::node) fn start(ctx: &mut NodeContext<'_>, terms: AliasAndLabels) {
    let earlier = ctx.pairings.outgoing.take();
    ctx.pairings.outgoing = Some(OutgoingPairing::start(terms, ctx.now.mono, earlier));
    ctx.backoff.reset();
}

/// The operator has seen these digits on the screen of a member.
pub(in crate::node) fn confirm(ctx: &mut NodeContext<'_>, digits: u32) -> Result<Response, RequestError> {
    let outgoing = ctx.pairings.outgoing.as_mut();
    if !outgoing.is_some_and(|outgoing| outgoing.confirm(&ctx.own_id, digits)) {
        return Err(RequestError::WrongDigits);
    }
    join_if_confirmed(ctx);
    Ok(Response::Done)
}

/// Rejects a joiner: its pairing, and its join requests that wait for their issuer.
pub(in crate::node) fn reject(ctx: &mut NodeContext<'_>, joiner: &NodeId) -> Result<Response, RequestError> {
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
pub(in crate::node) fn requested_terms(
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
