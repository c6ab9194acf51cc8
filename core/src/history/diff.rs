//! What differs, with old and new values: over one change, or between two points of a shard.

use std::collections::BTreeSet;

use super::past::{Keys, Past};
use super::spot::Spot;
use super::touch::Op;
use crate::group::Group;
use crate::id::{ChangeId, EpochId};
use crate::resource::ResourceName;
use crate::resource::literal::Literal;
use crate::shard::Shard;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The resource.
    pub resource: ResourceName,
    /// The field's path; `state` of what a machine observed.
    pub field: String,
    /// What leads from the old value to the new one.
    pub op: Op,
    /// The old value; `None` where it was unset. Of several, the winner.
    pub old: Option<Literal>,
    /// The new value, likewise.
    pub new: Option<Literal>,
    /// The change that wrote the new value, or took it away. `None` if nobody had written the field by then.
    pub change: Option<ChangeId>,
}

/// What one change did, against the state that its author saw: every field it wrote, in order of resource and field.
/// A field may keep its value: writing the winner again is how a conflict is settled. Empty of a change that is not here
/// or cannot be read, and of a mere merge.
pub fn show(group: &Group, epoch: &EpochId, change: &ChangeId) -> Vec<Edit> {
    let Some(shard) = group.shard_of(epoch) else { return Vec::new() };
    let Some((entry, delta)) = shard.graph().get(change).zip(shard.delta(change)) else {
        return Vec::new();
    };
    let deps: Vec<ChangeId> = shard.graph().deps(entry).map(|dep| dep.id).collect();
    let (before, after) = (Past::at(shard, &deps), Past::at(shard, &[*change]));
    let spots: BTreeSet<Spot> = delta.puts.iter().filter_map(|put| Spot::of_key(&put.key)).collect();
    let fields = with_keys(shard, spots);
    let (before, after) = (before.read_all(&fields), after.read_all(&fields));
    let of_each = fields.iter().zip(before.zip(after));
    of_each.map(|((spot, _), ((old, _), (new, _)))| edit(spot, old, new, Some(*change))).collect()
}

/// What leads from one point of a shard to another, in order of resource and field; of one resource, if it is named.
/// A field whose winner is the same at both is left out, even if one of them has a conflict there.
///
/// Fields that have not changed since either point cost under a microsecond a key, all others about twenty.
pub fn diff(shard: &Shard, from: &[ChangeId], to: &[ChangeId], resource: Option<&ResourceName>) -> Vec<Edit> {
    let (from, to) = (Past::at(shard, from), Past::at(shard, to));
    let prefix = resource.map(ToString::to_string).unwrap_or_default();
    let keys = shard.state().range_with_prefix(&prefix);
    let changed = keys.filter(|(_, now)| !(from.is_same(now) && to.is_same(now)));
    let is_wanted = |spot: &Spot| resource.is_none_or(|resource| spot.resource == *resource);
    let spots: BTreeSet<Spot> = changed.filter_map(|(key, _)| Spot::of_key(key)).filter(is_wanted).collect();
    let fields = with_keys(shard, spots);
    let (before, after) = (from.read_all(&fields), to.read_all(&fields));
    let of_each = fields.iter().zip(before.zip(after));
    of_each
        .filter(|(_, ((old, _), (new, _)))| old != new)
        .map(|((spot, _), ((old, _), (new, op)))| {
            let writer = op.and_then(|op| shard.graph().writer(&op)).map(|entry| entry.id);
            edit(spot, old, new, writer)
        })
        .collect()
}

fn with_keys(shard: &Shard, spots: BTreeSet<Spot>) -> Vec<(Spot, Keys<'_>)> {
    let with_keys = |spot: Spot| {
        let keys = spot.keys(shard.state()).collect();
        (spot, keys)
    };
    spots.into_iter().map(with_keys).collect()
}

fn edit(spot: &Spot, old: Option<Literal>, new: Option<Literal>, change: Option<ChangeId>) -> Edit {
    let field = spot.field();
    let op = Op::of(&field, new.as_ref());
    Edit { resource: spot.resource.clone(), field, op, old, new, change }
}
