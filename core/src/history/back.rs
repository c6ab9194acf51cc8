//! Putting back: what leads from the present to how it was before some changes, or to how it was at a point of the past.
//!
//! The answer is puts for a new change. Nothing is taken out of history, so whoever disagrees can put that back too.
//!
//! Everything is judged key by key. A field that is one value is one key, and so is each item of a list: what others
//! appended since stays when an append is reverted.

use std::collections::{BTreeMap, BTreeSet};

use super::past::Past;
use super::spot::Spot;
use crate::delta::OpRef;
use crate::id::ChangeId;
use crate::limits;
use crate::record::Members;
use crate::resource::conflict::conflicts_of;
use crate::resource::draft::preview;
use crate::resource::view::{NodeLabels, ResourceView};
use crate::resource::{ResourceName, conflict::ConflictKind};
use crate::shard::Shard;
use crate::shard::graph::Entry;
use crate::shard::state::Visible;
use crate::value::Value;

/// What is to be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// What some changes of `desired` did.
    Revert {
        /// The changes, as if none of them had been made.
        changes: BTreeSet<ChangeId>,
        /// Others that are taken for not made, because they cancel each other: one change and what undid it.
        cancelled: BTreeSet<ChangeId>,
    },
    /// What `desired` said at these heads.
    Restore {
        /// The heads.
        at: Vec<ChangeId>,
        /// Of which resources. The group's own bookkeeping stays as it is.
        scope: Scope,
    },
}

/// Some of a group's resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    Everything,
    /// Those of one kind.
    Kind(String),
    /// One.
    Resource(ResourceName),
}

impl Scope {
    /// True of a resource that is meant.
    pub fn covers(&self, resource: &ResourceName) -> bool {
        match self {
            Self::Everything => true,
            Self::Kind(kind) => resource.kind() == kind,
            Self::Resource(one) => resource == one,
        }
    }
}

/// A field that somebody wrote again after what is to be put back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overwritten {
    /// The resource.
    pub resource: ResourceName,
    /// The field's path.
    pub field: String,
    /// The change that wrote it.
    pub by: ChangeId,
}

/// Why something cannot be put back. Nothing is written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackError {
    /// Nobody's fault: to put these fields back would undo later work. In order.
    #[error("written again since: {}", listed(.0.iter().map(|one| format!("{} {} by {}", one.resource, one.field, one.by.short()))))]
    Overwritten(Vec<Overwritten>),
    /// Nobody's fault: people want different things here, and that is to be settled and not passed over. In order.
    #[error("in conflict: {}", listed(.0.iter().map(|(resource, field)| format!("{resource} {field}"))))]
    Conflicted(Vec<(ResourceName, String)>),
    /// The caller's fault: too much at once.
    #[error("more than {max} fields at once", max = limits::EDITS)]
    TooMany,
    /// A defect: the document cannot say what was before.
    #[error("change {} cannot be read from this node's document; `larder doctor` says more", .0.short())]
    Unreadable(ChangeId),
}

/// The first of some things, and how many more there are.
fn listed(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(limits::CANDIDATES);
    let mut shown: Vec<String> = all.take(limits::CANDIDATES).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// The puts that put something back, only of keys whose value differs now; empty if all is so already. The document is to
/// be up to date, see [`crate::history`].
///
/// A resource that would be left without any field is removed instead: machines are told so, and not just left alone.
/// Where a reverted change had settled a conflict, the value that had won before is put. Where it was the first to say what
/// a node is called, what the node's grant says.
pub fn put_back(shard: &Shard, members: &Members, back: &Back) -> Result<BTreeMap<String, Value>, BackError> {
    let mut puts = match back {
        Back::Revert { changes, cancelled } => revert(shard, members, changes, cancelled)?,
        Back::Restore { at, scope } => restore(shard, at, scope),
    };
    if puts.len() > limits::EDITS {
        return Err(BackError::TooMany);
    }
    check_settled(shard, &puts)?;
    remove_emptied(shard, &mut puts);
    Ok(puts)
}

fn revert(
    shard: &Shard,
    members: &Members,
    changes: &BTreeSet<ChangeId>,
    cancelled: &BTreeSet<ChangeId>,
) -> Result<BTreeMap<String, Value>, BackError> {
    let mut written: BTreeMap<String, Vec<ChangeId>> = BTreeMap::new();
    for id in changes {
        let delta = shard.delta(id).ok_or(BackError::Unreadable(*id))?;
        delta.puts.into_iter().for_each(|put| written.entry(put.key).or_default().push(*id));
    }
    let gone: BTreeSet<ChangeId> = changes.union(cancelled).copied().collect();
    let mut puts = BTreeMap::new();
    let mut overwritten = BTreeSet::new();
    for (key, writers) in written {
        let now = shard.state().get(&key);
        let others: Vec<(ChangeId, &Value)> = now
            .iter()
            .filter_map(|visible| Some((shard.graph().writer(&visible.op)?.id, &visible.value)))
            .filter(|(by, _)| !gone.contains(by))
            .collect();
        let value = match others.last() {
            // What others say beside it stays.
            Some((_, value)) if others.len() < now.len() => (*value).clone(),
            _ => without(shard, &key, writers, &gone)?
                .or_else(|| NodeLabels::granted_at(members, &key))
                .unwrap_or(Value::Null),
        };
        match others.last() {
            _ if is_said(now, &value) => {}
            Some((by, _)) if others.len() == now.len() => overwritten.extend(name_of(&key, *by)),
            _ => drop(puts.insert(key, value)),
        }
    }
    if overwritten.is_empty() {
        Ok(puts)
    } else {
        Err(BackError::Overwritten(overwritten.into_iter().collect()))
    }
}

/// What a key would say if the changes in `gone`, of which `writers` put it, had not been made: of what they replaced,
/// that which nobody else replaced; of several such values, the winner. `None` if nobody else had put it.
fn without(
    shard: &Shard,
    key: &str,
    writers: Vec<ChangeId>,
    gone: &BTreeSet<ChangeId>,
) -> Result<Option<Value>, BackError> {
    let graph = shard.graph();
    let (mut open, mut seen) = (writers, BTreeSet::new());
    let mut replaced: BTreeMap<OpRef, (&Entry, Value)> = BTreeMap::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let writer = graph.get(&id).ok_or(BackError::Unreadable(id))?;
        let deps: Vec<ChangeId> = graph.deps(writer).map(|dep| dep.id).collect();
        for visible in shard.visible_at(key, &deps).map_err(|_| BackError::Unreadable(id))? {
            let entry = graph.writer(&visible.op).ok_or(BackError::Unreadable(id))?;
            if gone.contains(&entry.id) {
                open.push(entry.id);
            } else {
                replaced.insert(visible.op, (entry, visible.value));
            }
        }
    }
    // Who wrote the key replaced all that was visible to it.
    let is_newest = |one: &Entry| !replaced.values().any(|(other, _)| graph.is_ancestor(one, other));
    let newest = replaced.values().rfind(|(entry, _)| is_newest(entry));
    Ok(newest.map(|(_, value)| value.clone()))
}

/// True if a key says just that, and nothing else.
fn is_said(now: &[Visible], value: &Value) -> bool {
    if now.is_empty() { value.is_null() } else { now.iter().all(|visible| visible.value == *value) }
}

fn name_of(key: &str, by: ChangeId) -> Option<Overwritten> {
    let spot = Spot::of_key(key)?;
    let field = spot.field();
    Some(Overwritten { resource: spot.resource, field, by })
}

fn restore(shard: &Shard, at: &[ChangeId], scope: &Scope) -> BTreeMap<String, Value> {
    let past = Past::at(shard, at);
    let prefix = match scope {
        Scope::Everything => String::new(),
        Scope::Kind(kind) => format!("{kind}/"),
        Scope::Resource(resource) => resource.prefix(),
    };
    let covers = |resource: &ResourceName| resource.is_managed() && scope.covers(resource);
    let meant = |key: &str| ResourceName::of_key(key).is_some_and(|(resource, _)| covers(&resource));
    let keys: Vec<(&str, &[Visible])> = shard
        .state()
        .range_with_prefix(&prefix)
        .filter(|(key, now)| meant(key) && !past.is_same(now))
        .collect();
    let then = past.gather(keys.iter().copied());
    let value = |key: &str| then.get(key).last().map_or(Value::Null, |visible| visible.value.clone());
    let puts = keys.into_iter().map(|(key, now)| (key, now, value(key)));
    puts.filter(|(_, now, value)| !is_said(now, value))
        .map(|(key, _, value)| (key.to_owned(), value))
        .collect()
}

/// The resources that these puts touch.
fn touched(puts: &BTreeMap<String, Value>) -> BTreeSet<ResourceName> {
    puts.keys().filter_map(|key| ResourceName::of_key(key)).map(|(resource, _)| resource).collect()
}

fn check_settled(shard: &Shard, puts: &BTreeMap<String, Value>) -> Result<(), BackError> {
    let fields: BTreeSet<(ResourceName, String)> = puts
        .keys()
        .filter_map(|key| Spot::of_key(key))
        .map(|spot| (spot.resource.clone(), spot.field()))
        .collect();
    let mut unsettled = Vec::new();
    for resource in touched(puts) {
        let Some(view) = ResourceView::read(shard.state(), &resource) else { continue };
        for conflict in conflicts_of(shard, &view) {
            let hit = conflict.kind == ConflictKind::EditRemove
                || fields.contains(&(resource.clone(), conflict.field.clone()));
            if hit {
                unsettled.push((resource.clone(), conflict.field));
            }
        }
    }
    if unsettled.is_empty() { Ok(()) } else { Err(BackError::Conflicted(unsettled)) }
}

/// Removes resources of which nothing would be left, and leaves their fields as they are: what a machine has to undo is
/// known from them.
fn remove_emptied(shard: &Shard, puts: &mut BTreeMap<String, Value>) {
    let is_empty = |view: Option<ResourceView<'_>>| view.is_none_or(|view| view.values().is_empty());
    let after = preview(shard.state(), puts);
    for resource in touched(puts).iter().filter(|resource| resource.is_managed()) {
        let now = ResourceView::read(shard.state(), resource);
        let is_removed = now.as_ref().is_some_and(ResourceView::is_removed);
        if is_empty(now) || !is_empty(ResourceView::read(&after, resource)) {
            continue;
        }
        let prefix = resource.prefix();
        puts.retain(|key, _| !key.starts_with(&prefix));
        if !is_removed {
            puts.insert(resource.key("ensure"), Value::from("absent"));
        }
    }
}

/// True if a resource that is meant was ever written.
pub fn is_known(shard: &Shard, scope: &Scope) -> bool {
    let mut keys = shard.state().iter().filter_map(|(key, _)| ResourceName::of_key(key));
    *scope == Scope::Everything || keys.any(|(resource, _)| scope.covers(&resource))
}
