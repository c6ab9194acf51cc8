//! A delta together with the one Automerge change that it stands for.

use automerge::Change;

use super::automerge_codec::{build_change, change_id};
use super::{Delta, DeltaError};
use crate::id::ChangeId;
use crate::limits;
use crate::shard::root::ShardRoot;

/// A delta with its Automerge change. A value of this type proves that the delta is canonical, within all
/// limits, and of this root's shard.
#[derive(Clone, Debug)]
pub struct EncodedChange {
    delta: Delta,
    bytes: Vec<u8>,
    change: Change,
    id: ChangeId,
}

impl EncodedChange {
    /// Checks a delta by itself and builds its change.
    pub fn new(root: &ShardRoot, delta: Delta) -> Result<Self, DeltaError> {
        delta.validate()?;
        if delta.shard_id != root.shard_id() {
            return Err(DeltaError::Malformed);
        }
        let bytes = delta.encode();
        if bytes.len() > limits::MAX_DELTA_BYTES {
            return Err(DeltaError::TooLong(bytes.len()));
        }
        let change = build_change(&delta, delta.chain_id(root.group()), |key| root.bucket(key));
        let id = change_id(&change);
        Ok(Self { delta, bytes, change, id })
    }

    /// The delta.
    pub fn delta(&self) -> &Delta {
        &self.delta
    }

    /// The delta's bytes: [`Delta::encode`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The change's hash.
    pub fn id(&self) -> ChangeId {
        self.id
    }

    /// Returns the delta and the Automerge change.
    pub fn into_parts(self) -> (Delta, Change) {
        (self.delta, self.change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::automerge_codec::decode_change;
    use crate::delta::{OpRef, Put, Value};
    use crate::id::{ChainId, GroupId, Incarnation};
    use crate::shard::root::{ShardName, ShardRoot};

    fn delta(root: &ShardRoot, pred: u64) -> Delta {
        let preds = vec![OpRef { counter: pred, chain_id: ChainId([1; 16]) }];
        Delta {
            shard_id: root.shard_id(),
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

    /// Found by the fuzz target `delta`: Automerge panicked when it read the change encoded from this.
    #[test]
    fn preds_with_counters_at_or_above_start_op_are_rejected() {
        let root = ShardRoot::derive(GroupId([1; 16]), ShardName::Desired);
        for pred in [300, limits::MAX_OP_COUNTER + 1, u64::MAX] {
            let limit = DeltaError::Limit("the counter of a replaced value");
            assert_eq!(EncodedChange::new(&root, delta(&root, pred)).unwrap_err(), limit);
        }
        let valid = delta(&root, 299);
        let encoded = EncodedChange::new(&root, valid.clone()).unwrap();
        let author = (valid.grant, valid.incarnation);
        assert_eq!(decode_change(&encoded.into_parts().1, root.shard_id(), author), Some(valid));
    }
}
