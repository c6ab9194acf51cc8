//! Reverting: the puts that take back some changes, or that restore the state at an earlier point.
//!
//! The result is a new change. Nothing is deleted from the history, so a revert can be reverted too. Every
//! key is decided on its own. A field with a single value is one key, and each item of a list is one key, so
//! that later appends by others stay when an append is reverted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::past_state::PastState;
use crate::delta::OpRef;
use crate::id::ChangeId;
use crate::limits;
use crate::record::Membership;
use crate::resource::conflict::ConflictKind;
use crate::resource::conflict::conflicts_of;
use crate::resource::edit_transaction::preview_state;
use crate::resource::view::{NodeLabels, ResourceView};
use crate::resource::{FieldRef, ResourceName};
use crate::shard::Shard;
use crate::shard::graph::GraphEntry;
use crate::shard::state::VisibleValue;
use crate::value::Value;

/// The request for a revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevertRequest {
    /// Takes back the effects of some changes of `desired`.
    Revert {
        /// The changes to take back.
        changes: BTreeSet<ChangeId>,
        /// Further changes to ignore, because they cancel each other: changes and those that undid them.
        cancelled: BTreeSet<ChangeId>,
    },
    /// Restores the state of `desired` at the heads.
    Restore {
        /// The heads of the point to restore.
        heads: Vec<ChangeId>,
        /// The resources to restore. Aliases, labels and tags are never restored.
        scope: ResourceScope,
    },
}

/// A selection of a group's resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceScope {
    /// All resources.
    Everything,
    /// The resources of one kind.
    Kind(String),
    /// One resource.
    Resource(ResourceName),
}

impl fmt::Display for ResourceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => Ok(()),
            Self::Kind(kind) => f.write_str(kind),
            Self::Resource(resource) => resource.fmt(f),
        }
    }
}

impl ResourceScope {
    /// True if the resource is in the scope.
    pub fn contains(&self, resource: &ResourceName) -> bool {
        match self {
            Self::Everything => true,
            Self::Kind(kind) => resource.kind() == kind,
            Self::Resource(named) => resource == named,
        }
    }
}

/// The reason why a revert is rejected. Nothing is written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevertError {
    /// Later changes wrote these fields again, and the revert would undo them. Sorted.
    #[error("overwritten since: {}",
        join_limited(.0.iter().map(|(field, by)| format!("{field} by {}", by.short()))))]
    Overwritten(BTreeSet<(FieldRef, ChangeId)>),
    /// These fields are in conflict, which a revert must not decide. Sorted.
    #[error("in conflict: {}", join_limited(.0.iter().map(ToString::to_string)))]
    Conflicted(Vec<FieldRef>),
    /// The revert would change too many fields.
    #[error(
        "it would set {0} fields and list items, and one change sets at most {max}",
        max = limits::MAX_EDITS_PER_REQUEST
    )]
    TooManyFields(usize),
    /// The document cannot provide the earlier values.
    #[error("this node's document lacks change {}; run `larder doctor`", .0.short())]
    Unreadable(ChangeId),
}

/// The first items as text, and the number of the others.
fn join_limited(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(limits::MAX_PREFIX_CANDIDATES);
    let mut shown: Vec<String> = all.take(limits::MAX_PREFIX_CANDIDATES).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// The puts of a revert, only for keys whose value differs now. Empty if nothing differs. The documents must
/// be flushed, see [`crate::history`].
///
/// A resource that would have no field left is removed, so that nodes delete it and do not just leave it. If
/// a reverted change had resolved a conflict, the earlier winner is put. If a reverted change was the first
/// to set an alias or label, the value of the node's grant is put.
pub fn plan_revert(
    shard: &Shard,
    members: &Membership,
    request: &RevertRequest,
) -> Result<BTreeMap<String, Value>, RevertError> {
    let mut puts = match request {
        RevertRequest::Revert { changes, cancelled } => revert_puts(shard, members, changes, cancelled)?,
        RevertRequest::Restore { heads: at, scope } => restore_puts(shard, at, scope),
    };
    if puts.len() > limits::MAX_EDITS_PER_REQUEST {
        return Err(RevertError::TooManyFields(puts.len()));
    }
    check_not_conflicted(shard, &puts)?;
    remove_emptied_resources(shard, &mut puts);
    Ok(puts)
}

fn revert_puts(
    shard: &Shard,
    members: &Membership,
    changes: &BTreeSet<ChangeId>,
    cancelled: &BTreeSet<ChangeId>,
) -> Result<BTreeMap<String, Value>, RevertError> {
    let mut writers_by_key: BTreeMap<String, Vec<ChangeId>> = BTreeMap::new();
    for id in changes {
        let delta = shard.read_delta(id).ok_or(RevertError::Unreadable(*id))?;
        delta.puts.into_iter().for_each(|put| writers_by_key.entry(put.key).or_default().push(*id));
    }
    let reverted: BTreeSet<ChangeId> = changes.union(cancelled).copied().collect();
    let mut puts = BTreeMap::new();
    let mut overwritten = BTreeSet::new();
    for (key, writers) in writers_by_key {
        let current = shard.state().get(&key);
        let others: Vec<(ChangeId, &Value)> = current
            .iter()
            .filter_map(|visible| Some((shard.graph().entry_of_op(&visible.op)?.id, &visible.value)))
            .filter(|(by, _)| !reverted.contains(by))
            .collect();
        let (op, value) = match others.last() {
            // A concurrent value by another change stays.
            Some((_, value)) if others.len() < current.len() => (None, (*value).clone()),
            _ => match value_without(shard, &key, writers, &reverted)? {
                Some((op, value)) => (Some(op), value),
                None => (None, NodeLabels::granted_value(members, &key).unwrap_or(Value::Null)),
            },
        };
        // If the reverted change accepted the value of a removed author, the value is in conflict again.
        let ends_acceptance = others.is_empty() && op.is_some_and(|op| shard.state().is_dependency_only(&op));
        match others.last() {
            _ if has_only_value(current, &value) && !ends_acceptance => {}
            Some((by, _)) if others.len() == current.len() => {
                overwritten.extend(FieldRef::from_key(&key).map(|field| (field, *by)))
            }
            _ => drop(puts.insert(key, value)),
        }
    }
    if overwritten.is_empty() { Ok(puts) } else { Err(RevertError::Overwritten(overwritten)) }
}

/// The value of a key without the `reverted` changes, of which `writers` put it: of the values that they
/// replaced, the newest winner. `None` if no other change put the key.
fn value_without(
    shard: &Shard,
    key: &str,
    writers: Vec<ChangeId>,
    reverted: &BTreeSet<ChangeId>,
) -> Result<Option<(OpRef, Value)>, RevertError> {
    let graph = shard.graph();
    let (mut pending, mut seen) = (writers, BTreeSet::new());
    let mut replaced: BTreeMap<OpRef, (&GraphEntry, Value)> = BTreeMap::new();
    while let Some(id) = pending.pop() {
        if !seen.insert(id) {
            continue;
        }
        let writer = graph.get(&id).ok_or(RevertError::Unreadable(id))?;
        let deps: Vec<ChangeId> = graph.deps(writer).map(|dep| dep.id).collect();
        for visible in shard.visible_at(key, &deps).map_err(|_| RevertError::Unreadable(id))? {
            let entry = graph.entry_of_op(&visible.op).ok_or(RevertError::Unreadable(id))?;
            if reverted.contains(&entry.id) {
                pending.push(entry.id);
            } else {
                replaced.insert(visible.op, (entry, visible.value));
            }
        }
    }
    // A put replaces all values that are visible to it.
    let is_newest =
        |candidate: &GraphEntry| !replaced.values().any(|(other, _)| graph.is_ancestor(candidate, other));
    let newest = replaced.iter().rfind(|(_, (entry, _))| is_newest(entry));
    Ok(newest.map(|(op, (_, value))| (*op, value.clone())))
}

/// True if the key has this value and no other.
fn has_only_value(current: &[VisibleValue], value: &Value) -> bool {
    if current.is_empty() { value.is_null() } else { current.iter().all(|visible| visible.value == *value) }
}

fn restore_puts(shard: &Shard, heads: &[ChangeId], scope: &ResourceScope) -> BTreeMap<String, Value> {
    let past = PastState::at(shard, heads);
    let prefix = match scope {
        ResourceScope::Everything => String::new(),
        ResourceScope::Kind(kind) => format!("{kind}/"),
        ResourceScope::Resource(resource) => resource.key_prefix(),
    };
    let is_in_scope = |resource: &ResourceName| resource.is_managed() && scope.contains(resource);
    let is_key_in_scope =
        |key: &str| ResourceName::split_key(key).is_some_and(|(resource, _)| is_in_scope(&resource));
    let keys: Vec<(&str, &[VisibleValue])> = shard
        .state()
        .range_with_prefix(&prefix)
        .filter(|(key, current)| is_key_in_scope(key) && !past.is_unchanged(current))
        .collect();
    let past_values = past.read_keys(keys.iter().copied());
    let value = |key: &str| past_values.get(key).last().map_or(Value::Null, |visible| visible.value.clone());
    let puts = keys.into_iter().map(|(key, current)| (key, current, value(key)));
    puts.filter(|(_, current, value)| !has_only_value(current, value))
        .map(|(key, _, value)| (key.to_owned(), value))
        .collect()
}

/// The resources that the puts write.
fn touched_resources(puts: &BTreeMap<String, Value>) -> BTreeSet<ResourceName> {
    puts.keys().filter_map(|key| ResourceName::split_key(key)).map(|(resource, _)| resource).collect()
}

fn check_not_conflicted(shard: &Shard, puts: &BTreeMap<String, Value>) -> Result<(), RevertError> {
    let fields: BTreeSet<FieldRef> = puts.keys().filter_map(|key| FieldRef::from_key(key)).collect();
    let mut conflicted = Vec::new();
    for resource in touched_resources(puts) {
        let Some(view) = ResourceView::read(shard.state(), &resource) else { continue };
        for conflict in conflicts_of(shard, &view) {
            let field = FieldRef { resource: resource.clone(), path: conflict.field };
            if conflict.kind == ConflictKind::EditRemove || fields.contains(&field) {
                conflicted.push(field);
            }
        }
    }
    if conflicted.is_empty() { Ok(()) } else { Err(RevertError::Conflicted(conflicted)) }
}

/// Replaces the puts of each resource that would have no field left by its removal. Nodes need the fields to
/// undo what they applied.
fn remove_emptied_resources(shard: &Shard, puts: &mut BTreeMap<String, Value>) {
    let is_empty = |view: Option<ResourceView<'_>>| view.is_none_or(|view| view.set_values().is_empty());
    let after = preview_state(shard.state(), puts);
    for resource in touched_resources(puts).iter().filter(|resource| resource.is_managed()) {
        let current = ResourceView::read(shard.state(), resource);
        let is_removed = current.as_ref().is_some_and(ResourceView::is_removed);
        if is_empty(current) || !is_empty(ResourceView::read(&after, resource)) {
            continue;
        }
        let prefix = resource.key_prefix();
        puts.retain(|key, _| !key.starts_with(&prefix));
        if !is_removed {
            puts.insert(resource.field_key("ensure"), Value::from("absent"));
        }
    }
}

/// True if any resource of the scope was ever written.
pub fn scope_has_resources(shard: &Shard, scope: &ResourceScope) -> bool {
    let mut keys = shard.state().iter().filter_map(|(key, _)| ResourceName::split_key(key));
    *scope == ResourceScope::Everything || keys.any(|(resource, _)| scope.contains(&resource))
}
