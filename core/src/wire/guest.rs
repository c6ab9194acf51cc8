//! Frames on a guest stream.
//!
//! ```text
//!  1 MembershipProbe   nonce [16] | tag [16]                     asks whether the receiver is in the group
//!  2 ProbeResponse     nonce [16] | [record | signature] | last  yes, with the sender's grant path
//!  3 NotMember                                                   no, or no answer for this peer
//!  4 JoinRequest       terms | signatures                        signed with the keys of invite and joiner
//!  5 JoinResponse      granted | denied | waiting for the issuer
//!  6 GrantPath         group | [record | signature] | last       proves that the sender is a member
//!  7 MemberRecognized  group                                     the receiver counts as a member
//!  8 MembershipEnded   group | [record | signature] | last       proves that the receiver is not one
//!  9 PairingRequest    commit [16] | alias | labels              asks to join without a code
//! 10 PairingNonce      nonce [16]                                the member's half of the digits
//! 11 PairingReveal     nonce [16]                                the joiner's half of the digits
//! tag = BLAKE3("larder 1 probe", group | prober | responder | nonce)
//! ```
//!
//! The tag shows which group is meant only to nodes that know the group's id. The member proves its
//! membership before the joiner sends its request. The node that opened the stream sends a frame of kind 1,
//! 4, 6 or 9 only after the answer to the one before.

use serde::{Deserialize, Serialize};

use super::pairing::PairingRequest;
use super::{EncodedRecords, FrameError, decode_layout, encode_frame};
use crate::id::{Digest, GroupId, InviteId, NodeId, SecretKey, Sig, hash16, verify};
use crate::limits;

/// One frame on a guest stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestFrame {
    /// Asks whether the receiver is a member of a group.
    MembershipProbe(MembershipProbe),
    /// Answers a probe: the sender is a member.
    ProbeResponse(ProbeResponse),
    /// Answers a probe, grant path or pairing request: the sender does not take part.
    NotMember,
    /// Asks to join with an invite code.
    JoinRequest(JoinRequest),
    /// Answers a join request or pairing request.
    JoinResponse(JoinResponse),
    /// Proves that the sender is a member.
    GrantPath(GrantPath),
    /// Answers a grant path: the receiver counts as a member.
    MemberRecognized(GroupId),
    /// Answers a grant path: the receiver is a former member.
    MembershipEnded(GrantPath),
    /// Asks to join without a code.
    PairingRequest(PairingRequest),
    /// Answers a pairing request with the member's nonce.
    PairingNonce([u8; 16]),
    /// Reveals the joiner's nonce.
    PairingReveal([u8; 16]),
    /// A frame of a kind that this version does not know.
    Unknown(u8),
}

/// Asks whether the receiver is a member of a group, without naming the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipProbe {
    /// The joiner's nonce.
    pub nonce: [u8; 16],
    /// Identifies the group to nodes that know its id.
    pub tag: Digest,
}

impl MembershipProbe {
    /// A probe by `prober` that asks `responder` about `group`.
    pub fn new(group: GroupId, prober: &NodeId, responder: &NodeId, nonce: [u8; 16]) -> Self {
        Self { nonce, tag: Digest(hash16("larder 1 probe", &[&group.0, &prober.0, &responder.0, &nonce])) }
    }

    /// True if the probe asks about `group`.
    pub fn matches_group(&self, group: GroupId, prober: &NodeId, responder: &NodeId) -> bool {
        *self == Self::new(group, prober, responder, self.nonce)
    }
}

/// The grant path of a member that was probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResponse {
    /// The member's nonce, which the joiner signs.
    pub nonce: [u8; 16],
    /// The records, each followed by its signature.
    pub records: EncodedRecords,
    /// False if more records follow in another frame.
    pub is_last: bool,
}

/// Records that prove a membership, or its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantPath {
    /// The group that the records belong to.
    pub group: GroupId,
    /// The records, each followed by its signature.
    pub records: EncodedRecords,
    /// False if more records follow in another frame.
    pub is_last: bool,
}

/// The part of a join request that is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTerms {
    /// The group that the records belong to.
    pub group: GroupId,
    /// The id of the invite.
    pub invite_id: InviteId,
    /// The fingerprint of the invite's issuer.
    pub issuer_fingerprint: [u8; 8],
    /// The node that asks to join.
    pub joiner: NodeId,
    /// The member on the other side of the guest stream.
    pub contacted_member: NodeId,
    /// The nonces of the joiner and of the member. They bind the request to one guest stream.
    pub nonces: ([u8; 16], [u8; 16]),
    /// The alias that the joiner asks for; empty for none.
    pub alias: String,
    /// The labels that the joiner asks for, sorted by key.
    pub labels: Vec<(String, String)>,
}

/// Join terms, signed with the invite's key (the joiner knows the secret) and the joiner's own (no other node
/// may ask in its name).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The terms of the join.
    pub terms: JoinTerms,
    /// The signature by the invite's key.
    pub invite_signature: Sig,
    /// The signature by the joiner's key.
    pub joiner_signature: Sig,
}

fn signed_message(terms: &JoinTerms) -> Vec<u8> {
    [b"larder 1 join\0".to_vec(), postcard::to_allocvec(terms).unwrap_or_default()].concat()
}

impl JoinRequest {
    /// Signs `terms` with both keys.
    pub fn sign(terms: JoinTerms, invite: &SecretKey, joiner: &SecretKey) -> Self {
        let message = signed_message(&terms);
        Self { invite_signature: invite.sign(&message), joiner_signature: joiner.sign(&message), terms }
    }

    /// True if both signatures are valid.
    pub fn has_valid_signatures(&self) -> bool {
        let message = signed_message(&self.terms);
        verify(&self.terms.invite_id.0, &message, &self.invite_signature)
            && self.terms.joiner.verify(&message, &self.joiner_signature)
    }

    /// Identifies the request while members forward it.
    pub fn id(&self) -> Digest {
        Digest(hash16("larder 1 join request", &[&signed_message(&self.terms)]))
    }
}

/// The answer to a join request or pairing request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinResponse {
    /// The joiner is a member.
    Granted {
        /// The records of its grant path, each followed by its signature.
        records: EncodedRecords,
        /// False if more records follow in another frame.
        is_last: bool,
    },
    /// The request is denied for good.
    Denied(JoinDenial),
    /// The issuer cannot be reached now. The member keeps the request.
    WaitingForIssuer {
        /// The short id of the issuer; empty if the member does not know it.
        issuer_name: String,
    },
}

/// The reason why a join request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinDenial {
    /// The issuer does not know the invite.
    #[error("the member that issued this code does not know it any more")]
    UnknownInvite,
    /// The invite has no uses left.
    #[error("this code was used already")]
    UsedUp,
    /// The invite has expired.
    #[error("this code has expired")]
    Expired,
    /// An admin revoked the invite.
    #[error("this code was revoked")]
    Revoked,
    /// The issuer is no longer an admin.
    #[error("the member that issued this code is no longer an admin")]
    IssuerNotAdmin,
    /// A signature of the request is not valid.
    #[error("the request was not signed with this code")]
    InvalidSignature,
    /// The alias or the labels are not valid in a grant.
    #[error("the group cannot grant that alias or those labels")]
    InvalidTerms,
    /// An operator rejected the request.
    #[error("an operator of the group rejected the request")]
    DeclinedByOperator,
}

impl GuestFrame {
    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::MembershipProbe(body) => encode_frame(1, body),
            Self::ProbeResponse(body) => encode_frame(2, body),
            Self::NotMember => encode_frame(3, &()),
            Self::JoinRequest(body) => encode_frame(4, body),
            Self::JoinResponse(body) => encode_frame(5, body),
            Self::GrantPath(body) => encode_frame(6, body),
            Self::MemberRecognized(group) => encode_frame(7, group),
            Self::MembershipEnded(body) => encode_frame(8, body),
            Self::PairingRequest(body) => encode_frame(9, body),
            Self::PairingNonce(nonce) => encode_frame(10, nonce),
            Self::PairingReveal(nonce) => encode_frame(11, nonce),
            Self::Unknown(kind) => vec![*kind],
        }
    }

    /// Decodes a frame. A frame that exceeds a limit is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (&kind, body) = bytes.split_first().ok_or(FrameError::Empty)?;
        let frame = match kind {
            1 => Self::MembershipProbe(decode_layout(kind, body)?),
            2 => Self::ProbeResponse(decode_layout(kind, body)?),
            3 => decode_layout::<()>(kind, body).map(|()| Self::NotMember)?,
            4 => Self::JoinRequest(decode_layout(kind, body)?),
            5 => Self::JoinResponse(decode_layout(kind, body)?),
            6 => Self::GrantPath(decode_layout(kind, body)?),
            7 => Self::MemberRecognized(decode_layout(kind, body)?),
            8 => Self::MembershipEnded(decode_layout(kind, body)?),
            9 => Self::PairingRequest(decode_layout(kind, body)?),
            10 => Self::PairingNonce(decode_layout(kind, body)?),
            11 => Self::PairingReveal(decode_layout(kind, body)?),
            kind => Self::Unknown(kind),
        };
        if frame.is_within_limits() { Ok(frame) } else { Err(FrameError::Malformed(kind)) }
    }

    fn is_within_limits(&self) -> bool {
        let fits_frame = |records: &EncodedRecords| records.len() <= limits::MAX_RECORDS_PER_RECEIVED_FRAME;
        match self {
            Self::ProbeResponse(body) => fits_frame(&body.records),
            Self::GrantPath(body) | Self::MembershipEnded(body) => fits_frame(&body.records),
            Self::PairingRequest(request) => request.is_within_limits(),
            Self::JoinResponse(JoinResponse::Granted { records, .. }) => fits_frame(records),
            Self::JoinResponse(JoinResponse::WaitingForIssuer { issuer_name }) => {
                issuer_name.len() <= limits::MAX_NODE_TEXT_BYTES
            }
            Self::JoinRequest(request) => {
                request.terms.alias.len() <= limits::MAX_NAME_BYTES
                    && request.terms.labels.len() <= limits::MAX_LABELS_PER_GRANT
            }
            _ => true,
        }
    }
}

/// Splits encoded records into parts that each fit one guest frame; true marks the last part.
pub fn split_records(records: Vec<Vec<u8>>) -> Vec<(EncodedRecords, bool)> {
    let mut batches: Vec<EncodedRecords> = vec![Vec::new()];
    let mut bytes = 0;
    for record in records {
        let is_full = bytes + record.len() > limits::MAX_GUEST_FRAME_BYTES / 2
            || batches.last().is_some_and(|batch| batch.len() >= limits::MAX_RECORDS_PER_RECEIVED_FRAME);
        if is_full && bytes > 0 {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += record.len() + 8;
        if let Some(batch) = batches.last_mut() {
            batch.push(record);
        }
    }
    let last_index = batches.len() - 1;
    batches.into_iter().enumerate().map(|(index, batch)| (batch, index == last_index)).collect()
}
