//! Concurrent edits of one resource that are not in conflict.
//!
//! Their authors did not know of each other's change. Each node applies the result, but no author has seen it
//! as a whole; `conflicts --review` lists such resources so that an operator can check them.

use std::collections::{BTreeMap, BTreeSet};

use super::conflict::conflicts_of;
use super::name::ResourceName;
use super::view::{ResourceView, resources};
use crate::id::{ChangeId, Digest, hash16};
use crate::shard::Shard;

/// The newest concurrent changes of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrentEdits {
    /// The hash of the changes' ids.
    pub id: Digest,
    /// The resource that the changes wrote.
    pub resource: ResourceName,
    /// For each change, by id, the fields that it wrote and that no later change overwrote.
    pub changes: BTreeMap<ChangeId, BTreeSet<String>>,
}

/// All resources with concurrent edits and without a conflict, in order of name. The next change of the
/// resource ends the state, because its author saw all of them.
pub fn find_concurrent_edits(shard: &Shard) -> Vec<ConcurrentEdits> {
    let all = resources(shard.state());
    all.iter()
        .filter(|view| view.name.is_managed())
        .filter_map(|view| concurrent_edits_of(shard, view))
        .collect()
}

fn concurrent_edits_of(shard: &Shard, view: &ResourceView<'_>) -> Option<ConcurrentEdits> {
    let graph = shard.graph();
    let mut changes: BTreeMap<ChangeId, BTreeSet<String>> = BTreeMap::new();
    for (path, field) in &view.fields {
        for op in field.ops() {
            changes.entry(graph.entry_of_op(&op)?.id).or_default().insert((*path).to_owned());
        }
    }
    if changes.len() < 2 {
        return None;
    }
    let ancestors = graph.version_below(changes.keys());
    let is_newest =
        |id: &ChangeId| graph.get(id).is_some_and(|entry| !graph.version_contains(&ancestors, entry));
    changes.retain(|id, _| is_newest(id));
    if changes.len() < 2 || !conflicts_of(shard, view).is_empty() {
        return None;
    }
    let ids: Vec<&[u8]> = changes.keys().map(|id| id.0.as_slice()).collect();
    let id = Digest(hash16("larder 1 review", &ids));
    Some(ConcurrentEdits { id, resource: view.name.clone(), changes })
}
