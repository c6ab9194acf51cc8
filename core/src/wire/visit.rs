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

use super::ask::Ask;
use super::{Blobs, FrameError, frame, layout};
use crate::id::{Digest, GroupId, InviteId, NodeId, Secret, Sig, hash16, verify};
use crate::limits;

/// One frame on a visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VisitFrame {
    /// Are you in this group?
    Probe(Probe),
    /// I am.
    Proof(Proof),
    /// I am not.
    NotHere,
    /// Let me in.
    Join(JoinRequest),
    /// The answer.
    Answer(JoinAnswer),
    /// I am a member you have not heard of.
    Line(LineProof),
    /// Now I have.
    Welcome(GroupId),
    /// You were a member, and are none any more.
    Removed(LineProof),
    /// Let me in without a code.
    Ask(Ask),
    /// I show it to my operator, and this is my chance.
    Heard([u8; 16]),
    /// And this is mine.
    Reveal([u8; 16]),
    /// Something that a newer version says.
    Unknown(u8),
}

/// Asks for a group without naming it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Chance.
    pub nonce: [u8; 16],
    /// Names the group to those who know it.
    pub tag: Digest,
}

impl Probe {
    /// Asks `asked` for `group`.
    pub fn new(group: GroupId, asker: &NodeId, asked: &NodeId, nonce: [u8; 16]) -> Self {
        Self { nonce, tag: Digest(hash16("larder 1 probe", &[&group.0, &asker.0, &asked.0, &nonce])) }
    }

    /// True if it asks for `group`.
    pub fn means(&self, group: GroupId, asker: &NodeId, asked: &NodeId) -> bool {
        *self == Self::new(group, asker, asked, self.nonce)
    }
}

/// A member's line of grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Chance, to be signed by the joiner.
    pub nonce: [u8; 16],
    /// Records, each followed by its signature.
    pub records: Blobs,
    /// False if more follow.
    pub last: bool,
}

/// A member's line of grants, shown to a member that does not know it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineProof {
    /// The group.
    pub group: GroupId,
    /// Records, each followed by its signature.
    pub records: Blobs,
    /// False if more follow.
    pub last: bool,
}

/// What a joiner asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTerms {
    /// The group.
    pub group: GroupId,
    /// The invite.
    pub invite: InviteId,
    /// Who issued it.
    pub issuer: [u8; 8],
    /// Who wants in.
    pub joiner: NodeId,
    /// The member it speaks to.
    pub carrier: NodeId,
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
    pub by_invite: Sig,
    /// By the joiner's key.
    pub by_joiner: Sig,
}

fn message(terms: &JoinTerms) -> Vec<u8> {
    [b"larder 1 join\0".to_vec(), postcard::to_allocvec(terms).unwrap_or_default()].concat()
}

impl JoinRequest {
    /// Signs terms.
    pub fn sign(terms: JoinTerms, invite: &Secret, joiner: &Secret) -> Self {
        let message = message(&terms);
        Self { by_invite: invite.sign(&message), by_joiner: joiner.sign(&message), terms }
    }

    /// True if both signatures are right.
    pub fn is_signed(&self) -> bool {
        let message = message(&self.terms);
        verify(&self.terms.invite.0, &message, &self.by_invite)
            && self.terms.joiner.verify(&message, &self.by_joiner)
    }

    /// Names the request while it is carried.
    pub fn id(&self) -> Digest {
        Digest(hash16("larder 1 join request", &[&message(&self.terms)]))
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// Granted; the records are the new member's line.
    Granted {
        /// Records, each followed by its signature.
        records: Blobs,
        /// False if more follow.
        last: bool,
    },
    /// Refused for good.
    Refused(Denial),
    /// The issuer cannot be reached from here now; the request is kept.
    Waiting {
        /// The issuer's id as this member shows it, if it knows it.
        issuer: String,
    },
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Denial {
    /// The issuer does not know the invite.
    #[error("the member that this code names does not know it")]
    Unknown,
    /// It was used as often as it may be.
    #[error("this code was used already")]
    Used,
    /// Its time is over.
    #[error("this code has expired")]
    Expired,
    /// It was revoked.
    #[error("this code was revoked")]
    Revoked,
    /// The issuer may not admit anybody any more.
    #[error("the member that issued this code may no longer admit anybody")]
    Authority,
    /// The request is not what the invite's holder signed.
    #[error("the request was not signed with this code")]
    Signature,
    /// The alias or labels asked for cannot be granted.
    #[error("the alias or labels asked for cannot be granted")]
    Terms,
    /// An operator said no.
    #[error("an operator of the group declined")]
    Declined,
}

impl VisitFrame {
    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Probe(body) => frame(1, body),
            Self::Proof(body) => frame(2, body),
            Self::NotHere => frame(3, &()),
            Self::Join(body) => frame(4, body),
            Self::Answer(body) => frame(5, body),
            Self::Line(body) => frame(6, body),
            Self::Welcome(group) => frame(7, group),
            Self::Removed(body) => frame(8, body),
            Self::Ask(body) => frame(9, body),
            Self::Heard(chance) => frame(10, chance),
            Self::Reveal(chance) => frame(11, chance),
            Self::Unknown(kind) => vec![*kind],
        }
    }

    /// Reads a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (&kind, body) = bytes.split_first().ok_or(FrameError::Empty)?;
        let frame = match kind {
            1 => Self::Probe(layout(kind, body)?),
            2 => Self::Proof(layout(kind, body)?),
            3 => layout::<()>(kind, body).map(|()| Self::NotHere)?,
            4 => Self::Join(layout(kind, body)?),
            5 => Self::Answer(layout(kind, body)?),
            6 => Self::Line(layout(kind, body)?),
            7 => Self::Welcome(layout(kind, body)?),
            8 => Self::Removed(layout(kind, body)?),
            9 => Self::Ask(layout(kind, body)?),
            10 => Self::Heard(layout(kind, body)?),
            11 => Self::Reveal(layout(kind, body)?),
            kind => Self::Unknown(kind),
        };
        if frame.is_within_limits() { Ok(frame) } else { Err(FrameError::Malformed(kind)) }
    }

    fn is_within_limits(&self) -> bool {
        let few = |records: &Blobs| records.len() <= limits::RECORDS_PER_FRAME;
        match self {
            Self::Proof(body) => few(&body.records),
            Self::Line(body) | Self::Removed(body) => few(&body.records),
            Self::Ask(ask) => ask.is_within_limits(),
            Self::Answer(JoinAnswer::Granted { records, .. }) => few(records),
            Self::Answer(JoinAnswer::Waiting { issuer }) => issuer.len() <= limits::TEXT_BYTES,
            Self::Join(request) => {
                request.terms.alias.len() <= limits::NAME_BYTES
                    && request.terms.labels.len() <= limits::LABELS
            }
            _ => true,
        }
    }
}

/// Records in portions that each fit a frame on a visit, the last one marked.
pub fn portions(records: Vec<Vec<u8>>) -> Vec<(Blobs, bool)> {
    let mut portions: Vec<Blobs> = vec![Vec::new()];
    let mut bytes = 0;
    for record in records {
        let full = bytes + record.len() > limits::VISIT_FRAME_BYTES / 2
            || portions.last().is_some_and(|portion| portion.len() >= limits::RECORDS_PER_FRAME);
        if full && bytes > 0 {
            portions.push(Vec::new());
            bytes = 0;
        }
        bytes += record.len() + 8;
        if let Some(portion) = portions.last_mut() {
            portion.push(record);
        }
    }
    let last = portions.len() - 1;
    portions.into_iter().enumerate().map(|(nth, portion)| (portion, nth == last)).collect()
}
