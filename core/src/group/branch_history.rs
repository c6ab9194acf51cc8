//! The history of a change that depends on unaccepted changes, as the validator reads it.
//!
//! Some ancestors of the change are accepted, the others are unaccepted. The values that the author saw of a
//! key are those visible at the heads of the accepted ancestors, together with the puts of the unaccepted
//! ancestors, without the values that these replaced.

use std::collections::{BTreeMap, BTreeSet};

use super::unaccepted::{UnacceptedChange, UnacceptedSet};
use crate::delta::OpRef;
use crate::id::{ChainId, ChangeId};
use crate::limits;
use crate::shard::Shard;
use crate::shard::document::ShardFault;
use crate::shard::graph::VersionVector;
use crate::shard::validate::{History, HistoryEntry};

/// The ancestors of a set of changes, the set included.
struct Ancestors<'a> {
    unaccepted: BTreeMap<ChangeId, &'a UnacceptedChange>,
    accepted: VersionVector,
}

/// The ancestors of one change among the accepted and unaccepted changes of a shard.
pub(super) struct BranchHistory<'a> {
    unaccepted: &'a UnacceptedSet,
    shard: &'a Shard,
    ancestors: Ancestors<'a>,
}

impl<'a> BranchHistory<'a> {
    /// The history below a change with these dependencies, all of which are here. `None` if too many of its
    /// ancestors are unaccepted: then the change has to wait. The shard is flushed.
    pub(super) fn new(unaccepted: &'a UnacceptedSet, shard: &'a Shard, deps: &[ChangeId]) -> Option<Self> {
        let ancestors = ancestors_of(unaccepted, shard, deps.to_vec())?;
        Some(Self { unaccepted, shard, ancestors })
    }
}

/// `None` if more than [`limits::MAX_UNACCEPTED_ANCESTORS`] of the ancestors are unaccepted.
fn ancestors_of<'a>(
    unaccepted: &'a UnacceptedSet,
    shard: &Shard,
    mut queue: Vec<ChangeId>,
) -> Option<Ancestors<'a>> {
    let (mut unaccepted_ancestors, mut accepted_ids) = (BTreeMap::new(), BTreeSet::new());
    while let Some(id) = queue.pop() {
        match unaccepted.get(&id) {
            Some(change) if unaccepted_ancestors.insert(id, change).is_none() => {
                queue.extend(&change.delta().deps)
            }
            Some(_) => {}
            None => drop(accepted_ids.insert(id)),
        }
        if unaccepted_ancestors.len() > limits::MAX_UNACCEPTED_ANCESTORS {
            return None;
        }
    }
    let accepted = shard.graph().version_of(&accepted_ids);
    Some(Ancestors { unaccepted: unaccepted_ancestors, accepted })
}

impl History for BranchHistory<'_> {
    fn entry(&self, id: &ChangeId) -> Option<HistoryEntry> {
        let Some(change) = self.unaccepted.get(id) else { return self.shard.entry(id) };
        let delta = change.delta();
        Some(HistoryEntry {
            position: Some((change.chain_id, delta.seq)),
            max_op: delta.max_op(),
            depth: change.depth,
        })
    }

    fn has_both_branches(&self, _deps: &[ChangeId], position: (ChainId, u64)) -> bool {
        let (graph, accepted) = (self.shard.graph(), &self.ancestors.accepted);
        let is_free = |(chain_id, seq): &(ChainId, u64)| graph.seq_in_version(accepted, chain_id) < *seq;
        let mut used_positions = BTreeSet::from([position]);
        let unaccepted = self.ancestors.unaccepted.values();
        let mut positions = unaccepted.map(|change| (change.chain_id, change.delta().seq));
        !is_free(&position)
            || !positions.all(|position| is_free(&position) && used_positions.insert(position))
    }

    fn ancestor_test(&self, upper: &ChangeId) -> impl Fn(&ChangeId) -> bool {
        let graph = self.shard.graph();
        let deps = match (self.unaccepted.get(upper), graph.get(upper)) {
            (Some(change), _) => change.delta().deps.clone(),
            (None, Some(entry)) => graph.deps(entry).map(|dep| dep.id).collect(),
            (None, None) => Vec::new(),
        };
        let below = ancestors_of(self.unaccepted, self.shard, deps);
        move |lower| {
            // `upper` has no more ancestors than the change that depends on it, so there are never too many.
            let Some(below) = &below else { return true };
            below.unaccepted.contains_key(lower)
                || graph.get(lower).is_some_and(|entry| graph.version_contains(&below.accepted, entry))
        }
    }

    fn are_all_heads(&self, _ids: &[ChangeId]) -> bool {
        false
    }

    fn visible_ops(&mut self, _: &[ChangeId], keys: &[&str]) -> Result<Vec<Vec<OpRef>>, ShardFault> {
        let wanted: BTreeSet<&str> = keys.iter().copied().collect();
        let mut ops_by_key: BTreeMap<&str, BTreeSet<OpRef>> = BTreeMap::new();
        let mut replaced = BTreeSet::new();
        for change in self.ancestors.unaccepted.values() {
            for (op, put) in change.ops().filter(|(_, put)| wanted.contains(put.key.as_str())) {
                ops_by_key.entry(&put.key).or_default().insert(op);
                replaced.extend(put.preds.iter().copied());
            }
        }
        let heads = self.shard.graph().heads_of_version(&self.ancestors.accepted);
        let visible_ops_of = |key: &&str| {
            let mut ops = ops_by_key.get(key).cloned().unwrap_or_default();
            ops.extend(self.shard.visible_at(key, &heads)?.iter().map(|value| value.op));
            Ok(ops.into_iter().filter(|op| !replaced.contains(op)).collect())
        };
        keys.iter().map(visible_ops_of).collect()
    }
}
