//! What must hold. Each invariant has an id, by which reports, shrinking and `docs/testing.md` name it.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::accept::{Changes, Valid, accept};
use larder_core::group::{Aside, Group};
use larder_core::id::{ChangeId, Digest, EpochId, GrantId, GroupId};
use larder_core::machine::{Machine, Membership};
use larder_core::record::{Members, Records, Role, SignedRecord};
use larder_core::resource::conflict::conflicts;
use larder_core::shard::Shard;
use larder_core::shard::root::ShardName;
use larder_core::shard::state::Visible;

use super::lost::nothing_lost;
use super::stored::Stored;
use super::world::{Node, World};
use super::{journal, oracle, trust};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// I1: after a heal, all members show the same.
    Converged,
    /// I2: nothing is acknowledged or told before it is durable, and what was acknowledged is never lost.
    Durable,
    /// I3: what is accepted change by change is what the pure function accepts, of memory and of the rows.
    Accepted,
    /// I4: values are those that a naive reader of the history finds.
    Values,
    /// I5: conflicts are those that a naive reader of the history finds.
    Conflicts,
    /// I6: honest nodes are not blamed.
    Blame,
    /// I7: a node that starts from its disk shows what it showed.
    Restart,
    /// I8: once equal, a group is quiet.
    Quiet,
    /// I9: nothing of a group goes to whom it was not given, and what waits has a bound.
    Members,
    /// I10: whoever writes sees what was written.
    OwnWrites,
    /// I11: no panic, no false "damaged", no isolated shard, no refused own change.
    Sound,
    /// I12: what was added to a list and never taken out is in it.
    Added,
    /// I13: the same plan makes the same history; clocks change no value.
    Repeats,
    /// I14: nothing is stored that its author's role does not allow in that shard.
    Authority,
    /// I15: who is no member gets nothing, and what is in quarantine goes nowhere.
    Outside,
    /// I16: whoever follows a journal is told what counts, once, and nothing before what it was built on.
    Told,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Converged,
        Self::Durable,
        Self::Accepted,
        Self::Values,
        Self::Conflicts,
        Self::Blame,
        Self::Restart,
        Self::Quiet,
        Self::Members,
        Self::OwnWrites,
        Self::Sound,
        Self::Added,
        Self::Repeats,
        Self::Authority,
        Self::Outside,
        Self::Told,
    ];

    /// Its id.
    pub fn id(self) -> String {
        let at = Self::ALL.iter().position(|one| *one == self).unwrap_or(0);
        format!("I{}", at + 1)
    }
}

/// What does not hold: which invariant, and how that shows.
pub(super) type Broken = (Invariant, String);

/// What one node shows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) digest: Digest,
    members: usize,
    /// The visible values of every key of every shard.
    values: BTreeMap<(EpochId, String), Vec<Visible>>,
    conflicts: Vec<String>,
    pub(super) history: BTreeSet<ChangeId>,
}

/// What `node` shows of a group; `None` if it does not run or is not in it.
pub(super) fn shown(world: &mut World, node: usize, group: GroupId) -> Option<Shown> {
    let of = world.nodes[node].machine.as_mut()?.group_mut(&group)?;
    let digest = of.digest();
    let desired = of.group.desired()?;
    let mut values = BTreeMap::new();
    for shard in of.group.shards() {
        let epoch = shard.root().epoch();
        values.extend(shard.state().iter().map(|(key, visible)| ((epoch, key.to_owned()), visible.to_vec())));
    }
    Some(Shown {
        digest,
        members: of.group.members().grants().count(),
        values,
        conflicts: conflicts(desired).into_iter().map(|conflict| format!("{conflict:?}")).collect(),
        history: desired.graph().iter().map(|entry| entry.id).collect(),
    })
}

/// The nodes that are members of a group, as they know it themselves. Of several worlds of members that know nothing of
/// each other, the largest.
pub(super) fn members(world: &World, group: GroupId) -> Vec<usize> {
    let worlds = acquainted(world, group);
    worlds.into_iter().max_by_key(|nodes| (nodes.len(), std::cmp::Reverse(nodes.clone()))).unwrap_or_default()
}

/// Members, by who knows whom as one. A machine that is set back to before it let anybody in knows nobody, and if it had
/// left meanwhile nobody knows it: nothing tells the two sides of each other.
fn acquainted(world: &World, group: GroupId) -> Vec<Vec<usize>> {
    let of = |node: usize| {
        let machine = world.nodes[node].machine.as_ref().filter(|machine| is_live(machine, &group));
        machine.and_then(|machine| machine.group(&group))
    };
    let live: Vec<usize> = (0..world.nodes.len()).filter(|node| of(*node).is_some()).collect();
    let lists = |a: usize, b: usize| {
        let key = world.nodes[b].secret.node();
        of(a).is_some_and(|of| of.group.members().contains(&key))
    };
    let mut worlds: Vec<Vec<usize>> = Vec::new();
    for node in live {
        let knows = |nodes: &Vec<usize>| nodes.iter().any(|other| lists(node, *other) || lists(*other, node));
        let (mut known, rest): (Vec<_>, Vec<_>) = worlds.into_iter().partition(knows);
        let mut mine: Vec<usize> = known.drain(..).flatten().chain([node]).collect();
        mine.sort_unstable();
        worlds = rest;
        worlds.push(mine);
    }
    worlds
}

fn is_live(machine: &Machine, group: &GroupId) -> bool {
    machine.group(group).is_some_and(|of| of.group.members().contains(&machine.me()))
}

/// True if all members show one digest, and nobody is still on the way in (unless whoever could let it in may be gone).
pub(super) fn converged(world: &mut World, group: GroupId) -> bool {
    let churns = world.churns;
    for node in &world.nodes {
        let Some(machine) = node.machine.as_ref() else { return false };
        if !churns && machine.joins().any(|(joining, _)| *joining == group) {
            return false;
        }
    }
    let worlds = if churns { acquainted(world, group) } else { vec![members(world, group)] };
    (churns || worlds != [Vec::<usize>::new()]) && worlds.iter().all(|nodes| are_equal(world, nodes, group))
}

fn are_equal(world: &mut World, nodes: &[usize], group: GroupId) -> bool {
    let mut digest = |node: &usize| Some(world.nodes[*node].machine.as_mut()?.group_mut(&group)?.digest());
    nodes.iter().map(&mut digest).collect::<BTreeSet<_>>().len() <= 1
}

/// What each member has, for the report of a run that failed.
pub(super) fn describe(world: &World, group: GroupId) -> String {
    let mut lines = Vec::new();
    for (node, of) in world.nodes.iter().enumerate() {
        let Some(machine) = of.machine.as_ref() else {
            lines.push(format!("node {node}: down"));
            continue;
        };
        if machine.joins().any(|(joining, _)| *joining == group) {
            lines.push(format!("node {node}: joining"));
        }
        let Some(of) = machine.group(&group) else { continue };
        let records = of.group.records();
        lines.push(format!(
            "node {node}: {} records, {} waiting, {} changes waiting, paused {}",
            records.len(),
            records.waiting(),
            of.group.waiting(),
            of.paused
        ));
        lines.extend(records.iter().map(|signed| {
            let (record, counts) = (signed.record(), of.group.members().counts(&signed.id()));
            let said = format!("{:?}", record.body);
            let what: String = said.chars().take(160).collect();
            format!(
                "  {} under {} {}, counts {counts}: {what}",
                signed.id().short(),
                record.grant.short(),
                record.seq
            )
        }));
        lines.extend(of.neighbours().map(|(peer, session)| {
            let whom = world.node_of(&peer).map_or_else(|| peer.short(), |node| node.to_string());
            format!(
                "  with {whom}: {} missing here, {} there",
                session.missing_here(&of.group),
                session.missing_there(&of.group)
            )
        }));
        for shard in of.group.shards() {
            let heads: Vec<_> = shard.graph().heads().iter().map(ChangeId::short).collect();
            let (name, len) = (shard.root().shard(), shard.graph().len());
            lines.push(format!("  {name}: {len} changes, heads {}", heads.join(" ")));
            let chains = shard.graph().chains();
            lines.extend(
                chains
                    .map(|chain| format!("    {} of {}: {}", chain.actor, chain.grant.short(), chain.len())),
            );
            let aside = of.group.aside(&shard.root().epoch()).into_iter().flat_map(Aside::iter);
            lines.extend(aside.map(|beside| {
                let (actor, seq, why) = (
                    beside.delta().actor(group),
                    beside.delta().seq,
                    of.group.why(&shard.root().epoch(), beside),
                );
                format!("    aside {} {actor} {seq}, kept {}, {why:?}", beside.id().short(), beside.kept)
            }));
        }
        lines.extend(of.group.refused().map(|item| format!("  refused {:?}: {}", item.what, item.why)));
    }
    lines.join("\n")
}

/// How much a node holds: acceptance is judged anew when this moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    records: usize,
    changes: u64,
    durable: bool,
}

/// Up to so many changes acceptance is judged after every step; above, each time that a sixteenth more is there.
const SMALL: u64 = 200;

/// Judges what a node accepted change by change against the pure function, if enough is new since `before`: of what it
/// has in memory, and, with nothing on its way to the disk, of the records and deltas that it stored.
pub(super) fn judge(node: &Node, before: Held, read: &mut Stored) -> Result<Held, Broken> {
    let Some(machine) = node.machine.as_ref() else { return Ok(Held::default()) };
    let held = Held {
        records: machine.groups().map(|of| of.group.records().len()).sum(),
        changes: machine.groups().map(|of| of.group.changes()).sum(),
        durable: node.disk.pending() == 0 && machine.storage_failure().is_none(),
    };
    let few = held.changes <= SMALL || held.changes > before.changes + before.changes / 16;
    if held == before || (!few && held.records == before.records) {
        return Ok(before);
    }
    for of in machine.groups() {
        judge_group(of, node, held.durable, read)?;
        judge_bounds(of)?;
    }
    Ok(held)
}

/// Judges all that a node holds, however much.
fn judge_all(node: &Node, read: &mut Stored) -> Result<(), Broken> {
    judge(node, Held::default(), read).map(drop)
}

fn judge_group(of: &Membership, node: &Node, durable: bool, read: &mut Stored) -> Result<(), Broken> {
    let disk = &node.disk.rows;
    let not_accepted = |words| (Invariant::Accepted, words);
    accepts_by_the_rule(of).map_err(not_accepted)?;
    if !durable {
        return Ok(());
    }
    let group = of.group.id();
    let (records, members) = read.members(disk, group, of.group.records().genesis()).map_err(not_accepted)?;
    let stored = read.changes(disk, &records).map_err(not_accepted)?;
    accepts_what_it_stored(of, &members, &stored).map_err(not_accepted)?;
    may_be_written(of, &records, &stored).map_err(|words| (Invariant::Authority, words))?;
    journal::tells_what_counts(&of.group, disk, node.damaged).map_err(|words| (Invariant::Told, words))
}

fn judge_bounds(of: &Membership) -> Result<(), Broken> {
    use larder_core::limits;
    let records = of.group.records();
    let bounds = [
        ("waiting records", records.waiting(), limits::ORPHAN_RECORDS),
        ("refused items", of.group.refused().count(), limits::REFUSED),
        // No orphan weighs less than this.
        ("waiting changes", of.group.waiting(), limits::ORPHAN_BYTES / 256),
        ("invites", of.invites.len(), limits::INVITES),
    ];
    match bounds.iter().find(|(_, count, most)| count > most) {
        Some((what, count, most)) => {
            Err((Invariant::Members, format!("{count} {what}, and {most} are allowed")))
        }
        None => Ok(()),
    }
}

fn accepts_by_the_rule(of: &Membership) -> Result<(), String> {
    let members = Members::fold(of.group.records());
    for shard in of.group.shards() {
        let (name, graph) = (shard.root().shard(), shard.graph());
        let aside = of.group.aside(&shard.root().epoch());
        let mut changes = Changes::of(shard, of.group.records());
        for beside in aside.into_iter().flat_map(Aside::iter) {
            changes.insert(beside.id(), beside.valid());
        }
        let rule = accept(&members, &changes);
        // While a document is made anew, it has not got there yet.
        let heads = shard.document().is_rebuilding() || shard.document().heads() == graph.heads();
        if changes.ids().any(|id| rule.is_accepted(&id) != graph.contains(&id)) || !heads {
            return Err(format!("{name} holds other changes than are accepted"));
        }
        let kept = |id: &ChangeId| aside.and_then(|aside| aside.get(id)).is_none_or(|beside| beside.kept);
        if changes.ids().any(|id| rule.is_kept(&id) != kept(&id)) || *shard.held() != rule.held {
            return Err(format!("{name} keeps or holds other changes than the rule says"));
        }
    }
    Ok(())
}

/// From nothing but rows: who is a member, which changes there are, and so what the document must be made of.
fn accepts_what_it_stored(
    of: &Membership,
    members: &Members,
    stored: &BTreeMap<EpochId, Changes>,
) -> Result<(), String> {
    let mut accepted = 0;
    for (epoch, changes) in stored {
        let shard = of.group.shard_of(epoch).ok_or("a stored change of a shard that is not there")?;
        let rule = accept(members, changes);
        let rule: BTreeSet<ChangeId> = changes.ids().filter(|id| rule.is_accepted(id)).collect();
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

/// Operators and admins write what is wanted; every machine writes its own shard of what it has, and nobody else does.
fn may_be_written(
    of: &Membership,
    records: &Records,
    stored: &BTreeMap<EpochId, Changes>,
) -> Result<(), String> {
    for (epoch, changes) in stored {
        let Some(name) = of.group.shard_of(epoch).map(|shard| shard.root().shard()) else { continue };
        let may = |grant: &GrantId| {
            let role = records.role(grant);
            match name {
                ShardName::Desired => matches!(role, Some(Role::Operator | Role::Admin)),
                ShardName::Observed(own) => own == *grant && role != Some(Role::Reader),
            }
        };
        if let Some((id, _)) = changes.iter().find(|(_, valid)| !may(&valid.grant)) {
            return Err(format!("change {} stands in {name}, where its author may not write", id.short()));
        }
    }
    Ok(())
}

/// Checks all that must hold of a group in a healed world.
pub(super) fn verify(world: &mut World, group: GroupId) -> Result<(), Broken> {
    let members = members(world, group);
    if members.is_empty() && world.churns {
        return nothing_lost(world, group, None);
    }
    let first = members.first().and_then(|node| shown(world, *node, group));
    let first = first.ok_or((Invariant::Converged, "nobody is in the group any more".to_owned()))?;
    for node in &members {
        let other = shown(world, *node, group);
        if other.as_ref() != Some(&first) {
            let words = format!("node {node} shows something else than node {}", members[0]);
            return Err((Invariant::Converged, words));
        }
        judge_all(&world.nodes[*node], &mut world.read)?;
        is_whole_again(&world.nodes[*node], group, members.len())?;
    }
    let of = world.nodes[members[0]].machine.as_ref().and_then(|machine| machine.group(&group));
    for shard in of.iter().flat_map(|of| of.group.shards()) {
        reads_as_its_history(shard, group)?;
    }
    of.map_or(Ok(()), |of| counts_as_the_oracle_says(&of.group))?;
    for node in members.iter().map(|node| &world.nodes[*node]) {
        let honest = !node.copied && !node.damaged && !node.liar;
        if honest && of.is_some_and(|of| of.group.is_forked(&node.secret.node())) {
            return Err((Invariant::Sound, format!("the history of {} forked", node.secret.node().short())));
        }
    }
    nothing_lost(world, group, Some(&first))
}

/// A copy that was damaged is one again as soon as it met a member.
fn is_whole_again(node: &Node, group: GroupId, members: usize) -> Result<(), Broken> {
    let of = node.machine.as_ref().and_then(|machine| machine.group(&group));
    match of.is_some_and(|of| of.refetching) && members > 1 {
        true => Err((Invariant::Restart, "a copy that was damaged is still not taken for whole".to_owned())),
        false => Ok(()),
    }
}

/// Values and conflicts are those that a naive reader finds.
fn reads_as_its_history(shard: &Shard, group: GroupId) -> Result<(), Broken> {
    let history = oracle::History::of(shard, group);
    let name = shard.root().shard();
    let held: BTreeMap<String, BTreeSet<oracle::Op>> = shard
        .state()
        .iter()
        .map(|(key, visible)| {
            (key.to_owned(), visible.iter().map(|one| (one.op.counter, one.op.actor.0)).collect())
        })
        .collect();
    if held != history.visible() {
        return Err((Invariant::Values, format!("{name} shows other values than its history gives")));
    }
    let shows: BTreeSet<oracle::Clash> = conflicts(shard)
        .into_iter()
        .map(|one| (one.resource.to_string(), one.field, one.kind.name()))
        .collect();
    let naive = history.conflicts();
    if shows != naive {
        let words = format!("{name} shows the conflicts {shows:?}, and its history gives {naive:?}");
        return Err((Invariant::Conflicts, words));
    }
    Ok(())
}

/// Up to so many changes of a shard the oracle is asked: it takes the square of them.
const FEW: usize = 400;

/// Who counts, and which changes do, as a slow reader finds it that was written apart from the product.
fn counts_as_the_oracle_says(group: &Group) -> Result<(), Broken> {
    let records: Vec<SignedRecord> = group.records().iter().cloned().collect();
    let fold = trust::Fold::new(&records);
    let wrong = |what: String| Err((Invariant::Accepted, what));
    if let Some(id) = records
        .iter()
        .map(SignedRecord::id)
        .find(|id| group.members().counts(id) != fold.counting.contains(id))
    {
        return wrong(format!("record {} counts otherwise than the oracle says", id.short()));
    }
    for shard in group.shards() {
        let mut all: BTreeMap<ChangeId, Valid> =
            Changes::of(shard, group.records()).iter().map(|(id, valid)| (*id, valid.clone())).collect();
        let aside = group.aside(&shard.root().epoch());
        all.extend(aside.into_iter().flat_map(Aside::iter).map(|beside| (beside.id(), beside.valid())));
        if all.len() > FEW {
            continue;
        }
        let verdict = trust::accept(&fold, &all);
        let kept = |id: &ChangeId| aside.and_then(|aside| aside.get(id)).is_none_or(|beside| beside.kept);
        let same = all.keys().all(|id| {
            let shown = shard.graph().contains(id);
            verdict.accepted.contains(id) == shown && verdict.kept.contains(id) == kept(id)
        });
        if !same || verdict.held != *shard.held() {
            return wrong(format!("{} is made of other changes than the oracle says", shard.root().shard()));
        }
    }
    Ok(())
}
