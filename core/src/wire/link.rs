//! Frames between members.
//!
//! ```text
//!  1 Hello      version u16 | least u16 | software string              first on a link, both ways
//!  2 Digest     group | digest | omitted [epoch]                       "this is all I have"
//!  3 Have       group | records [tip] | shards [(epoch, digest)]       the answer to a digest that differs
//!  4 Records    group | [record | signature] | last bool               records that the other lacks
//!  5 Positions  group | epoch | [actor, [seq, id]]                     where I stand in a shard that differs
//!  6 Want       group | epoch | [actor, after, (seq, id)]              what I lack of it
//!  7 Window     group | epoch | more bool | columns                    some of that; ask again if `more`
//!  8 Push       group | epoch | [delta, signature]                     new changes, as they come
//!  9 Presence   group | presence bytes | signature                     I live; passed on
//! 10 Bye        group                                                  I stop syncing this group
//! 11 WhoAreYou  group                                                  I do not know you as a member of it
//! 12 Line       group | [record | signature] | last bool               what proves that I am
//! 13 Carry      group | join request                                   a stranger asks its issuer to be let in
//! 14 Carried    group | request id | answer                            the issuer's answer, back along the way
//! 15 Ping       nonce u64
//! 16 Pong       nonce u64
//! ```

use serde::{Deserialize, Serialize};

use super::visit::{JoinAnswer, JoinRequest};
use super::{Blobs, FrameError, frame, layout};
use crate::delta::SignedDelta;
use crate::group::{Position, Want};
use crate::id::{Digest, EpochId, GrantId, GroupId, RecordId, Sig};
use crate::limits;
use crate::record::{RecordTip, Signer};

/// One frame on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Who I am and what I speak.
    Hello(Hello),
    /// All I have of a group, as one hash.
    Digest(Compare),
    /// All I have of a group, by shard.
    Have(Have),
    /// Records.
    Records(Bundle),
    /// Where I stand in a shard.
    Positions(Positions),
    /// What I lack of a shard.
    Want(Wanted),
    /// Some of what you lack.
    Window(Window),
    /// New changes.
    Push(Push),
    /// A member lives.
    Presence(Told),
    /// I stop syncing this group.
    Bye(GroupId),
    /// I do not know you as a member of this group.
    WhoAreYou(GroupId),
    /// What proves that I am one.
    Line(Bundle),
    /// A stranger's request on its way to the issuer.
    Carry(Carry),
    /// The issuer's answer on its way back.
    Carried(Carried),
    /// Are you there?
    Ping(u64),
    /// I am.
    Pong(u64),
    /// Something that a newer version says.
    Unknown(u8),
}

/// First on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest version that the sender speaks.
    pub version: u16,
    /// The oldest.
    pub least: u16,
    /// The sender's software, for people.
    pub software: String,
}

/// All that a member has of a group, as one hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The group.
    pub group: GroupId,
    /// The hash.
    pub digest: Digest,
    /// Shards that are left out of it on the sender's side.
    pub omitted: Vec<EpochId>,
}

/// The newest record of a chain, as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TipLayout {
    grant: GrantId,
    signer: u8,
    seq: u64,
    id: RecordId,
}

/// All that a member has of a group, by shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// The group.
    pub group: GroupId,
    /// The newest record of every chain.
    pub records: Vec<TipLayout>,
    /// Every shard that holds a change.
    pub shards: Vec<(EpochId, Digest)>,
}

impl Have {
    /// The tips to be sent.
    pub fn tips(tips: &[RecordTip]) -> Vec<TipLayout> {
        let layout = |tip: &RecordTip| TipLayout {
            grant: tip.grant,
            signer: tip.signer.byte(),
            seq: tip.seq,
            id: tip.id,
        };
        tips.iter().map(layout).collect()
    }

    /// The tips that were sent; those of signers that this version does not know are left out.
    pub fn record_tips(&self) -> Vec<RecordTip> {
        let read = |tip: &TipLayout| {
            let signer = Signer::from_byte(tip.signer)?;
            Some(RecordTip { grant: tip.grant, signer, seq: tip.seq, id: tip.id })
        };
        self.records.iter().filter_map(read).collect()
    }
}

/// Membership records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The group.
    pub group: GroupId,
    /// Each record followed by its signature.
    pub records: Blobs,
    /// False if more follow.
    pub last: bool,
}

/// Where a member stands in a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The group.
    pub group: GroupId,
    /// The shard's epoch.
    pub epoch: EpochId,
    /// Every chain in it.
    pub chains: Vec<Position>,
}

/// What a member lacks of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The group.
    pub group: GroupId,
    /// The shard's epoch.
    pub epoch: EpochId,
    /// Parts of chains.
    pub wants: Vec<Want>,
}

/// Some of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The group.
    pub group: GroupId,
    /// The shard's epoch.
    pub epoch: EpochId,
    /// True if there is more of what was asked for.
    pub more: bool,
    /// See [`crate::delta::columns`]; empty if there is nothing of it here.
    pub columns: Vec<u8>,
}

/// New changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The group.
    pub group: GroupId,
    /// The shard's epoch.
    pub epoch: EpochId,
    /// The changes.
    pub changes: Vec<SignedDelta>,
}

/// A member's presence, signed by it and told by anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The group.
    pub group: GroupId,
    /// See [`super::presence`].
    pub presence: Vec<u8>,
    /// The member's signature of it.
    pub signature: Sig,
}

/// A stranger's request on its way to the issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carry {
    /// The group.
    pub group: GroupId,
    /// How often it may still be passed on.
    pub hops: u8,
    /// The request.
    pub request: JoinRequest,
}

/// The issuer's answer on its way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The group.
    pub group: GroupId,
    /// Which request it answers, see [`JoinRequest::id`].
    pub request: Digest,
    /// The answer.
    pub answer: JoinAnswer,
}

impl Frame {
    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(body) => frame(1, body),
            Self::Digest(body) => frame(2, body),
            Self::Have(body) => frame(3, body),
            Self::Records(body) => frame(4, body),
            Self::Positions(body) => frame(5, body),
            Self::Want(body) => frame(6, body),
            Self::Window(body) => frame(7, body),
            Self::Push(body) => frame(8, body),
            Self::Presence(body) => frame(9, body),
            Self::Bye(group) => frame(10, group),
            Self::WhoAreYou(group) => frame(11, group),
            Self::Line(body) => frame(12, body),
            Self::Carry(body) => frame(13, body),
            Self::Carried(body) => frame(14, body),
            Self::Ping(nonce) => frame(15, nonce),
            Self::Pong(nonce) => frame(16, nonce),
            Self::Unknown(kind) => vec![*kind],
        }
    }

    /// Reads a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (&kind, body) = bytes.split_first().ok_or(FrameError::Empty)?;
        let frame = match kind {
            1 => Self::Hello(layout(kind, body)?),
            2 => Self::Digest(layout(kind, body)?),
            3 => Self::Have(layout(kind, body)?),
            4 => Self::Records(layout(kind, body)?),
            5 => Self::Positions(layout(kind, body)?),
            6 => Self::Want(layout(kind, body)?),
            7 => Self::Window(layout(kind, body)?),
            8 => Self::Push(layout(kind, body)?),
            9 => Self::Presence(layout(kind, body)?),
            10 => Self::Bye(layout(kind, body)?),
            11 => Self::WhoAreYou(layout(kind, body)?),
            12 => Self::Line(layout(kind, body)?),
            13 => Self::Carry(layout(kind, body)?),
            14 => Self::Carried(layout(kind, body)?),
            15 => Self::Ping(layout(kind, body)?),
            16 => Self::Pong(layout(kind, body)?),
            kind => Self::Unknown(kind),
        };
        if frame.is_within_limits() { Ok(frame) } else { Err(FrameError::Malformed(kind)) }
    }

    fn is_within_limits(&self) -> bool {
        match self {
            Self::Hello(body) => body.software.len() <= limits::TEXT_BYTES,
            Self::Positions(body) => {
                body.chains.len() <= limits::POSITION_CHAINS
                    && body
                        .chains
                        .iter()
                        .all(|chain| !chain.tips.is_empty() && chain.tips.len() <= limits::TIPS)
            }
            Self::Want(body) => body.wants.len() <= limits::WANT_CHAINS,
            Self::Records(body) | Self::Line(body) => body.records.len() <= limits::RECORDS_PER_FRAME,
            _ => true,
        }
    }
}
