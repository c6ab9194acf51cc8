//! What must hold.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::accept::{Changes, Valid, accept};
use larder_core::delta::Delta;
use larder_core::id::{ChangeId, Digest, EpochId, GroupId, RecordId};
use larder_core::machine::Membership;
use larder_core::record::{Members, Records, SignedRecord};
use larder_core::resource::conflict::conflicts;
use larder_core::shard::state::Visible;
use larder_core::store::{Memory, Rows, Table, key};

use super::world::{Node, World};

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

/// How much a node holds: acceptance is judged anew when this moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    records: usize,
    changes: u64,
    durable: bool,
}

/// Judges what a node accepted change by change against the pure function, if anything is new since `before`: of what it
/// has in memory, and, with nothing on its way to the disk, of the records and deltas that it stored.
pub(super) fn judge(node: &Node, before: Held) -> Result<Held, String> {
    let Some(machine) = node.machine.as_ref() else { return Ok(Held::default()) };
    let held = Held {
        records: machine.groups().map(|of| of.group.records().len()).sum(),
        changes: machine.groups().map(|of| of.group.changes()).sum(),
        durable: node.disk.pending() == 0,
    };
    if held != before {
        for of in machine.groups() {
            accepts_by_the_rule(of)?;
            if held.durable {
                accepts_what_it_stored(of, &node.disk.rows)?;
            }
        }
    }
    Ok(held)
}

fn accepts_by_the_rule(of: &Membership) -> Result<(), String> {
    let members = Members::fold(of.group.records());
    for shard in of.group.shards() {
        let changes = Changes::of(shard);
        let accepted = accept(&members, &changes).accepted;
        let heads = shard.document().heads();
        if !changes.ids().eq(accepted) || heads != shard.graph().heads() {
            return Err(format!("{} holds other changes than are accepted", shard.root().shard()));
        }
    }
    Ok(())
}

/// From nothing but rows: who is a member, which changes there are, and so what the document must be made of.
fn accepts_what_it_stored(of: &Membership, disk: &Memory) -> Result<(), String> {
    let group = of.group.id();
    let members = Members::fold(&stored_records(disk, group, of.group.records().genesis())?);
    let stored = stored_changes(disk, group)?;
    let mut accepted = 0;
    for (epoch, changes) in &stored {
        let shard = of.group.shard_of(epoch).ok_or("a stored change of a shard that is not there")?;
        let rule = accept(&members, changes).accepted;
        accepted += rule.len();
        if shard.graph().iter().map(|entry| entry.id).collect::<BTreeSet<_>>() != rule {
            return Err(format!("{} holds other changes than its rows give", shard.root().shard()));
        }
    }
    if accepted as u64 != of.group.changes() {
        return Err("a change is held that is not stored".to_owned());
    }
    Ok(())
}

fn stored_records(disk: &Memory, group: GroupId, genesis: RecordId) -> Result<Records, String> {
    let rows = disk.rows(Table::Records, &key::group(group)).map_err(|error| error.to_string())?;
    let read = |(_, value): &(Vec<u8>, Vec<u8>)| SignedRecord::decode(value).map_err(|e| e.to_string());
    let stored = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let first = stored.iter().find(|record| record.id() == genesis).ok_or("no Genesis is stored")?;
    let mut records = Records::begin(first.clone()).ok_or("the stored Genesis is none")?;
    for record in stored {
        records.place(record);
    }
    Ok(records)
}

fn stored_changes(disk: &Memory, group: GroupId) -> Result<BTreeMap<EpochId, Changes>, String> {
    let mut stored: BTreeMap<EpochId, Changes> = BTreeMap::new();
    for (row, value) in disk.rows(Table::Changes, &key::group(group)).map_err(|error| error.to_string())? {
        let id = row.len().checked_sub(32).and_then(|at| ChangeId::from_slice(&row[at..]));
        let id = id.ok_or("a row of `changes` without an id")?;
        let delta = Delta::decode(&value).map_err(|error| error.to_string())?;
        let valid = Valid { grant: delta.grant, deps: delta.deps };
        stored.entry(delta.epoch).or_default().insert(id, valid);
    }
    Ok(stored)
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
