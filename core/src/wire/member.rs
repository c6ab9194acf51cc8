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

use super::guest::{JoinRequest, JoinResponse};
use super::{EncodedRecords, FrameError, decode_layout, encode_frame};
use crate::delta::SignedDelta;
use crate::group::{ChainRange, Position};
use crate::id::{Digest, GrantId, GroupId, RecordId, ShardId, Sig};
use crate::limits;
use crate::record::{RecordTip, Signer};

/// One frame on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberFrame {
    /// Who I am and what I speak.
    Hello(Hello),
    /// All I have of a group, as one hash.
    GroupDigest(GroupDigest),
    /// All I have of a group, by shard.
    GroupSummary(GroupSummary),
    /// Records.
    RecordBatch(RecordBatch),
    /// Where I stand in a shard.
    ShardPositions(ShardPositions),
    /// What I lack of a shard.
    RangeRequest(RangeRequest),
    /// Some of what you lack.
    RangeResponse(RangeResponse),
    /// New changes.
    Push(PushedChanges),
    /// A member lives.
    Presence(SignedPresence),
    /// I stop syncing this group.
    StopSync(GroupId),
    /// I do not know you as a member of this group.
    ProveMembership(GroupId),
    /// What proves that I am one.
    GrantPath(RecordBatch),
    /// A stranger's request on its way to the issuer.
    ForwardedJoin(ForwardedJoin),
    /// The issuer's answer on its way back.
    ForwardedResponse(ForwardedResponse),
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
    pub newest_version: u16,
    /// The oldest.
    pub min_version: u16,
    /// The sender's software, for people.
    pub software: String,
}

/// All that a member has of a group, as one hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDigest {
    /// The group.
    pub group: GroupId,
    /// The hash.
    pub digest: Digest,
    /// Shards that are left out of it on the sender's side.
    pub omitted_shards: Vec<ShardId>,
}

/// The newest record of a chain, as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireRecordTip {
    grant: GrantId,
    signer: u8,
    seq: u64,
    id: RecordId,
}

/// All that a member has of a group, by shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// The group.
    pub group: GroupId,
    /// The newest record of every chain.
    pub record_tips: Vec<WireRecordTip>,
    /// Every shard that holds a change.
    pub shard_digests: Vec<(ShardId, Digest)>,
}

impl GroupSummary {
    /// The tips to be sent.
    pub fn to_wire_tips(tips: &[RecordTip]) -> Vec<WireRecordTip> {
        let to_wire = |tip: &RecordTip| WireRecordTip {
            grant: tip.grant,
            signer: tip.signer.to_byte(),
            seq: tip.seq,
            id: tip.id,
        };
        tips.iter().map(to_wire).collect()
    }

    /// The tips that were sent; those of signers that this version does not know are left out.
    pub fn decode_record_tips(&self) -> Vec<RecordTip> {
        let from_wire = |tip: &WireRecordTip| {
            let signer = Signer::from_byte(tip.signer)?;
            Some(RecordTip { grant: tip.grant, signer, seq: tip.seq, id: tip.id })
        };
        self.record_tips.iter().filter_map(from_wire).collect()
    }
}

/// Membership records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBatch {
    /// The group.
    pub group: GroupId,
    /// Each record followed by its signature.
    pub records: EncodedRecords,
    /// False if more follow.
    pub is_last: bool,
}

/// Where a member stands in a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPositions {
    /// The group.
    pub group: GroupId,
    /// The shard's epoch.
    pub shard_id: ShardId,
    /// Every chain in it.
    pub chains: Vec<Position>,
}

/// What a member lacks of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// The group.
    pub group: GroupId,
    /// The shard's epoch.
    pub shard_id: ShardId,
    /// Parts of chains.
    pub ranges: Vec<ChainRange>,
}

/// Some of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeResponse {
    /// The group.
    pub group: GroupId,
    /// The shard's epoch.
    pub shard_id: ShardId,
    /// True if there is more of what was asked for.
    pub has_more: bool,
    /// See [`crate::delta::columns`]; empty if there is nothing of it here.
    pub columns: Vec<u8>,
}

/// New changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedChanges {
    /// The group.
    pub group: GroupId,
    /// The shard's epoch.
    pub shard_id: ShardId,
    /// The changes.
    pub changes: Vec<SignedDelta>,
}

/// A member's presence, signed by it and told by anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPresence {
    /// The group.
    pub group: GroupId,
    /// See [`super::presence`].
    pub presence_bytes: Vec<u8>,
    /// The member's signature of it.
    pub signature: Sig,
}

/// A stranger's request on its way to the issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedJoin {
    /// The group.
    pub group: GroupId,
    /// How often it may still be passed on.
    pub hops: u8,
    /// The request.
    pub request: JoinRequest,
}

/// The issuer's answer on its way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedResponse {
    /// The group.
    pub group: GroupId,
    /// Which request it answers, see [`JoinRequest::id`].
    pub join_id: Digest,
    /// The answer.
    pub response: JoinResponse,
}

impl MemberFrame {
    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(body) => encode_frame(1, body),
            Self::GroupDigest(body) => encode_frame(2, body),
            Self::GroupSummary(body) => encode_frame(3, body),
            Self::RecordBatch(body) => encode_frame(4, body),
            Self::ShardPositions(body) => encode_frame(5, body),
            Self::RangeRequest(body) => encode_frame(6, body),
            Self::RangeResponse(body) => encode_frame(7, body),
            Self::Push(body) => encode_frame(8, body),
            Self::Presence(body) => encode_frame(9, body),
            Self::StopSync(group) => encode_frame(10, group),
            Self::ProveMembership(group) => encode_frame(11, group),
            Self::GrantPath(body) => encode_frame(12, body),
            Self::ForwardedJoin(body) => encode_frame(13, body),
            Self::ForwardedResponse(body) => encode_frame(14, body),
            Self::Ping(nonce) => encode_frame(15, nonce),
            Self::Pong(nonce) => encode_frame(16, nonce),
            Self::Unknown(kind) => vec![*kind],
        }
    }

    /// Reads a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (&kind, body) = bytes.split_first().ok_or(FrameError::Empty)?;
        let frame = match kind {
            1 => Self::Hello(decode_layout(kind, body)?),
            2 => Self::GroupDigest(decode_layout(kind, body)?),
            3 => Self::GroupSummary(decode_layout(kind, body)?),
            4 => Self::RecordBatch(decode_layout(kind, body)?),
            5 => Self::ShardPositions(decode_layout(kind, body)?),
            6 => Self::RangeRequest(decode_layout(kind, body)?),
            7 => Self::RangeResponse(decode_layout(kind, body)?),
            8 => Self::Push(decode_layout(kind, body)?),
            9 => Self::Presence(decode_layout(kind, body)?),
            10 => Self::StopSync(decode_layout(kind, body)?),
            11 => Self::ProveMembership(decode_layout(kind, body)?),
            12 => Self::GrantPath(decode_layout(kind, body)?),
            13 => Self::ForwardedJoin(decode_layout(kind, body)?),
            14 => Self::ForwardedResponse(decode_layout(kind, body)?),
            15 => Self::Ping(decode_layout(kind, body)?),
            16 => Self::Pong(decode_layout(kind, body)?),
            kind => Self::Unknown(kind),
        };
        if frame.is_within_limits() { Ok(frame) } else { Err(FrameError::Malformed(kind)) }
    }

    fn is_within_limits(&self) -> bool {
        match self {
            Self::Hello(body) => body.software.len() <= limits::MAX_NODE_TEXT_BYTES,
            Self::ShardPositions(body) => {
                body.chains.len() <= limits::MAX_POSITIONS_PER_FRAME
                    && body
                        .chains
                        .iter()
                        .all(|chain| !chain.tips.is_empty() && chain.tips.len() <= limits::MAX_TIPS_PER_CHAIN)
            }
            Self::RangeRequest(body) => body.ranges.len() <= limits::MAX_REQUESTED_CHAINS,
            Self::RecordBatch(body) | Self::GrantPath(body) => {
                body.records.len() <= limits::MAX_RECORDS_PER_RECEIVED_FRAME
            }
            _ => true,
        }
    }
}
