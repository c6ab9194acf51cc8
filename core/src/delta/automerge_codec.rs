//! The one composer: delta → Automerge change, and back.
//!
//! This is the only module that knows the shape of Automerge's `ExpandedChange`, which is public but may move with any
//! release; the crate pins `=0.12.0`, and the hashes of composed changes are golden vectors in this module's tests.
//! Two deltas that differ make changes that differ, so composing is a bijection between canonical deltas and the
//! changes a shard can hold.

use std::num::NonZeroU64;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::{ActorId, Change, ChangeHash, ExpandedChange, ObjType, ScalarValue};

use super::{Delta, DeltaError, OpRef, Put, Value};
use crate::id::{ChainId, ChangeId, GrantId, Incarnation, ShardId};
use crate::limits;
use crate::shard::root::ShardRoot;

/// A delta with the one Automerge change that it stands for. To have one is to know that the delta is within all
/// limits, canonical, and of this root's epoch.
#[derive(Clone, Debug)]
pub struct EncodedChange {
    delta: Delta,
    bytes: Vec<u8>,
    change: Change,
    id: ChangeId,
}

impl EncodedChange {
    /// Checks a delta by itself and makes its change.
    pub fn new(root: &ShardRoot, delta: Delta) -> Result<Self, DeltaError> {
        delta.validate()?;
        if delta.shard_id != root.shard_id() {
            return Err(DeltaError::Malformed);
        }
        let bytes = delta.encode();
        if bytes.len() > limits::MAX_DELTA_BYTES {
            return Err(DeltaError::TooLong(bytes.len()));
        }
        let change = build_change(root, &delta);
        let id = change_id(&change);
        Ok(Self { delta, bytes, change, id })
    }

    /// The change, as we say it.
    pub fn delta(&self) -> &Delta {
        &self.delta
    }

    /// [`Delta::encode`] of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its hash.
    pub fn id(&self) -> ChangeId {
        self.id
    }

    /// Gives both halves away.
    pub fn into_parts(self) -> (Delta, Change) {
        (self.delta, self.change)
    }
}

/// Makes the Automerge change that a delta stands for; nothing else is needed, no document and no transaction.
fn build_change(root: &ShardRoot, delta: &Delta) -> Change {
    let operations = delta
        .puts
        .iter()
        .map(|put| Op {
            action: OpType::Put(scalar_from_value(&put.value)),
            obj: ObjectId::Id(OpId(root.bucket_op(&put.key), automerge_actor_id(root.chain_id()))),
            key: Key::Map(put.key.as_str().into()),
            pred: put.preds.iter().map(automerge_op_id).collect(),
            insert: false,
        })
        .collect();
    Change::from(ExpandedChange {
        operations,
        actor_id: automerge_actor_id(delta.chain_id(root.group())),
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

/// Makes a shard's root change: the shard's map, and its buckets in it.
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

/// Says a change of our own document as a delta again. `author` is what the change's actor stands for. `None` if the
/// change is not one that `compose` makes: then the document is damaged.
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

/// An actor, as Automerge writes it.
pub fn automerge_actor_id(chain_id: ChainId) -> ActorId {
    ActorId::from(chain_id.0)
}

/// A change's hash, as Automerge writes it.
pub fn change_id(change: &Change) -> ChangeId {
    ChangeId(change.hash().0)
}

/// The value that an Automerge scalar stands for; `None` of those that no delta can say.
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
