//! Pairing: entering a group without an invite code, see [`crate::wire::pairing`]. A node asks every node
//! that it sees; operators on both sides compare six digits, and an admin approves.

pub(super) mod exchange;
mod incoming;
mod outgoing;

pub use incoming::IncomingPairing;
pub use outgoing::OutgoingPairing;

use self::incoming::IncomingPairings;
use super::input::MonoTime;
use super::protocol_error::ProtocolError;
use crate::id::NodeId;
use crate::wire::guest::JoinResponse;

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
