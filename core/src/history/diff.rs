//! Differences with old and new values: over one change, or between two points of a shard.

use std::collections::BTreeSet;

use super::change_summary::FieldOp;
use super::past_state::{PastState, VisibleKeys};
use crate::group::Group;
use crate::id::{ChangeId, ShardId};
use crate::resource::literal::Literal;
use crate::resource::{FieldRef, ResourceName};
use crate::shard::Shard;

/// One field with different values at two points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDiff {
    /// The resource that differs.
    pub resource: ResourceName,
    /// The path of the field, or `state` for an observed state.
    pub field: String,
    /// The operation that leads from the old value to the new one.
    pub op: FieldOp,
    /// The old value, or `None` if the field was unset. Of several visible values, it is the winner.
    pub old: Option<Literal>,
    /// The new value, with the same rules.
    pub new: Option<Literal>,
    /// The change that wrote the new value or unset the field, or `None` if the field was never written by
    /// then.
    pub change: Option<ChangeId>,
}

/// The differences that one change made to the state that its author saw: every field that it wrote, in order
/// of resource and field. A field may keep its value, because writing the winner again resolves a conflict.
/// Empty for a change that cannot be read, and for one that only merges.
pub fn diff_of_change(group: &Group, shard_id: &ShardId, change: &ChangeId) -> Vec<FieldDiff> {
    let Some(shard) = group.shard_by_id(shard_id) else { return Vec::new() };
    let Some((entry, delta)) = shard.graph().get(change).zip(shard.read_delta(change)) else {
        return Vec::new();
    };
    let deps: Vec<ChangeId> = shard.graph().deps(entry).map(|dep| dep.id).collect();
    let (before, after) = (PastState::at(shard, &deps), PastState::at(shard, &[*change]));
    let field_refs: BTreeSet<FieldRef> =
        delta.puts.iter().filter_map(|put| FieldRef::from_key(&put.key)).collect();
    let fields = with_visible_keys(shard, field_refs);
    let (before, after) = (before.read_fields(&fields), after.read_fields(&fields));
    let pairs = fields.iter().zip(before.zip(after));
    pairs
        .map(|((field_ref, _), ((old, _), (new, _)))| field_diff(field_ref, old, new, Some(*change)))
        .collect()
}

/// The differences between two points of a shard, in order of resource and field; with `resource`, only in
/// that resource. A field with the same winner at both points is left out, even if it is in conflict at one
/// of them.
///
/// A key that did not change after either point takes less than a microsecond, any other key about 20 µs.
pub fn diff(
    shard: &Shard,
    from: &[ChangeId],
    to: &[ChangeId],
    resource: Option<&ResourceName>,
) -> Vec<FieldDiff> {
    let (from, to) = (PastState::at(shard, from), PastState::at(shard, to));
    let prefix = resource.map(ToString::to_string).unwrap_or_default();
    let keys = shard.state().range_with_prefix(&prefix);
    let changed = keys.filter(|(_, current)| !(from.is_unchanged(current) && to.is_unchanged(current)));
    let is_wanted = |field_ref: &FieldRef| resource.is_none_or(|resource| field_ref.resource == *resource);
    let field_refs: BTreeSet<FieldRef> =
        changed.filter_map(|(key, _)| FieldRef::from_key(key)).filter(is_wanted).collect();
    let fields = with_visible_keys(shard, field_refs);
    let (before, after) = (from.read_fields(&fields), to.read_fields(&fields));
    let pairs = fields.iter().zip(before.zip(after));
    pairs
        .filter(|(_, ((old, _), (new, _)))| old != new)
        .map(|((field_ref, _), ((old, _), (new, op)))| {
            let writer = op.and_then(|op| shard.graph().entry_of_op(&op)).map(|entry| entry.id);
            field_diff(field_ref, old, new, writer)
        })
        .collect()
}

fn with_visible_keys(shard: &Shard, field_refs: BTreeSet<FieldRef>) -> Vec<(FieldRef, VisibleKeys<'_>)> {
    let pair_with_keys = |field_ref: FieldRef| {
        let keys = field_ref.keys(shard.state()).collect();
        (field_ref, keys)
    };
    field_refs.into_iter().map(pair_with_keys).collect()
}

fn field_diff(
    field_ref: &FieldRef,
    old: Option<Literal>,
    new: Option<Literal>,
    change: Option<ChangeId>,
) -> FieldDiff {
    let field = field_ref.display_path().to_owned();
    let op = FieldOp::from_value(&field, new.as_ref());
    FieldDiff { resource: field_ref.resource.clone(), field, op, old, new, change }
}
