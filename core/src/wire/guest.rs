//! Frames on a visit: what a stranger and a member say to each other.
//!
//! ```text
//! 1 Probe     nonce [16] | tag [16]                    "are you in the group that I have a code for?"
//! 2 Proof     nonce [16] | [record | signature] | last  "yes: this is my line of grants up to Genesis"
//! 3 NotHere                                             "no", or "not for you"
//! 4 Join      request                                   signed with the invite's key and the joiner's
//! 5 Answer    answer
//! 6 Line      group | [record | signature] | last       "you do not know me yet: this is my line of grants"
//! 7 Welcome   group                                     "now I do"
//! 8 Removed   group | [record | signature] | last       "you were a member: these say why you are none"
//! 9 Ask       commit [16] | alias | labels              "let me in, though I have no code", see `ask`
//! 10 Heard    chance [16]                               "I show it to my operator"
//! 11 Reveal   chance [16]                               "now both of us know six digits"
//! tag = BLAKE3("larder 1 probe", group | asker | asked | nonce)
//! ```
//!
//! The tag lets only those who know the group id see which group is meant; the member proves itself before the joiner
//! says anything else.

use serde::{Deserialize, Serialize};

use super::pairing::PairingRequest;
use super::{EncodedRecords, FrameError, decode_layout, encode_frame};
use crate::id::{Digest, GroupId, InviteId, NodeId, SecretKey, Sig, hash16, verify};
use crate::limits;

/// One frame on a visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestFrame {
    /// Are you in this group?
    MembershipProbe(MembershipProbe),
    /// I am.
    ProbeResponse(ProbeResponse),
    /// I am not.
    NotMember,
    /// Let me in.
    JoinRequest(JoinRequest),
    /// The answer.
    JoinResponse(JoinResponse),
    /// I am a member you have not heard of.
    GrantPath(GrantPath),
    /// Now I have.
    MemberRecognized(GroupId),
    /// You were a member, and are none any more.
    MembershipEnded(GrantPath),
    /// Let me in without a code.
    PairingRequest(PairingRequest),
    /// I show it to my operator, and this is my chance.
    PairingNonce([u8; 16]),
    /// And this is mine.
    PairingReveal([u8; 16]),
    /// Something that a newer version says.
    Unknown(u8),
}

/// Asks for a group without naming it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipProbe {
    /// Chance.
    pub nonce: [u8; 16],
    /// Names the group to those who know it.
    pub tag: Digest,
}

impl MembershipProbe {
    /// Asks `asked` for `group`.
    pub fn new(group: GroupId, prober: &NodeId, responder: &NodeId, nonce: [u8; 16]) -> Self {
        Self { nonce, tag: Digest(hash16("larder 1 probe", &[&group.0, &prober.0, &responder.0, &nonce])) }
    }

    /// True if it asks for `group`.
    pub fn matches_group(&self, group: GroupId, prober: &NodeId, responder: &NodeId) -> bool {
        *self == Self::new(group, prober, responder, self.nonce)
    }
}

/// A member's line of grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResponse {
    /// Chance, to be signed by the joiner.
    pub nonce: [u8; 16],
    /// Records, each followed by its signature.
    pub records: EncodedRecords,
    /// False if more follow.
    pub is_last: bool,
}

/// A member's line of grants, shown to a member that does not know it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantPath {
    /// The group.
    pub group: GroupId,
    /// Records, each followed by its signature.
    pub records: EncodedRecords,
    /// False if more follow.
    pub is_last: bool,
}

/// What a joiner asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTerms {
    /// The group.
    pub group: GroupId,
    /// The invite.
    pub invite_id: InviteId,
    /// Who issued it.
    pub issuer_fingerprint: [u8; 8],
    /// Who wants in.
    pub joiner: NodeId,
    /// The member it speaks to.
    pub contacted_member: NodeId,
    /// The joiner's chance and the carrier's, so that the request belongs to this one meeting.
    pub nonces: ([u8; 16], [u8; 16]),
    /// The alias it would like; empty for none.
    pub alias: String,
    /// The labels it would like, sorted by key.
    pub labels: Vec<(String, String)>,
}

/// What a joiner asks for, signed with the invite's key (it knows the secret) and its own (it asked itself).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// What it asks for.
    pub terms: JoinTerms,
    /// By the invite's key.
    pub invite_signature: Sig,
    /// By the joiner's key.
    pub joiner_signature: Sig,
}

fn signed_message(terms: &JoinTerms) -> Vec<u8> {
    [b"larder 1 join\0".to_vec(), postcard::to_allocvec(terms).unwrap_or_default()].concat()
}

impl JoinRequest {
    /// Signs terms.
    pub fn sign(terms: JoinTerms, invite: &SecretKey, joiner: &SecretKey) -> Self {
        let message = signed_message(&terms);
        Self { invite_signature: invite.sign(&message), joiner_signature: joiner.sign(&message), terms }
    }

    /// True if both signatures are right.
    pub fn has_valid_signatures(&self) -> bool {
        let message = signed_message(&self.terms);
        verify(&self.terms.invite_id.0, &message, &self.invite_signature)
            && self.terms.joiner.verify(&message, &self.joiner_signature)
    }

    /// Names the request while it is carried.
    pub fn id(&self) -> Digest {
        Digest(hash16("larder 1 join request", &[&signed_message(&self.terms)]))
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinResponse {
    /// Granted; the records are the new member's line.
    Granted {
        /// Records, each followed by its signature.
        records: EncodedRecords,
        /// False if more follow.
        last: bool,
    },
    /// Refused for good.
    Denied(JoinDenial),
    /// The issuer cannot be reached from here now; the request is kept.
    WaitingForIssuer {
        /// The issuer's id as this member shows it, if it knows it.
        issuer_name: String,
    },
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinDenial {
    /// The issuer does not know the invite.
    #[error("the member that this code names does not know it")]
    UnknownInvite,
    /// It was used as often as it may be.
    #[error("this code was used already")]
    UsedUp,
    /// Its time is over.
    #[error("this code has expired")]
    Expired,
    /// It was revoked.
    #[error("this code was revoked")]
    Revoked,
    /// The issuer may not admit anybody any more.
    #[error("the member that issued this code may no longer admit anybody")]
    IssuerNotAdmin,
    /// The request is not what the invite's holder signed.
    #[error("the request was not signed with this code")]
    InvalidSignature,
    /// The alias or labels asked for cannot be granted.
    #[error("the alias or labels asked for cannot be granted")]
    InvalidTerms,
    /// An operator said no.
    #[error("an operator of the group declined")]
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

    /// Reads a frame.
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
            Self::JoinResponse(JoinResponse::WaitingForIssuer { issuer_name: issuer }) => {
                issuer.len() <= limits::MAX_NODE_TEXT_BYTES
            }
            Self::JoinRequest(request) => {
                request.terms.alias.len() <= limits::MAX_NAME_BYTES
                    && request.terms.labels.len() <= limits::MAX_LABELS_PER_GRANT
            }
            _ => true,
        }
    }
}

/// Records in portions that each fit a frame on a visit, the last one marked.
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
