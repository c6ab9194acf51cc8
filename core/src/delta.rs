//! A *delta*: Larder's own bounded, canonical form of one change. A change that is not canonical has no
//! delta.
//!
//! Foreign bytes never reach Automerge: half of all structurally mutated changes make it panic, or spoil its
//! files. Its transactions are not used either. [`encoded_change::EncodedChange`] is the only way to make a
//! change, for local writes and received changes alike.
//!
//! ```text
//! delta  = version u8 | shard [16] | grant [32] | incarnation [16] | seq varint | deps [ [32] ]
//!        | start_op varint | time zigzag | message string
//!        | puts [ key string | value | preds [ counter varint | chain [16] ] ]
//! value  = 0 null | 1 bool u8 | 2 int zigzag | 3 float [8, little-endian] | 4 string | 5 bytes
//!          (postcard: varints are LEB128; lists, strings and bytes follow their length)
//! ```
//!
//! `deps`, `puts` (by key) and `preds` are sorted and have no repeats.

pub mod automerge_codec;
pub mod change_note;
pub mod columnar;
pub mod encoded_change;

use serde::{Deserialize, Serialize};

use crate::id::{ChainId, ChangeId, GrantId, GroupId, Incarnation, ShardId, Sig};
use crate::limits::{self, FORMAT_VERSION, MAX_DELTA_BYTES};
pub use crate::value::Value;

/// The id of one put: the counter of its operation and its chain. Of concurrent values, the one with the
/// greatest `OpRef` wins, as in Automerge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpRef {
    /// The Lamport counter of the operation.
    pub counter: u64,
    /// The chain that wrote the operation.
    pub chain_id: ChainId,
}

/// One key set to one value, replacing the values that the author saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The key, as [`crate::resource`] composes it.
    pub key: String,
    /// The new value.
    pub value: Value,
    /// All values of the key visible at the change's dependencies, sorted.
    pub preds: Vec<OpRef>,
}

/// One change in Larder's own form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The shard that the change belongs to.
    pub shard_id: ShardId,
    /// The grant that the change is written under.
    pub grant: GrantId,
    /// The incarnation of the grant.
    pub incarnation: Incarnation,
    /// The sequence number in the chain, from 1.
    pub seq: u64,
    /// All heads of the shard that the author saw, and its own previous change; sorted.
    pub deps: Vec<ChangeId>,
    /// The counter of the first put: one more than the highest counter of the dependencies.
    pub start_op: u64,
    /// The time by the author's clock, in seconds since 1970. It decides nothing.
    pub time: i64,
    /// The message, see [`change_note::ChangeNote`].
    pub message: String,
    /// The keys that the change sets, sorted by key.
    pub puts: Vec<Put>,
}

#[derive(Serialize, Deserialize)]
struct DeltaLayout {
    version: u8,
    shard_id: ShardId,
    grant: GrantId,
    incarnation: Incarnation,
    seq: u64,
    deps: Vec<ChangeId>,
    start_op: u64,
    time: i64,
    message: String,
    puts: Vec<Put>,
}

/// The first fields of every layout of a delta.
#[derive(Deserialize)]
struct DeltaPrefix {
    _version: u8,
    _shard_id: ShardId,
    grant: GrantId,
}

/// Why bytes are not a delta. The sender is at fault, unless it runs a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The bytes are longer than a delta may be.
    #[error("a change of {0} bytes is longer than the limit of {MAX_DELTA_BYTES}; split it")]
    TooLong(usize),
    /// The bytes are not a delta, or not its canonical form.
    #[error("bytes that are not a change")]
    Malformed,
    /// A part of the delta exceeds this limit.
    #[error("a change beyond the limit on {0}")]
    Limit(&'static str),
    /// A newer version wrote the delta.
    #[error("a change of format {0}; this version of larder knows up to {FORMAT_VERSION}: upgrade it")]
    Newer(u8),
}

impl Delta {
    /// The chain of the change, in `group`.
    pub fn chain_id(&self, group: GroupId) -> ChainId {
        ChainId::derive(group, self.shard_id, self.grant, self.incarnation)
    }

    /// The grant in the first bytes of a delta. The other bytes are not checked.
    pub fn peek_grant_id(bytes: &[u8]) -> Option<GrantId> {
        postcard::take_from_bytes::<DeltaPrefix>(bytes).ok().map(|(prefix, _)| prefix.grant)
    }

    /// The counter of the last put; one less than `start_op` if there is none.
    pub fn max_op(&self) -> u64 {
        (self.start_op + self.puts.len() as u64).saturating_sub(1)
    }

    /// Encodes the delta.
    pub fn encode(&self) -> Vec<u8> {
        let layout = DeltaLayout {
            version: limits::FORMAT_VERSION,
            shard_id: self.shard_id,
            grant: self.grant,
            incarnation: self.incarnation,
            seq: self.seq,
            deps: self.deps.clone(),
            start_op: self.start_op,
            time: self.time,
            message: self.message.clone(),
            puts: self.puts.clone(),
        };
        postcard::to_allocvec(&layout).unwrap_or_default()
    }

    /// Decodes a delta. Bytes that do not encode back to themselves are an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DeltaError> {
        if bytes.len() > limits::MAX_DELTA_BYTES {
            return Err(DeltaError::TooLong(bytes.len()));
        }
        match bytes.first() {
            Some(&version) if version > limits::FORMAT_VERSION => return Err(DeltaError::Newer(version)),
            Some(&limits::FORMAT_VERSION) => {}
            _ => return Err(DeltaError::Malformed),
        }
        let (layout, rest) =
            postcard::take_from_bytes::<DeltaLayout>(bytes).map_err(|_| DeltaError::Malformed)?;
        let delta = Self {
            shard_id: layout.shard_id,
            grant: layout.grant,
            incarnation: layout.incarnation,
            seq: layout.seq,
            deps: layout.deps,
            start_op: layout.start_op,
            time: layout.time,
            message: layout.message,
            puts: layout.puts,
        };
        delta.validate()?;
        if !rest.is_empty() || delta.encode() != bytes {
            return Err(DeltaError::Malformed);
        }
        Ok(delta)
    }

    /// Checks what the delta alone shows: limits, order, valid values.
    pub fn validate(&self) -> Result<(), DeltaError> {
        let ensure =
            |is_within: bool, limit_name| if is_within { Ok(()) } else { Err(DeltaError::Limit(limit_name)) };
        ensure(self.deps.len() <= limits::MAX_DEPS_PER_CHANGE, "dependencies")?;
        ensure(self.puts.len() <= limits::MAX_PUTS_PER_CHANGE, "fields set at once")?;
        ensure(self.message.len() <= limits::MAX_MESSAGE_BYTES, "the message's length")?;
        ensure((0..=limits::MAX_TIME_SECONDS).contains(&self.time), "the time")?;
        ensure((1..=limits::MAX_SEQ).contains(&self.seq), "the sequence number")?;
        ensure(self.start_op >= 2 && self.start_op <= limits::MAX_OP_COUNTER, "the operation counter")?;
        for put in &self.puts {
            ensure(!put.key.is_empty() && put.key.len() <= limits::MAX_KEY_BYTES, "a key's length")?;
            ensure(put.preds.len() <= limits::MAX_PREDS_PER_PUT, "values replaced at once")?;
            // A replaced value was written earlier. Automerge panics when it reads a counter that is out of
            // bounds.
            ensure(
                put.preds.iter().all(|pred| pred.counter < self.start_op),
                "the counter of a replaced value",
            )?;
            ensure(put.value.is_valid(), "a value")?;
        }
        let sorted = is_sorted_unique(&self.deps)
            && self.puts.is_sorted_by(|a, b| a.key < b.key)
            && self.puts.iter().all(|put| is_sorted_unique(&put.preds));
        if self.deps.is_empty() || !sorted {
            return Err(DeltaError::Malformed);
        }
        Ok(())
    }
}

fn is_sorted_unique<T: Ord>(list: &[T]) -> bool {
    list.is_sorted_by(|a, b| a < b)
}

/// A delta with its author's signature of the chain up to it. A single new change is sent in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDelta {
    /// The bytes of the delta: [`Delta::encode`].
    pub delta: Vec<u8>,
    /// The author's signature of the chain up to this change, see [`crate::shard::chain`].
    pub signature: Sig,
}
