//! The gate for what builds on changes that are aside: the same rule as in [`crate::shard::gate`], read from both.
//!
//! Of the ancestors of a change, *A* are accepted and *N* are aside. What its author saw of a key is what is visible at
//! the heads of *A*, with the puts of *N*, without what these replaced.

use std::collections::{BTreeMap, BTreeSet};

use super::{Aside, Beside, ops};
use crate::delta::{Delta, OpRef};
use crate::id::{Actor, ChangeId};
use crate::limits;
use crate::shard::Shard;
use crate::shard::gate::{Against, Fault};
use crate::shard::graph::Clock;

/// The ancestors of something.
#[derive(Default)]
struct Past<'a> {
    /// Those that are aside.
    aside: BTreeMap<ChangeId, &'a Beside>,
    /// Those that are accepted.
    accepted: Clock,
}

/// What the rule says of a valid change: how deep it stands; `None` if it has to wait, since it builds on too much that
/// is aside.
pub(in super::super) fn check(
    aside: &Aside,
    shard: &mut Shard,
    delta: &Delta,
) -> Result<Option<u32>, Against> {
    shard.flush();
    let shard = &*shard;
    let Some(past) = past(aside, shard, delta.deps.iter().copied()) else { return Ok(None) };
    check_chain(aside, shard, delta, &past)?;
    if !is_antichain(aside, shard, delta) {
        return Err(Fault::Deps.into());
    }
    let graph = shard.graph();
    let below = |dep: &ChangeId| match aside.get(dep) {
        Some(beside) => Some((beside.delta().max_op(), beside.depth)),
        None => graph.get(dep).map(|entry| (entry.max_op, entry.depth)),
    };
    let below: Vec<(u64, u32)> = delta.deps.iter().filter_map(below).collect();
    if below.iter().map(|(op, _)| *op).max().map(|op| op + 1) != Some(delta.start_op) {
        return Err(Fault::StartOp.into());
    }
    check_preds(shard, delta, &past)?;
    Ok(Some(below.iter().map(|(_, depth)| *depth).max().unwrap_or(0).saturating_add(1)))
}

/// `None` if too much of it is aside.
fn past<'a>(aside: &'a Aside, shard: &Shard, of: impl Iterator<Item = ChangeId>) -> Option<Past<'a>> {
    let mut past = Past::default();
    let (mut todo, mut accepted): (Vec<ChangeId>, BTreeSet<ChangeId>) = (of.collect(), BTreeSet::new());
    while let Some(id) = todo.pop() {
        match aside.get(&id) {
            Some(beside) if past.aside.insert(id, beside).is_none() => todo.extend(&beside.delta().deps),
            Some(_) => {}
            None => drop(accepted.insert(id)),
        }
        if past.aside.len() > limits::ASIDE_DEPTH {
            return None;
        }
    }
    past.accepted = shard.graph().clock(&accepted);
    Some(past)
}

/// It follows its author's previous change, and builds on no two changes in one place.
fn check_chain(aside: &Aside, shard: &Shard, delta: &Delta, past: &Past<'_>) -> Result<(), Fault> {
    let actor = delta.actor(shard.root().group());
    let follows = |dep: &ChangeId| place(aside, shard, dep) == Some((actor, delta.seq - 1));
    if delta.seq > 1 && !delta.deps.iter().any(follows) {
        return Err(Fault::Seq);
    }
    let mut taken = BTreeSet::from([(actor, delta.seq)]);
    let free = |place: &(Actor, u64)| shard.graph().reach(&past.accepted, &place.0) < place.1;
    let mut places = past.aside.values().map(|beside| (beside.actor, beside.delta().seq));
    if !free(&(actor, delta.seq)) || !places.all(|place| free(&place) && taken.insert(place)) {
        return Err(Fault::BothBranches);
    }
    Ok(())
}

fn place(aside: &Aside, shard: &Shard, id: &ChangeId) -> Option<(Actor, u64)> {
    if let Some(beside) = aside.get(id) {
        return Some((beside.actor, beside.delta().seq));
    }
    let entry = shard.graph().get(id)?;
    Some((shard.graph().chain_of(entry)?.actor, entry.seq))
}

/// But for the author's previous change, no dependency is an ancestor of another.
fn is_antichain(aside: &Aside, shard: &Shard, delta: &Delta) -> bool {
    let actor = delta.actor(shard.root().group());
    let is_previous = |dep: &ChangeId| place(aside, shard, dep) == Some((actor, delta.seq.saturating_sub(1)));
    let others: Vec<&ChangeId> = delta.deps.iter().filter(|dep| !is_previous(dep)).collect();
    delta.deps.iter().all(|upper| {
        let below: Vec<ChangeId> = match (aside.get(upper), shard.graph().get(upper)) {
            (Some(beside), _) => beside.delta().deps.clone(),
            (None, Some(entry)) => shard.graph().deps(entry).map(|dep| dep.id).collect(),
            (None, None) => Vec::new(),
        };
        let Some(past) = past(aside, shard, below.into_iter()) else { return false };
        let is_below = |lower: &&ChangeId| {
            let accepted = shard.graph().get(lower);
            let is_root = **lower == shard.root().id();
            past.aside.contains_key(lower)
                || is_root
                || accepted.is_some_and(|entry| shard.graph().covers(&past.accepted, entry))
        };
        !others.iter().filter(|lower| **lower != upper).any(is_below)
    })
}

/// It replaces exactly what its author saw.
fn check_preds(shard: &Shard, delta: &Delta, past: &Past<'_>) -> Result<(), Against> {
    let heads = shard.graph().heads_of(&past.accepted);
    let keys: BTreeSet<&str> = delta.puts.iter().map(|put| put.key.as_str()).collect();
    let (mut put, mut replaced) = (BTreeMap::<&str, BTreeSet<OpRef>>::new(), BTreeSet::new());
    for beside in past.aside.values() {
        for (op, said) in ops(&beside.composed, beside.actor) {
            if keys.contains(said.key.as_str()) {
                put.entry(&said.key).or_default().insert(op);
                replaced.extend(said.preds.iter().copied());
            }
        }
    }
    for said in &delta.puts {
        let mut visible = put.remove(said.key.as_str()).unwrap_or_default();
        visible.extend(shard.visible_at(&said.key, &heads)?.iter().map(|value| value.op));
        if !visible.iter().filter(|op| !replaced.contains(op)).eq(&said.preds) {
            return Err(Fault::Preds.into());
        }
    }
    Ok(())
}
