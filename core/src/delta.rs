//! A *delta*: our own bounded, canonical form of one change. What is not canonical cannot even be said.
//!
//! Foreign bytes never reach Automerge (half of all structurally mutated changes panic it or poison its files), and
//! its transactions are never used: [`compose::Composed`] is the only way to make a change, for local
//! writes and received ones alike.
//!
//! ```text
//! delta  = version u8 | epoch [16] | grant [32] | incarnation [16] | seq varint | deps [ [32] ] | start_op varint
//!        | time zigzag | message string | puts [ key string | value | preds [ counter varint | actor [16] ] ]
//! value  = 0 null | 1 bool u8 | 2 int zigzag | 3 float [8, little-endian] | 4 string | 5 bytes
//!          (postcard: varints are LEB128; lists, strings and bytes carry their length before them)
//! ```
//!
//! `deps`, `puts` (by key) and `preds` are sorted and without repeats.

pub mod columns;
pub mod compose;

use serde::{Deserialize, Serialize};

use crate::id::{Actor, ChangeId, EpochId, GrantId, GroupId, Incarnation, Sig};
use crate::limits;
pub use crate::value::Value;

/// Names one put: the counter of its operation and the chain that wrote it. Automerge's winner among concurrent
/// values is the greatest of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpRef {
    /// Lamport counter.
    pub counter: u64,
    /// Who wrote it.
    pub actor: Actor,
}

/// One key set to one value, replacing the values that the author saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The flat key.
    pub key: String,
    /// The new value.
    pub value: Value,
    /// All values of the key visible at the change's dependencies, sorted.
    pub preds: Vec<OpRef>,
}

/// One change, as we say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The shard and epoch written to.
    pub epoch: EpochId,
    /// The grant written under.
    pub grant: GrantId,
    /// Which life of that grant.
    pub incarnation: Incarnation,
    /// Place in the chain, from 1.
    pub seq: u64,
    /// All heads of the shard that the author saw, and its own previous change; sorted.
    pub deps: Vec<ChangeId>,
    /// Counter of the first put: one more than the highest below it.
    pub start_op: u64,
    /// Seconds since 1970 by the author's clock. Advisory: nothing is decided by it.
    pub time: i64,
    /// Words and trailers.
    pub message: String,
    /// What it sets, sorted by key.
    pub puts: Vec<Put>,
}

#[derive(Serialize, Deserialize)]
struct Layout {
    version: u8,
    epoch: EpochId,
    grant: GrantId,
    incarnation: Incarnation,
    seq: u64,
    deps: Vec<ChangeId>,
    start_op: u64,
    time: i64,
    message: String,
    puts: Vec<Put>,
}

/// What every layout of a delta begins with.
#[derive(Deserialize)]
struct Front {
    _version: u8,
    _epoch: EpochId,
    grant: GrantId,
}

/// Why bytes are not a delta. The fault is always the sender's, unless it runs a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// Longer than any delta may be.
    #[error("a change of {0} bytes is longer than the limit of {limit}; split it", limit = limits::DELTA_BYTES)]
    TooLong(usize),
    /// Not the layout, or not its only spelling.
    #[error("bytes that are not a change")]
    Malformed,
    /// More of something than a change may have.
    #[error("a change beyond the limit on {0}")]
    Limit(&'static str),
    /// Written in a later format.
    #[error("a change of format {0}; this version understands up to {known}: upgrade needed", known = limits::FORMAT)]
    Newer(u8),
}

impl Delta {
    /// The actor that this change is written under in `group`.
    pub fn actor(&self, group: GroupId) -> Actor {
        Actor::of(group, self.epoch, self.grant, self.incarnation)
    }

    /// The grant that a delta says it was written under, read from its first bytes: the rest may be anything.
    pub fn grant_of(bytes: &[u8]) -> Option<GrantId> {
        postcard::take_from_bytes::<Front>(bytes).ok().map(|(front, _)| front.grant)
    }

    /// Counter of the last put; one less than `start_op` if there is none.
    pub fn max_op(&self) -> u64 {
        (self.start_op + self.puts.len() as u64).saturating_sub(1)
    }

    /// The delta's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let layout = Layout {
            version: limits::FORMAT,
            epoch: self.epoch,
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

    /// Reads a delta. There is one spelling: what does not encode back to the same bytes is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, DeltaError> {
        if bytes.len() > limits::DELTA_BYTES {
            return Err(DeltaError::TooLong(bytes.len()));
        }
        match bytes.first() {
            Some(&version) if version > limits::FORMAT => return Err(DeltaError::Newer(version)),
            Some(&limits::FORMAT) => {}
            _ => return Err(DeltaError::Malformed),
        }
        let (layout, rest) = postcard::take_from_bytes::<Layout>(bytes).map_err(|_| DeltaError::Malformed)?;
        let delta = Self {
            epoch: layout.epoch,
            grant: layout.grant,
            incarnation: layout.incarnation,
            seq: layout.seq,
            deps: layout.deps,
            start_op: layout.start_op,
            time: layout.time,
            message: layout.message,
            puts: layout.puts,
        };
        delta.check()?;
        if !rest.is_empty() || delta.encode() != bytes {
            return Err(DeltaError::Malformed);
        }
        Ok(delta)
    }

    /// Checks everything that can be seen in the delta alone: limits, order, sound values.
    pub fn check(&self) -> Result<(), DeltaError> {
        let limit = |ok: bool, what| if ok { Ok(()) } else { Err(DeltaError::Limit(what)) };
        limit(self.deps.len() <= limits::DEPS, "dependencies")?;
        limit(self.puts.len() <= limits::PUTS, "fields set at once")?;
        limit(self.message.len() <= limits::MESSAGE_BYTES, "the message's length")?;
        limit((0..=limits::MAX_TIME).contains(&self.time), "the time")?;
        limit((1..=limits::MAX_SEQ).contains(&self.seq), "the sequence number")?;
        limit(self.start_op >= 2 && self.start_op <= limits::MAX_OP, "the operation counter")?;
        for put in &self.puts {
            limit(!put.key.is_empty() && put.key.len() <= limits::KEY_BYTES, "a key's length")?;
            limit(put.preds.len() <= limits::PREDS, "values replaced at once")?;
            // What is replaced was written below. Counters beyond all bounds make Automerge panic when it reads them.
            limit(
                put.preds.iter().all(|pred| pred.counter < self.start_op),
                "the counter of a replaced value",
            )?;
            limit(put.value.is_sound(), "a value")?;
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

/// A delta's bytes with its author's signature of the chain up to it: how a single new change is sent and stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDelta {
    /// [`Delta::encode`].
    pub delta: Vec<u8>,
    /// The signature of the chain at this change, see [`crate::shard::chain`].
    pub signature: Sig,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::compose::{Composed, decompose};
    use crate::shard::root::{Root, ShardName};

    fn delta(root: &Root, pred: u64) -> Delta {
        let preds = vec![OpRef { counter: pred, actor: Actor([1; 16]) }];
        Delta {
            epoch: root.epoch(),
            grant: crate::id::RecordId([1; 32]),
            incarnation: Incarnation([1; 16]),
            seq: 1,
            deps: vec![root.id()],
            start_op: 300,
            time: 0,
            message: String::new(),
            puts: vec![Put { key: "k".to_owned(), value: Value::Null, preds }],
        }
    }

    /// Found by the fuzz target `delta`: Automerge panicked when it read what was composed of this.
    #[test]
    fn a_change_replaces_nothing_that_comes_after_it() {
        let root = Root::derive(GroupId([1; 16]), ShardName::Desired);
        for pred in [300, limits::MAX_OP + 1, u64::MAX] {
            let limit = DeltaError::Limit("the counter of a replaced value");
            assert_eq!(Composed::new(&root, delta(&root, pred)).unwrap_err(), limit);
        }
        let fine = delta(&root, 299);
        let composed = Composed::new(&root, fine.clone()).unwrap();
        let author = (fine.grant, fine.incarnation);
        assert_eq!(decompose(&composed.into_parts().1, root.epoch(), author), Some(fine));
    }
}
