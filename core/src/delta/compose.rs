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
use crate::id::{Actor, ChangeId, EpochId, GrantId, Incarnation};
use crate::limits;
use crate::shard::root::Root;

/// A delta with the one Automerge change that it stands for. To have one is to know that the delta is within all
/// limits, canonical, and of this root's epoch.
#[derive(Clone, Debug)]
pub struct Composed {
    delta: Delta,
    bytes: Vec<u8>,
    change: Change,
    id: ChangeId,
}

impl Composed {
    /// Checks a delta by itself and makes its change.
    pub fn new(root: &Root, delta: Delta) -> Result<Self, DeltaError> {
        delta.check()?;
        if delta.epoch != root.epoch() {
            return Err(DeltaError::Malformed);
        }
        let bytes = delta.encode();
        if bytes.len() > limits::DELTA_BYTES {
            return Err(DeltaError::TooLong(bytes.len()));
        }
        let change = compose(root, &delta);
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
fn compose(root: &Root, delta: &Delta) -> Change {
    let operations = delta
        .puts
        .iter()
        .map(|put| Op {
            action: OpType::Put(scalar(&put.value)),
            obj: ObjectId::Id(OpId(root.bucket_op(&put.key), actor_id(root.actor()))),
            key: Key::Map(put.key.as_str().into()),
            pred: put.preds.iter().map(op_id).collect(),
            insert: false,
        })
        .collect();
    Change::from(ExpandedChange {
        operations,
        actor_id: actor_id(delta.actor(root.group())),
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
pub fn compose_root(actor: Actor, shard: &str, buckets: u16) -> Change {
    let map = |obj, key: String| Op {
        action: OpType::Make(ObjType::Map),
        obj,
        key: Key::Map(key.as_str().into()),
        pred: SortedVec::new(),
        insert: false,
    };
    let mut operations = vec![map(ObjectId::Root, shard.to_owned())];
    let shard_map = ObjectId::Id(OpId(1, actor_id(actor)));
    operations.extend((0..buckets).map(|bucket| map(shard_map.clone(), format!("{bucket:02x}"))));
    Change::from(ExpandedChange {
        operations,
        actor_id: actor_id(actor),
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
pub fn decompose(change: &Change, epoch: EpochId, author: (GrantId, Incarnation)) -> Option<Delta> {
    let expanded = change.decode();
    let mut puts = Vec::with_capacity(expanded.operations.len());
    for op in expanded.operations {
        let (OpType::Put(value), Key::Map(key)) = (op.action, op.key) else { return None };
        let preds = op.pred.iter().map(op_ref).collect::<Option<Vec<_>>>()?;
        puts.push(Put { key: key.to_string(), value: value_of(&value)?, preds });
    }
    Some(Delta {
        epoch,
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
pub fn actor_id(actor: Actor) -> ActorId {
    ActorId::from(actor.0)
}

/// A change's hash, as Automerge writes it.
pub fn change_id(change: &Change) -> ChangeId {
    ChangeId(change.hash().0)
}

/// The value that an Automerge scalar stands for; `None` of those that no delta can say.
pub fn value_of(scalar: &ScalarValue) -> Option<Value> {
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

fn scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::Boolean(*value),
        Value::Int(value) => ScalarValue::Int(*value),
        Value::Float(value) => ScalarValue::F64(*value),
        Value::Str(value) => ScalarValue::Str(value.as_str().into()),
        Value::Bytes(value) => ScalarValue::Bytes(value.clone()),
    }
}

fn op_id(op: &OpRef) -> OpId {
    OpId(op.counter, actor_id(op.actor))
}

fn op_ref(op: &OpId) -> Option<OpRef> {
    Some(OpRef { counter: op.counter(), actor: Actor::from_slice(op.actor().to_bytes())? })
}
