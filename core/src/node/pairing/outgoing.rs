//! The joiner's side of a pairing.
//!
//! | phase of the pairing | event | next |
//! |---|---|---|
//! | `Comparing` | the operator confirms the digits of a member | `Confirmed` |
//! | `Confirmed` | the operator confirms the digits of another member | `Confirmed` |
//! | `Confirmed` | the grant of that member is complete, and counts | `Joined` |
//!
//! | phase with one member | event | next |
//! |---|---|---|
//! | `Requested` | `PairingNonce` | `Compared` |
//! | `Compared` | `JoinResponse` granted, more follow | `Compared` |
//! | `Compared` | `JoinResponse` granted, complete | `Granted` |
//! | `Granted` | the grant is used, or another stream is opened | `Compared` |
//! | any | `JoinResponse` denied | `Denied` |

use std::collections::BTreeMap;

use crate::id::{GroupId, NodeId};
use crate::limits;
use crate::node::input::{AliasAndLabels, MonoTime};
use crate::node::membership_proof::collect_records;
use crate::node::protocol_error::ProtocolError;
use crate::record::SignedRecord;
use crate::wire::guest::JoinResponse;
use crate::wire::pairing::{PairingRequest, commitment, digits};

type Nonce = [u8; 16];

/// A pairing that this node asked for.
#[derive(Clone, Debug)]
pub struct OutgoingPairing {
    alias: String,
    labels: Vec<(String, String)>,
    started_at: MonoTime,
    peers: BTreeMap<NodeId, PairingPeer>,
    phase: OutgoingPhase,
}

#[derive(Clone, Copy, Debug)]
enum OutgoingPhase {
    /// The operator has confirmed no digits.
    Comparing,
    /// The operator confirmed the digits of this member.
    Confirmed(NodeId),
    /// This node has entered the group.
    Joined(GroupId),
}

/// The pairing with one member.
#[derive(Clone, Debug)]
struct PairingPeer {
    own_nonce: Nonce,
    phase: PeerPhase,
}

#[derive(Clone, Debug)]
enum PeerPhase {
    /// The member has not sent its nonce.
    Requested,
    /// Both nodes show the digits.
    Compared {
        peer_nonce: Nonce,
        /// Records of an incomplete grant.
        received: Vec<SignedRecord>,
    },
    /// The member sent a grant. It counts once the operator has confirmed the digits.
    Granted { peer_nonce: Nonce, records: Vec<SignedRecord> },
    /// The member's operator rejected this node.
    Denied { peer_nonce: Option<Nonce> },
}

impl PeerPhase {
    fn peer_nonce(&self) -> Option<Nonce> {
        match self {
            Self::Requested => None,
            Self::Compared { peer_nonce, .. } | Self::Granted { peer_nonce, .. } => Some(*peer_nonce),
            Self::Denied { peer_nonce } => *peer_nonce,
        }
    }
}

impl PairingPeer {
    /// Drops the grant, or the part of it that has arrived.
    fn forget_grant(&mut self) -> Vec<SignedRecord> {
        let (PeerPhase::Compared { peer_nonce, received: records }
        | PeerPhase::Granted { peer_nonce, records }) = &mut self.phase
        else {
            return Vec::new();
        };
        let (peer_nonce, records) = (*peer_nonce, std::mem::take(records));
        self.phase = PeerPhase::Compared { peer_nonce, received: Vec::new() };
        records
    }
}

impl OutgoingPairing {
    /// Starts to pair. An `earlier` pairing that has not ended keeps its nonces, and so its digits.
    pub(super) fn start(
        (alias, labels): AliasAndLabels,
        now: MonoTime,
        earlier: Option<OutgoingPairing>,
    ) -> Self {
        let (peers, phase) = match earlier {
            Some(earlier) if earlier.joined_group().is_none() => (earlier.peers, earlier.phase),
            _ => (BTreeMap::new(), OutgoingPhase::Comparing),
        };
        Self { alias, labels, started_at: now, peers, phase }
    }

    /// The group that this node entered by this pairing.
    pub fn joined_group(&self) -> Option<GroupId> {
        match self.phase {
            OutgoingPhase::Joined(group) => Some(group),
            OutgoingPhase::Comparing | OutgoingPhase::Confirmed(_) => None,
        }
    }

    /// The members that have sent their nonce, with the digits that `own_id` and they show, and whether they
    /// denied.
    pub fn peers_with_digits(&self, own_id: &NodeId) -> impl Iterator<Item = (NodeId, u32, bool)> {
        self.peers.iter().filter_map(move |(member, peer)| {
            let peer_nonce = peer.phase.peer_nonce()?;
            let is_denied = matches!(peer.phase, PeerPhase::Denied { .. });
            Some((*member, digits(own_id, member, (&peer.own_nonce, &peer_nonce)), is_denied))
        })
    }

    /// When this node stops to ask.
    pub(in crate::node) fn expires_at(&self) -> MonoTime {
        self.started_at.plus_ms(limits::PAIRING_TIMEOUT_MS)
    }

    /// The request to send to `peer` on a new stream. `new_nonce` is used if this is the first one.
    pub(super) fn request_to(&mut self, own_id: &NodeId, peer: NodeId, new_nonce: Nonce) -> PairingRequest {
        let first = PairingPeer { own_nonce: new_nonce, phase: PeerPhase::Requested };
        let pairing_peer = self.peers.entry(peer).or_insert(first);
        pairing_peer.forget_grant();
        PairingRequest {
            commit: commitment(own_id, &pairing_peer.own_nonce),
            alias: self.alias.clone(),
            labels: self.labels.clone(),
        }
    }

    /// A member sent its nonce. Returns the nonce to reveal to it.
    pub(super) fn on_nonce(&mut self, peer: &NodeId, nonce: Nonce) -> Result<Option<Nonce>, ProtocolError> {
        let Some(peer) = self.peers.get_mut(peer) else { return Ok(None) };
        if peer.phase.peer_nonce().is_some_and(|earlier| earlier != nonce) {
            return Err(ProtocolError::PairingNonceChanged);
        }
        match &mut peer.phase {
            PeerPhase::Requested => {
                peer.phase = PeerPhase::Compared { peer_nonce: nonce, received: Vec::new() };
            }
            PeerPhase::Denied { peer_nonce } => *peer_nonce = Some(nonce),
            PeerPhase::Compared { .. } | PeerPhase::Granted { .. } => {}
        }
        Ok(Some(peer.own_nonce))
    }

    /// A member answered the request. A grant before the digits are known is ignored; the member sends it
    /// again.
    pub(super) fn on_response(
        &mut self,
        peer: &NodeId,
        response: &JoinResponse,
    ) -> Result<(), ProtocolError> {
        let Some(peer) = self.peers.get_mut(peer) else { return Ok(()) };
        match (&mut peer.phase, response) {
            (phase, JoinResponse::Denied(_)) => *phase = PeerPhase::Denied { peer_nonce: phase.peer_nonce() },
            (PeerPhase::Compared { peer_nonce, received }, JoinResponse::Granted { records, is_last }) => {
                if let Some(records) = collect_records(received, records, *is_last)? {
                    peer.phase = PeerPhase::Granted { peer_nonce: *peer_nonce, records };
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The operator confirms digits. False if no member that has not denied shows them.
    pub(super) fn confirm(&mut self, own_id: &NodeId, confirmed: u32) -> bool {
        let member =
            self.peers_with_digits(own_id).find(|(_, digits, is_denied)| *digits == confirmed && !is_denied);
        let Some((member, ..)) = member else { return false };
        if self.joined_group().is_none() {
            self.phase = OutgoingPhase::Confirmed(member);
        }
        true
    }

    /// Takes the grant of the confirmed member, once it is complete.
    pub(super) fn take_confirmed_grant(&mut self) -> Option<(NodeId, Vec<SignedRecord>)> {
        let OutgoingPhase::Confirmed(member) = self.phase else { return None };
        let peer = self.peers.get_mut(&member)?;
        matches!(peer.phase, PeerPhase::Granted { .. }).then(|| (member, peer.forget_grant()))
    }

    pub(super) fn on_joined(&mut self, group: GroupId) {
        self.phase = OutgoingPhase::Joined(group);
    }
}
