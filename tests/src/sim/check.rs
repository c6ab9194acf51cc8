//! What must hold.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::id::{ChangeId, Digest, GroupId};
use larder_core::resource::conflict::conflicts;
use larder_core::shard::state::Visible;

use super::world::World;

/// What one node shows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    digest: Digest,
    members: usize,
    desired: BTreeMap<String, Vec<Visible>>,
    conflicts: Vec<String>,
    history: BTreeSet<ChangeId>,
}

/// What `node` shows of a group; `None` if it does not run or is not in it.
pub(super) fn shown(world: &mut World, node: usize, group: GroupId) -> Option<Shown> {
    let of = world.nodes[node].machine.as_mut()?.group_mut(&group)?;
    let digest = of.digest();
    let desired = of.group.desired()?;
    let conflict = |conflict: larder_core::resource::conflict::Conflict| format!("{conflict:?}");
    Some(Shown {
        digest,
        members: of.group.members().grants().count(),
        desired: desired.state().iter().map(|(key, visible)| (key.to_owned(), visible.to_vec())).collect(),
        conflicts: conflicts(desired).into_iter().map(conflict).collect(),
        history: desired.graph().iter().map(|entry| entry.id).collect(),
    })
}

/// True if all members show one digest.
pub(super) fn converged(world: &mut World, members: &[usize], group: GroupId) -> bool {
    let digests: BTreeSet<Option<Digest>> = members
        .iter()
        .map(|node| {
            world.nodes[*node].machine.as_mut().and_then(|m| m.group_mut(&group)).map(|of| of.digest())
        })
        .collect();
    digests.len() == 1 && !digests.contains(&None)
}

/// What each member has, for the report of a run that failed.
pub(super) fn describe(world: &World, members: &[usize], group: GroupId) -> String {
    let mut lines = Vec::new();
    for node in members {
        let Some(of) = world.nodes[*node].machine.as_ref().and_then(|machine| machine.group(&group)) else {
            lines.push(format!("node {node}: not there"));
            continue;
        };
        let records = of.group.records();
        lines.push(format!(
            "node {node}: {} records, {} waiting, paused {}",
            records.len(),
            records.waiting(),
            of.paused
        ));
        for (peer, session) in of.neighbours() {
            lines.push(format!("  with {}: {session:?}", peer.short()));
        }
        for shard in of.group.shards() {
            let heads: Vec<_> = shard.graph().heads().iter().map(ChangeId::short).collect();
            lines.push(format!(
                "  {}: {} changes, heads {}",
                shard.root().shard(),
                shard.graph().len(),
                heads.join(" ")
            ));
            for chain in shard.graph().chains() {
                lines.push(format!("    {} {}", chain.actor.short(), chain.len()));
            }
        }
        lines.extend(of.group.refused().map(|item| format!("  refused {:?}: {}", item.what, item.why)));
    }
    lines.join("\n")
}

/// The state that a naive reader would find: every put of the history, less those that a later one replaced.
fn replayed(world: &World, node: usize, group: GroupId) -> BTreeMap<String, BTreeSet<(u64, [u8; 16])>> {
    let mut state: BTreeMap<String, BTreeSet<(u64, [u8; 16])>> = BTreeMap::new();
    let of = world.nodes[node].machine.as_ref().and_then(|machine| machine.group(&group));
    let Some(desired) = of.and_then(|of| of.group.desired()) else { return state };
    let mut dead = BTreeSet::new();
    for entry in desired.graph().iter() {
        let delta = desired.delta(&entry.id).expect("a change in the graph is in the document");
        let actor = delta.actor(group);
        for (counter, put) in (delta.start_op..).zip(&delta.puts) {
            dead.extend(put.preds.iter().map(|pred| (put.key.clone(), (pred.counter, pred.actor.0))));
            state.entry(put.key.clone()).or_default().insert((counter, actor.0));
        }
    }
    for (key, op) in dead {
        if let Some(ops) = state.get_mut(&key) {
            ops.remove(&op);
        }
    }
    state
}

/// Checks all that must hold of a healed world; says what does not.
pub(super) fn verify(world: &mut World, members: &[usize], group: GroupId) -> Result<(), String> {
    let first = shown(world, members[0], group).ok_or("the founder is not there")?;
    for node in members {
        let other = shown(world, *node, group).ok_or_else(|| format!("node {node} is not there"))?;
        if other != first {
            return Err(format!("node {node} shows something else than node {}", members[0]));
        }
        let kept: BTreeMap<_, BTreeSet<_>> = other
            .desired
            .iter()
            .map(|(key, visible)| {
                (key.clone(), visible.iter().map(|v| (v.op.counter, v.op.actor.0)).collect())
            })
            .collect();
        if kept != replayed(world, *node, group) {
            return Err(format!("node {node} shows other values than its history gives"));
        }
    }
    let lost: Vec<_> = world
        .acknowledged
        .iter()
        .filter(|(change, (_, of))| *of == group && !first.history.contains(*change))
        .map(|(change, (by, _))| format!("{} of node {by}", change.short()))
        .collect();
    if !lost.is_empty() {
        return Err(format!("acknowledged changes are lost: {}", lost.join(", ")));
    }
    match world.faults_seen.first() {
        Some(fault) => Err(fault.clone()),
        None => Ok(()),
    }
}
