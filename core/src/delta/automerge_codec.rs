//! The translation between deltas and Automerge changes, in both directions.
//!
//! Only this module knows the shape of Automerge's `ExpandedChange`. That type is public but may change with
//! any release, so the crate pins `=0.12.0`, and the hashes of encoded changes are golden vectors. Two
//! different deltas make two different changes: the translation is a bijection between canonical deltas and
//! the changes that a shard can hold.

use std::num::NonZeroU64;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::{ActorId, Change, ChangeHash, ExpandedChange, ObjType, ScalarValue};

use super::{Delta, OpRef, Put, Value};
use crate::id::{ChainId, ChangeId, GrantId, Incarnation, ShardId};

/// Builds the Automerge change that a delta stands for, without a document or a transaction. `chain_id` is
/// the delta's chain; `bucket_of` names the operation that made the bucket of a key.
pub(super) fn build_change(delta: &Delta, chain_id: ChainId, bucket_of: impl Fn(&str) -> OpRef) -> Change {
    let operations = delta
        .puts
        .iter()
        .map(|put| Op {
            action: OpType::Put(scalar_from_value(&put.value)),
            obj: ObjectId::Id(automerge_op_id(&bucket_of(&put.key))),
            key: Key::Map(put.key.as_str().into()),
            pred: put.preds.iter().map(automerge_op_id).collect(),
            insert: false,
        })
        .collect();
    Change::from(ExpandedChange {
        operations,
        actor_id: automerge_actor_id(chain_id),
        hash: None,
        seq: delta.seq,
        start_op: NonZeroU64::new(delta.start_op).unwrap_or(NonZeroU64::MIN),
        time: delta.time,
        message: (!delta.message.is_empty()).then(|| delta.message.clone()),
        deps: delta.deps.iter().map(|id| ChangeHash(id.0)).collect(),
        extra_bytes: Vec::new(),
        author: None,
    })
}

/// Builds a shard's root change: it creates the shard's map and the buckets in it.
pub fn build_root_change(chain_id: ChainId, shard_name: &str, buckets: u16) -> Change {
    let make_map = |obj, key: String| Op {
        action: OpType::Make(ObjType::Map),
        obj,
        key: Key::Map(key.as_str().into()),
        pred: SortedVec::new(),
        insert: false,
    };
    let mut operations = vec![make_map(ObjectId::Root, shard_name.to_owned())];
    let shard_map = ObjectId::Id(OpId(1, automerge_actor_id(chain_id)));
    operations.extend((0..buckets).map(|bucket| make_map(shard_map.clone(), format!("{bucket:02x}"))));
    Change::from(ExpandedChange {
        operations,
        actor_id: automerge_actor_id(chain_id),
        hash: None,
        seq: 1,
        start_op: NonZeroU64::MIN,
        time: 0,
        message: None,
        deps: Vec::new(),
        extra_bytes: Vec::new(),
        author: None,
    })
}

/// Decodes a change of our own document to its delta. `author` is what the change's actor stands for. `None`
/// if `build_change` cannot have made the change: then the document is damaged.
pub fn decode_change(change: &Change, shard_id: ShardId, author: (GrantId, Incarnation)) -> Option<Delta> {
    let expanded = change.decode();
    let mut puts = Vec::with_capacity(expanded.operations.len());
    for op in expanded.operations {
        let (OpType::Put(value), Key::Map(key)) = (op.action, op.key) else { return None };
        let preds = op.pred.iter().map(op_ref_from_automerge).collect::<Option<Vec<_>>>()?;
        puts.push(Put { key: key.to_string(), value: value_from_scalar(&value)?, preds });
    }
    Some(Delta {
        shard_id,
        grant: author.0,
        incarnation: author.1,
        seq: expanded.seq,
        deps: expanded.deps.iter().map(|hash| ChangeId(hash.0)).collect(),
        start_op: expanded.start_op.get(),
        time: expanded.time,
        message: expanded.message.unwrap_or_default(),
        puts,
    })
}

/// A chain as Automerge writes it: an actor id.
pub fn automerge_actor_id(chain_id: ChainId) -> ActorId {
    ActorId::from(chain_id.0)
}

/// The hash of an Automerge change.
pub fn change_id(change: &Change) -> ChangeId {
    ChangeId(change.hash().0)
}

/// The value that an Automerge scalar stands for; `None` if no delta can contain it.
pub fn value_from_scalar(scalar: &ScalarValue) -> Option<Value> {
    match scalar {
        ScalarValue::Null => Some(Value::Null),
        ScalarValue::Boolean(value) => Some(Value::Bool(*value)),
        ScalarValue::Int(value) => Some(Value::Int(*value)),
        ScalarValue::F64(value) => Some(Value::Float(*value)),
        ScalarValue::Str(value) => Some(Value::Str(value.to_string())),
        ScalarValue::Bytes(value) => Some(Value::Bytes(value.clone())),
        _ => None,
    }
}

fn scalar_from_value(value: &Value) -> ScalarValue {
    match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::Boolean(*value),
        Value::Int(value) => ScalarValue::Int(*value),
        Value::Float(value) => ScalarValue::F64(*value),
        Value::Str(value) => ScalarValue::Str(value.as_str().into()),
        Value::Bytes(value) => ScalarValue::Bytes(value.clone()),
    }
}

fn automerge_op_id(op: &OpRef) -> OpId {
    OpId(op.counter, automerge_actor_id(op.chain_id))
}

fn op_ref_from_automerge(op: &OpId) -> Option<OpRef> {
    Some(OpRef { counter: op.counter(), chain_id: ChainId::from_slice(op.actor().to_bytes())? })
}
