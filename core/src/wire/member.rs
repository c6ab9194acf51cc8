//! Frames between members.
//!
//! ```text
//!  1 Hello              newest u16 | min u16 | software string      the first frame on a link, both ways
//!  2 GroupDigest        group | digest | omitted [shard]            one hash over all that is held
//!  3 GroupSummary       group | record tips | [(shard, digest)]     the answer to a digest that differs
//!  4 RecordBatch        group | [record | signature] | last bool    records that the receiver lacks
//!  5 ShardPositions     group | shard | [chain, [seq, id]]          the sender's tips in a shard
//!  6 RangeRequest       group | shard | [chain, after, (seq, id)]   the ranges that the sender lacks
//!  7 RangeResponse      group | shard | more bool | columns         changes of those ranges
//!  8 Push               group | shard | [delta, signature]          new changes
//!  9 Presence           group | presence bytes | signature          a member is alive
//! 10 StopSync           group                                       the sender ends the session
//! 11 ProveMembership    group                                       the receiver is not known as a member
//! 12 GrantPath          group | [record | signature] | last bool    the proof that the sender is a member
//! 13 ForwardedJoin      group | hops u8 | join request              a join request, to its issuer
//! 14 ForwardedResponse  group | request id | response               the issuer's response, back
//! 15 Ping               nonce u64
//! 16 Pong               nonce u64
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
    /// The first frame, with the versions that the sender speaks.
    Hello(Hello),
    /// A frame that belongs to a group.
    Group(GroupId, GroupFrame),
    /// A request for a [`MemberFrame::Pong`] with the same nonce.
    Ping(u64),
    /// The answer to a [`MemberFrame::Ping`].
    Pong(u64),
    /// A frame of a kind that this version does not know.
    Unknown(u8),
}

/// A frame that belongs to a group, without the group's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupFrame {
    /// One hash over all that the sender holds.
    GroupDigest(GroupDigest),
    /// Record tips, and one hash for each shard.
    GroupSummary(GroupSummary),
    /// Records that the receiver lacks.
    RecordBatch(RecordBatch),
    /// The sender's tips in a shard.
    ShardPositions(ShardPositions),
    /// The ranges of changes that the sender lacks.
    RangeRequest(RangeRequest),
    /// Changes of the requested ranges.
    RangeResponse(RangeResponse),
    /// New changes.
    Push(PushedChanges),
    /// The presence of a member.
    Presence(SignedPresence),
    /// The sender ends the sync session.
    StopSync,
    /// The sender does not know the receiver as a member and asks for its grant path.
    ProveMembership,
    /// The proof that the sender is a member.
    GrantPath(RecordBatch),
    /// A join request on its way to the issuer of the invite.
    ForwardedJoin(ForwardedJoin),
    /// The issuer's response on its way back.
    ForwardedResponse(ForwardedResponse),
}

/// The versions and the software of the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest version that the sender speaks.
    pub newest_version: u16,
    /// The oldest version that the sender speaks.
    pub min_version: u16,
    /// The sender's software, as text for operators.
    pub software: String,
}

/// One hash over all that the sender holds of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDigest {
    /// The hash of what the sender holds of the group.
    pub digest: Digest,
    /// The shards that the sender left out of the hash.
    pub omitted_shards: Vec<ShardId>,
}

/// The newest record of a record chain, as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireRecordTip {
    grant: GrantId,
    signer: u8,
    seq: u64,
    id: RecordId,
}

/// What the sender holds of a group: record tips, and one hash for each shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// The newest record of every record chain.
    pub record_tips: Vec<WireRecordTip>,
    /// The digest of every shard that holds a change.
    pub shard_digests: Vec<(ShardId, Digest)>,
}

impl GroupSummary {
    /// Converts record tips to their wire form.
    pub fn to_wire_tips(tips: &[RecordTip]) -> Vec<WireRecordTip> {
        let to_wire = |tip: &RecordTip| WireRecordTip {
            grant: tip.grant,
            signer: tip.signer.to_byte(),
            seq: tip.seq,
            id: tip.id,
        };
        tips.iter().map(to_wire).collect()
    }

    /// Returns the record tips, without those of signers that this version does not know.
    pub fn decode_record_tips(&self) -> Vec<RecordTip> {
        let from_wire = |tip: &WireRecordTip| {
            let signer = Signer::from_byte(tip.signer)?;
            Some(RecordTip { grant: tip.grant, signer, seq: tip.seq, id: tip.id })
        };
        self.record_tips.iter().filter_map(from_wire).collect()
    }
}

/// Membership records, or a part of a longer list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBatch {
    /// Each record followed by its signature.
    pub records: EncodedRecords,
    /// False if more follow.
    pub is_last: bool,
}

/// The sender's tips in a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPositions {
    /// The shard's id.
    pub shard_id: ShardId,
    /// The tips of every chain in the shard.
    pub chains: Vec<Position>,
}

/// The ranges of changes in a shard that the sender lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// The shard's id.
    pub shard_id: ShardId,
    /// The requested ranges of chains.
    pub ranges: Vec<ChainRange>,
}

/// Changes of the requested ranges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeResponse {
    /// The shard's id.
    pub shard_id: ShardId,
    /// True if the sender holds more changes of the requested ranges.
    pub has_more: bool,
    /// The changes as [`crate::delta::columnar`] encodes them; empty if the sender has none.
    pub columns: Vec<u8>,
}

/// New changes of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedChanges {
    /// The shard's id.
    pub shard_id: ShardId,
    /// The changes with their signatures.
    pub changes: Vec<SignedDelta>,
}

/// A member's presence with its signature; any member may forward it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPresence {
    /// The presence as [`super::presence`] encodes it.
    pub presence_bytes: Vec<u8>,
    /// The member's signature over the presence.
    pub signature: Sig,
}

/// A join request on its way to the issuer of the invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedJoin {
    /// The number of times that members may still forward the request.
    pub hops: u8,
    /// The join request.
    pub request: JoinRequest,
}

/// The issuer's response on its way back to the joiner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedResponse {
    /// The id of the answered request, see [`JoinRequest::id`].
    pub join_id: Digest,
    /// The issuer's response.
    pub response: JoinResponse,
}

impl MemberFrame {
    /// Encodes the frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(body) => encode_frame(1, body),
            Self::Group(group, frame) => frame.encode(*group),
            Self::Ping(nonce) => encode_frame(15, nonce),
            Self::Pong(nonce) => encode_frame(16, nonce),
            Self::Unknown(kind) => vec![*kind],
        }
    }

    /// Decodes a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (&kind, body) = bytes.split_first().ok_or(FrameError::Empty)?;
        let frame = match kind {
            1 => Self::Hello(decode_layout(kind, body)?),
            2..=14 => {
                let (group, body) =
                    postcard::take_from_bytes(body).map_err(|_| FrameError::Malformed(kind))?;
                Self::Group(group, GroupFrame::decode(kind, body)?)
            }
            15 => Self::Ping(decode_layout(kind, body)?),
            16 => Self::Pong(decode_layout(kind, body)?),
            kind => Self::Unknown(kind),
        };
        if frame.is_within_limits() { Ok(frame) } else { Err(FrameError::Malformed(kind)) }
    }

    fn is_within_limits(&self) -> bool {
        match self {
            Self::Hello(body) => body.software.len() <= limits::MAX_NODE_TEXT_BYTES,
            Self::Group(_, frame) => frame.is_within_limits(),
            _ => true,
        }
    }
}

impl GroupFrame {
    /// Puts the frame into the envelope that names its group.
    pub fn in_group(self, group: GroupId) -> MemberFrame {
        MemberFrame::Group(group, self)
    }

    /// Encodes the frame with the id of its group.
    pub fn encode(&self, group: GroupId) -> Vec<u8> {
        match self {
            Self::GroupDigest(body) => encode_frame(2, &(group, body)),
            Self::GroupSummary(body) => encode_frame(3, &(group, body)),
            Self::RecordBatch(body) => encode_frame(4, &(group, body)),
            Self::ShardPositions(body) => encode_frame(5, &(group, body)),
            Self::RangeRequest(body) => encode_frame(6, &(group, body)),
            Self::RangeResponse(body) => encode_frame(7, &(group, body)),
            Self::Push(body) => encode_frame(8, &(group, body)),
            Self::Presence(body) => encode_frame(9, &(group, body)),
            Self::StopSync => encode_frame(10, &group),
            Self::ProveMembership => encode_frame(11, &group),
            Self::GrantPath(body) => encode_frame(12, &(group, body)),
            Self::ForwardedJoin(body) => encode_frame(13, &(group, body)),
            Self::ForwardedResponse(body) => encode_frame(14, &(group, body)),
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, FrameError> {
        Ok(match kind {
            2 => Self::GroupDigest(decode_layout(kind, body)?),
            3 => Self::GroupSummary(decode_layout(kind, body)?),
            4 => Self::RecordBatch(decode_layout(kind, body)?),
            5 => Self::ShardPositions(decode_layout(kind, body)?),
            6 => Self::RangeRequest(decode_layout(kind, body)?),
            7 => Self::RangeResponse(decode_layout(kind, body)?),
            8 => Self::Push(decode_layout(kind, body)?),
            9 => Self::Presence(decode_layout(kind, body)?),
            10 => decode_layout(kind, body).map(|()| Self::StopSync)?,
            11 => decode_layout(kind, body).map(|()| Self::ProveMembership)?,
            12 => Self::GrantPath(decode_layout(kind, body)?),
            13 => Self::ForwardedJoin(decode_layout(kind, body)?),
            14 => Self::ForwardedResponse(decode_layout(kind, body)?),
            _ => return Err(FrameError::Malformed(kind)),
        })
    }

    fn is_within_limits(&self) -> bool {
        match self {
            Self::ShardPositions(body) => {
                let has_valid_tips =
                    |chain: &Position| (1..=limits::MAX_TIPS_PER_CHAIN).contains(&chain.tips.len());
                body.chains.len() <= limits::MAX_POSITIONS_PER_FRAME && body.chains.iter().all(has_valid_tips)
            }
            Self::RangeRequest(body) => body.ranges.len() <= limits::MAX_REQUESTED_CHAINS,
            Self::RecordBatch(body) | Self::GrantPath(body) => {
                body.records.len() <= limits::MAX_RECORDS_PER_RECEIVED_FRAME
            }
            _ => true,
        }
    }
}
