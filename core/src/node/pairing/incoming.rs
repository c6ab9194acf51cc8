//! The admin's side of a pairing.
//!
//! | phase | event | next |
//! |---|---|---|
//! | (none) | `PairingRequest` | `Committed` |
//! | `Committed`, `Revealed` | `PairingReveal` that fits the commitment | `Revealed` |
//! | `Committed`, `Revealed` | an operator rejects the joiner | `Denied` |
//! | any | `PairingRequest` with another commitment | `Committed` |
//! | any | no request for [`limits::PAIRING_TIMEOUT_MS`] | (none) |
//!
//! An approved joiner becomes a member by a record; its pairing stays until it times out.

use std::collections::BTreeMap;

use crate::id::{Digest, NodeId};
use crate::limits;
use crate::node::input::{ClockReading, MonoTime};
use crate::node::protocol_error::ProtocolError;
use crate::wire::guest::{GuestFrame, JoinDenial, JoinResponse};
use crate::wire::pairing::{PairingRequest, commitment, digits};

/// The pairing of a node that asks to join a group of this node.
#[derive(Clone, Debug)]
pub struct IncomingPairing {
    /// The alias that the joiner asks for; empty for none.
    pub alias: String,
    /// The labels that the joiner asks for.
    pub labels: Vec<(String, String)>,
    /// The time at which the joiner first asked, in seconds since 1970.
    pub requested_unix_secs: i64,
    commitment: Digest,
    own_nonce: [u8; 16],
    last_request_at: MonoTime,
    phase: IncomingPhase,
}

#[derive(Clone, Debug)]
enum IncomingPhase {
    /// The joiner has committed to its nonce.
    Committed,
    /// The joiner has revealed its nonce, so the digits are known.
    Revealed { joiner_nonce: [u8; 16] },
    /// An operator rejected the joiner.
    Denied,
}

/// The pairings that others ask of this node, by joiner.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct IncomingPairings(BTreeMap<NodeId, IncomingPairing>);

impl IncomingPairings {
    /// The pairings that are not rejected, with their digits once these are known.
    pub(super) fn undecided(
        &self,
        own_id: NodeId,
    ) -> impl Iterator<Item = (NodeId, &IncomingPairing, Option<u32>)> {
        self.0.iter().filter_map(move |(joiner, pairing)| match &pairing.phase {
            IncomingPhase::Denied => None,
            IncomingPhase::Committed => Some((*joiner, pairing, None)),
            IncomingPhase::Revealed { joiner_nonce } => {
                let digits = digits(joiner, &own_id, (joiner_nonce, &pairing.own_nonce));
                Some((*joiner, pairing, Some(digits)))
            }
        })
    }

    /// A joiner asks to pair. Returns the answer; `None` if there is no room for one more. `nonce` is used
    /// for a new pairing.
    pub(in crate::node) fn on_request(
        &mut self,
        joiner: NodeId,
        request: PairingRequest,
        nonce: [u8; 16],
        now: ClockReading,
    ) -> Option<GuestFrame> {
        self.expire(now.mono);
        if self.0.len() >= limits::MAX_INCOMING_PAIRINGS && !self.0.contains_key(&joiner) {
            return None;
        }
        let PairingRequest { commit: commitment, alias, labels } = request;
        let known = self.0.get_mut(&joiner).filter(|known| known.commitment == commitment);
        if let Some(known) = known {
            known.last_request_at = now.mono;
            return Some(known.reply());
        }
        let pairing = IncomingPairing {
            alias,
            labels,
            requested_unix_secs: now.unix_secs,
            commitment,
            own_nonce: nonce,
            last_request_at: now.mono,
            phase: IncomingPhase::Committed,
        };
        let reply = pairing.reply();
        self.0.insert(joiner, pairing);
        Some(reply)
    }

    /// A joiner reveals its nonce. False if it does not ask to pair any more.
    pub(in crate::node) fn on_reveal(
        &mut self,
        joiner: &NodeId,
        joiner_nonce: [u8; 16],
    ) -> Result<bool, ProtocolError> {
        let Some(pairing) = self.0.get_mut(joiner) else { return Ok(false) };
        if pairing.commitment != commitment(joiner, &joiner_nonce) {
            return Err(ProtocolError::PairingCommitmentBroken);
        }
        if !matches!(pairing.phase, IncomingPhase::Denied) {
            pairing.phase = IncomingPhase::Revealed { joiner_nonce };
        }
        Ok(true)
    }

    /// An operator rejects a joiner. False if it does not ask to pair.
    pub(super) fn reject(&mut self, joiner: &NodeId) -> bool {
        self.0.get_mut(joiner).map(|pairing| pairing.phase = IncomingPhase::Denied).is_some()
    }

    /// When the first joiner will not have asked for too long.
    pub(in crate::node) fn expiry_due(&self) -> Option<MonoTime> {
        let oldest = self.0.values().map(|pairing| pairing.last_request_at).min();
        oldest.map(|at| at.plus_ms(limits::PAIRING_TIMEOUT_MS))
    }

    /// Forgets joiners that have not asked for [`limits::PAIRING_TIMEOUT_MS`].
    pub(in crate::node) fn expire(&mut self, now: MonoTime) {
        self.0.retain(|_, pairing| now.ms_since(pairing.last_request_at) < limits::PAIRING_TIMEOUT_MS);
    }
}

impl IncomingPairing {
    fn reply(&self) -> GuestFrame {
        match self.phase {
            IncomingPhase::Denied => {
                GuestFrame::JoinResponse(JoinResponse::Denied(JoinDenial::DeclinedByOperator))
            }
            IncomingPhase::Committed | IncomingPhase::Revealed { .. } => {
                GuestFrame::PairingNonce(self.own_nonce)
            }
        }
    }
}
