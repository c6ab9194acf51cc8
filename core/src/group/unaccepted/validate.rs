//! The gate for what builds on changes that are aside: the same rule as in [`crate::shard::validate`], read from both.
//!
//! Of the ancestors of a change, *A* are accepted and *N* are aside. What its author saw of a key is what is visible at
//! the heads of *A*, with the puts of *N*, without what these replaced.

use std::collections::{BTreeMap, BTreeSet};

use super::{UnacceptedChange, UnacceptedSet, ops_of};
use crate::delta::{Delta, OpRef};
use crate::id::{ChainId, ChangeId};
use crate::limits;
use crate::shard::Shard;
use crate::shard::graph::VersionVector;
use crate::shard::validate::{ChangeFault, ValidationError};

/// The ancestors of something.
#[derive(Default)]
struct Ancestors<'a> {
    /// Those that are aside.
    unaccepted: BTreeMap<ChangeId, &'a UnacceptedChange>,
    /// Those that are accepted.
    accepted: VersionVector,
}

/// What the rule says of a valid change: how deep it stands; `None` if it has to wait, since it builds on too much that
/// is aside.
pub(in super::super) fn validate(
    unaccepted: &UnacceptedSet,
    shard: &mut Shard,
    delta: &Delta,
) -> Result<Option<u32>, ValidationError> {
    shard.flush();
    let shard = &*shard;
    let Some(ancestors) = ancestors_of(unaccepted, shard, delta.deps.iter().copied()) else {
        return Ok(None);
    };
    check_chain(unaccepted, shard, delta, &ancestors)?;
    if !is_antichain(unaccepted, shard, delta) {
        return Err(ChangeFault::Deps.into());
    }
    let graph = shard.graph();
    let dep_op_and_depth = |dep: &ChangeId| match unaccepted.get(dep) {
        Some(change) => Some((change.delta().max_op(), change.depth)),
        None => graph.get(dep).map(|entry| (entry.max_op, entry.depth)),
    };
    let op_and_depths: Vec<(u64, u32)> = delta.deps.iter().filter_map(dep_op_and_depth).collect();
    if op_and_depths.iter().map(|(op, _)| *op).max().map(|op| op + 1) != Some(delta.start_op) {
        return Err(ChangeFault::StartOp.into());
    }
    check_preds(shard, delta, &ancestors)?;
    Ok(Some(op_and_depths.iter().map(|(_, depth)| *depth).max().unwrap_or(0).saturating_add(1)))
}

/// `None` if too much of it is aside.
fn ancestors_of<'a>(
    unaccepted: &'a UnacceptedSet,
    shard: &Shard,
    ids: impl Iterator<Item = ChangeId>,
) -> Option<Ancestors<'a>> {
    let mut ancestors = Ancestors::default();
    let (mut queue, mut accepted_ids): (Vec<ChangeId>, BTreeSet<ChangeId>) = (ids.collect(), BTreeSet::new());
    while let Some(id) = queue.pop() {
        match unaccepted.get(&id) {
            Some(change) if ancestors.unaccepted.insert(id, change).is_none() => {
                queue.extend(&change.delta().deps)
            }
            Some(_) => {}
            None => drop(accepted_ids.insert(id)),
        }
        if ancestors.unaccepted.len() > limits::MAX_UNACCEPTED_ANCESTORS {
            return None;
        }
    }
    ancestors.accepted = shard.graph().version_of(&accepted_ids);
    Some(ancestors)
}

/// It follows its author's previous change, and builds on no two changes in one place.
fn check_chain(
    unaccepted: &UnacceptedSet,
    shard: &Shard,
    delta: &Delta,
    ancestors: &Ancestors<'_>,
) -> Result<(), ChangeFault> {
    let chain_id = delta.chain_id(shard.root().group());
    let is_previous =
        |dep: &ChangeId| chain_position(unaccepted, shard, dep) == Some((chain_id, delta.seq - 1));
    if delta.seq > 1 && !delta.deps.iter().any(is_previous) {
        return Err(ChangeFault::Seq);
    }
    let mut used_positions = BTreeSet::from([(chain_id, delta.seq)]);
    let is_free = |position: &(ChainId, u64)| {
        shard.graph().seq_in_version(&ancestors.accepted, &position.0) < position.1
    };
    let mut positions = ancestors.unaccepted.values().map(|change| (change.chain_id, change.delta().seq));
    if !is_free(&(chain_id, delta.seq))
        || !positions.all(|position| is_free(&position) && used_positions.insert(position))
    {
        return Err(ChangeFault::BothBranches);
    }
    Ok(())
}

fn chain_position(unaccepted: &UnacceptedSet, shard: &Shard, id: &ChangeId) -> Option<(ChainId, u64)> {
    if let Some(change) = unaccepted.get(id) {
        return Some((change.chain_id, change.delta().seq));
    }
    let entry = shard.graph().get(id)?;
    Some((shard.graph().chain_of(entry)?.id, entry.seq))
}

/// But for the author's previous change, no dependency is an ancestor of another.
fn is_antichain(unaccepted: &UnacceptedSet, shard: &Shard, delta: &Delta) -> bool {
    let chain_id = delta.chain_id(shard.root().group());
    let is_previous = |dep: &ChangeId| {
        chain_position(unaccepted, shard, dep) == Some((chain_id, delta.seq.saturating_sub(1)))
    };
    let others: Vec<&ChangeId> = delta.deps.iter().filter(|dep| !is_previous(dep)).collect();
    delta.deps.iter().all(|upper| {
        let upper_deps: Vec<ChangeId> = match (unaccepted.get(upper), shard.graph().get(upper)) {
            (Some(change), _) => change.delta().deps.clone(),
            (None, Some(entry)) => shard.graph().deps(entry).map(|dep| dep.id).collect(),
            (None, None) => Vec::new(),
        };
        let Some(ancestors) = ancestors_of(unaccepted, shard, upper_deps.into_iter()) else { return false };
        let is_below = |lower: &&ChangeId| {
            let accepted_entry = shard.graph().get(lower);
            let is_root = **lower == shard.root().id();
            ancestors.unaccepted.contains_key(lower)
                || is_root
                || accepted_entry
                    .is_some_and(|entry| shard.graph().version_contains(&ancestors.accepted, entry))
        };
        !others.iter().filter(|lower| **lower != upper).any(is_below)
    })
}

/// It replaces exactly what its author saw.
fn check_preds(shard: &Shard, delta: &Delta, ancestors: &Ancestors<'_>) -> Result<(), ValidationError> {
    let heads = shard.graph().heads_of_version(&ancestors.accepted);
    let keys: BTreeSet<&str> = delta.puts.iter().map(|visible_puts| visible_puts.key.as_str()).collect();
    let (mut ops_by_key, mut replaced) = (BTreeMap::<&str, BTreeSet<OpRef>>::new(), BTreeSet::new());
    for change in ancestors.unaccepted.values() {
        for (op, put) in ops_of(&change.encoded, change.chain_id) {
            if keys.contains(put.key.as_str()) {
                ops_by_key.entry(&put.key).or_default().insert(op);
                replaced.extend(put.preds.iter().copied());
            }
        }
    }
    for put in &delta.puts {
        let mut visible = ops_by_key.remove(put.key.as_str()).unwrap_or_default();
        visible.extend(shard.visible_at(&put.key, &heads)?.iter().map(|value| value.op));
        if !visible.iter().filter(|op| !replaced.contains(op)).eq(&put.preds) {
            return Err(ChangeFault::Preds.into());
        }
    }
    Ok(())
}
