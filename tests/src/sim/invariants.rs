//! The invariants, and what must hold for a group after a heal. Each invariant has an id, which reports,
//! shrinking and `docs/testing.md` use.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::acceptance::Candidate;
use larder_core::group::{Group, UnacceptedSet, accepted_candidates};
use larder_core::id::{ChangeId, GroupId};
use larder_core::record::SignedRecord;
use larder_core::resource::conflict::conflicts;
use larder_core::shard::Shard;

use super::convergence::{largest_member_set, snapshot};
use super::durability::check_nothing_lost;
use super::node_checks::check_whole_node;
use super::world::{SimNode, World};
use super::{acceptance_oracle, history_oracle};

/// A condition that must hold in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// I1: after a heal, all members show the same.
    Converged,
    /// I2: nothing is acknowledged or sent before it is durable, and an acknowledged change is never lost.
    Durable,
    /// I3: the changes accepted one by one, in memory and in the rows, are those that the pure function
    /// accepts.
    Accepted,
    /// I4: the values equal those of the history oracle.
    Values,
    /// I5: the conflicts equal those of the history oracle.
    Conflicts,
    /// I6: no honest node is blamed.
    Blame,
    /// I7: a node that starts from its disk shows what it showed before.
    Restart,
    /// I8: once its members are equal, a group is quiet.
    Quiet,
    /// I9: frames of a group go only to nodes that were invited to it, and every queue has a limit.
    Members,
    /// I10: a writer sees its own write.
    OwnWrites,
    /// I11: no panic, no false report of damage, no isolated shard, no refused own change.
    Sound,
    /// I12: an item that was added to a list and never removed is in the list.
    ListItemsKept,
    /// I13: the same plan gives the same history, and clocks change no value.
    Deterministic,
    /// I14: no node stores a change that its author's role does not allow in that shard.
    Authority,
    /// I15: a node that is not a member receives nothing, and quarantined changes are sent to no node.
    NonMembers,
    /// I16: a reader of the journal sees each counting entry once, and after the entries that it builds on.
    Journal,
}

impl Invariant {
    /// All invariants, in the order of their ids.
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
        Self::ListItemsKept,
        Self::Deterministic,
        Self::Authority,
        Self::NonMembers,
        Self::Journal,
    ];

    /// The id of the invariant, for example `I3`.
    pub fn id(self) -> String {
        let index = Self::ALL.iter().position(|one| *one == self).unwrap_or(0);
        format!("I{}", index + 1)
    }
}

/// The violated invariant, and a description of what was seen.
pub(super) type Violation = (Invariant, String);

/// Checks everything that must hold for a group after a heal.
pub(super) fn check_healed_group(world: &mut World, group: GroupId) -> Result<(), Violation> {
    let members = largest_member_set(world, group);
    if members.is_empty() && world.changes_membership {
        return check_nothing_lost(world, group, None);
    }
    let first = members.first().and_then(|node| snapshot(world, *node, group));
    let first = first.ok_or((Invariant::Converged, "nobody is in the group any more".to_owned()))?;
    for node in &members {
        let other = snapshot(world, *node, group);
        if other.as_ref() != Some(&first) {
            let detail = format!("node {node} shows something else than node {}", members[0]);
            return Err((Invariant::Converged, detail));
        }
        check_whole_node(&world.nodes[*node], &mut world.stored_state)?;
        check_refetched(&world.nodes[*node], group, members.len())?;
    }
    let state = world.nodes[members[0]].core_node.as_ref().and_then(|core_node| core_node.group(&group));
    for shard in state.iter().flat_map(|state| state.group.shards()) {
        check_against_history_oracle(shard, group)?;
    }
    state.map_or(Ok(()), |state| check_against_acceptance_oracle(&state.group))?;
    for node in members.iter().map(|node| &world.nodes[*node]) {
        let honest = !node.was_copied && !node.was_damaged && !node.has_forged;
        if honest
            && state.is_some_and(|state| {
                state.group.shard_states().has_forked(&node.secret.node_id(), state.group.records())
            })
        {
            return Err((
                Invariant::Sound,
                format!("the history of {} forked", node.secret.node_id().short()),
            ));
        }
    }
    check_nothing_lost(world, group, Some(&first))
}

/// Checks that a damaged copy counts as complete again after it met a member.
fn check_refetched(node: &SimNode, group: GroupId, members: usize) -> Result<(), Violation> {
    let state = node.core_node.as_ref().and_then(|core_node| core_node.group(&group));
    match state.is_some_and(|state| state.refetching) && members > 1 {
        true => Err((Invariant::Restart, "a copy that was damaged is still not taken for whole".to_owned())),
        false => Ok(()),
    }
}

/// Compares values and conflicts with the history oracle.
fn check_against_history_oracle(shard: &Shard, group: GroupId) -> Result<(), Violation> {
    let history = history_oracle::History::of_shard(shard, group);
    let name = shard.root().name();
    let visible_ops: BTreeMap<String, BTreeSet<history_oracle::OpId>> = shard
        .state()
        .iter()
        .map(|(key, visible)| {
            (key.to_owned(), visible.iter().map(|one| (one.op.counter, one.op.chain_id.0)).collect())
        })
        .collect();
    if visible_ops != history.visible() {
        return Err((Invariant::Values, format!("{name} shows other values than its history gives")));
    }
    let found_conflicts: BTreeSet<history_oracle::ConflictKey> =
        conflicts(shard).into_iter().map(|one| (one.resource.to_string(), one.field, one.kind)).collect();
    let naive = history.conflicts();
    if found_conflicts != naive {
        let detail =
            format!("{name} shows the conflicts {found_conflicts:?}, and its history gives {naive:?}");
        return Err((Invariant::Conflicts, detail));
    }
    Ok(())
}

/// The largest number of changes of a shard that the oracle is given. Its cost is quadratic.
const MAX_ORACLE_CHANGES: usize = 400;

/// Compares the membership and the accepted changes with the acceptance oracle.
fn check_against_acceptance_oracle(group: &Group) -> Result<(), Violation> {
    let records: Vec<SignedRecord> = group.records().iter().cloned().collect();
    let reference_membership = acceptance_oracle::ReferenceMembership::new(&records);
    let violation = |what: String| Err((Invariant::Accepted, what));
    if let Some(id) = records
        .iter()
        .map(SignedRecord::id)
        .find(|id| group.members().is_effective(id) != reference_membership.counting.contains(id))
    {
        return violation(format!("record {} counts otherwise than the oracle says", id.short()));
    }
    for shard in group.shards() {
        let mut all: BTreeMap<ChangeId, Candidate> = accepted_candidates(shard, group.records())
            .iter()
            .map(|(id, valid)| (*id, valid.clone()))
            .collect();
        let unaccepted = group.unaccepted_in(&shard.root().shard_id());
        all.extend(
            unaccepted
                .into_iter()
                .flat_map(UnacceptedSet::iter)
                .map(|change| (change.id(), change.to_candidate())),
        );
        if all.len() > MAX_ORACLE_CHANGES {
            continue;
        }
        let verdict = acceptance_oracle::reference_accept(&reference_membership, &all);
        let is_kept =
            |id: &ChangeId| unaccepted.and_then(|set| set.get(id)).is_none_or(|change| change.is_replicated);
        let same = all.keys().all(|id| {
            let shown = shard.graph().contains(id);
            verdict.accepted.contains(id) == shown && verdict.kept.contains(id) == is_kept(id)
        });
        if !same || verdict.held != *shard.dependency_only() {
            return violation(format!(
                "{} is made of other changes than the oracle says",
                shard.root().name()
            ));
        }
    }
    Ok(())
}
