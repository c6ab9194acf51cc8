//! What must hold on one node at any time: what it accepts, stores and keeps.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::acceptance::{CandidateSet, compute_acceptance};
use larder_core::group::{UnacceptedSet, accepted_candidates};
use larder_core::id::{ChangeId, GrantId, ShardId};
use larder_core::node::GroupState;
use larder_core::record::{Membership, RecordSet, Role};
use larder_core::shard::root::ShardName;
use larder_core::test_support::journal::check_journal;

use super::invariants::{Invariant, Violation};
use super::stored_state::StoredStateReader;
use super::world::SimNode;

/// The amount of data that a node held at the last check. Acceptance is checked again when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CheckedState {
    records: usize,
    changes: u64,
    durable: bool,
}

/// Up to this number of changes, acceptance is checked after every step. Above it, acceptance is checked
/// whenever the number has grown by a sixteenth.
const ALWAYS_CHECK_CHANGES: u64 = 200;

/// Compares the changes that a node accepted with the pure function, if enough is new since `before`. It
/// checks the state in memory and, if no commit is pending, the stored records and deltas.
pub(super) fn check_if_changed(
    node: &SimNode,
    before: CheckedState,
    read: &mut StoredStateReader,
) -> Result<CheckedState, Violation> {
    let Some(core_node) = node.core_node.as_ref() else { return Ok(CheckedState::default()) };
    let current = CheckedState {
        records: core_node.groups().map(|state| state.group.records().len()).sum(),
        changes: core_node.groups().map(|state| state.group.shard_states().change_count()).sum(),
        durable: node.disk.pending_count() == 0 && core_node.store_failure().is_none(),
    };
    let few =
        current.changes <= ALWAYS_CHECK_CHANGES || current.changes > before.changes + before.changes / 16;
    if current == before || (!few && current.records == before.records) {
        return Ok(before);
    }
    for state in core_node.groups() {
        check_group(state, node, current.durable, read)?;
        check_limits(state)?;
    }
    Ok(current)
}

/// Checks everything that a node holds, regardless of the last check.
pub(super) fn check_whole_node(node: &SimNode, read: &mut StoredStateReader) -> Result<(), Violation> {
    check_if_changed(node, CheckedState::default(), read).map(drop)
}

fn check_group(
    state: &GroupState,
    node: &SimNode,
    durable: bool,
    read: &mut StoredStateReader,
) -> Result<(), Violation> {
    let disk = &node.disk.rows;
    let not_accepted = |detail| (Invariant::Accepted, detail);
    check_memory_acceptance(state).map_err(not_accepted)?;
    if !durable {
        return Ok(());
    }
    let group = state.group.id();
    let (records, members) =
        read.read_members(disk, group, state.group.records().genesis()).map_err(not_accepted)?;
    let stored = read.read_changes(disk, &records).map_err(not_accepted)?;
    check_stored_acceptance(state, &members, &stored).map_err(not_accepted)?;
    check_authority(state, &records, &stored).map_err(|detail| (Invariant::Authority, detail))?;
    check_journal(&state.group, disk, node.was_damaged).map_err(|detail| (Invariant::Journal, detail))
}

fn check_limits(state: &GroupState) -> Result<(), Violation> {
    use larder_core::limits;
    let records = state.group.records();
    let limits_in_use = [
        ("waiting records", records.waiting_len(), limits::MAX_WAITING_RECORDS),
        ("refused items", state.group.rejected().iter().count(), limits::MAX_REJECTED_IDS),
        // No orphan has a smaller size estimate than this.
        ("waiting changes", state.group.orphan_count(), limits::MAX_ORPHAN_BYTES / 256),
        ("invites", state.admission.invites.len(), limits::MAX_INVITES_PER_GROUP),
    ];
    match limits_in_use.iter().find(|(_, count, limit)| count > limit) {
        Some((what, count, limit)) => {
            Err((Invariant::Members, format!("{count} {what}, and {limit} are allowed")))
        }
        None => Ok(()),
    }
}

fn check_memory_acceptance(state: &GroupState) -> Result<(), String> {
    let members = Membership::evaluate(state.group.records());
    for shard in state.group.shards() {
        let (name, graph) = (shard.root().name(), shard.graph());
        let unaccepted = state.group.unaccepted_in(&shard.root().shard_id());
        let mut changes = accepted_candidates(shard, state.group.records());
        for change in unaccepted.into_iter().flat_map(UnacceptedSet::iter) {
            changes.insert(change.id(), change.to_candidate());
        }
        let rule = compute_acceptance(&members, &changes);
        // A document that is being rebuilt may not have reached the heads yet.
        let heads = shard.document().is_rebuilding() || shard.document().heads() == graph.heads();
        if changes.ids().any(|id| rule.is_accepted(&id) != graph.contains(&id)) || !heads {
            return Err(format!("{name} holds other changes than are accepted"));
        }
        let is_kept =
            |id: &ChangeId| unaccepted.and_then(|set| set.get(id)).is_none_or(|change| change.is_replicated);
        if changes.ids().any(|id| rule.is_replicated(&id) != is_kept(&id))
            || *shard.dependency_only() != rule.dependency_only
        {
            return Err(format!("{name} keeps or holds other changes than the rule says"));
        }
    }
    Ok(())
}

/// Computes the membership and the accepted changes from the stored rows alone, and compares them with the
/// document.
fn check_stored_acceptance(
    state: &GroupState,
    members: &Membership,
    stored: &BTreeMap<ShardId, CandidateSet>,
) -> Result<(), String> {
    let mut accepted = 0;
    for (shard_id, changes) in stored {
        let shard =
            state.group.shard_by_id(shard_id).ok_or("a stored change of a shard that is not there")?;
        let rule = compute_acceptance(members, changes);
        let rule: BTreeSet<ChangeId> = changes.ids().filter(|id| rule.is_accepted(id)).collect();
        accepted += rule.len();
        if shard.graph().iter().map(|entry| entry.id).collect::<BTreeSet<_>>() != rule {
            return Err(format!("{} holds other changes than its rows give", shard.root().name()));
        }
    }
    if accepted as u64 != state.group.shard_states().change_count() {
        return Err("a change is held that is not stored".to_owned());
    }
    Ok(())
}

/// Checks that each change is in a shard that its author may write: the desired state for operators and
/// admins, and each node's own observed state.
fn check_authority(
    state: &GroupState,
    records: &RecordSet,
    stored: &BTreeMap<ShardId, CandidateSet>,
) -> Result<(), String> {
    for (shard_id, changes) in stored {
        let Some(name) = state.group.shard_by_id(shard_id).map(|shard| shard.root().name()) else { continue };
        let may_write = |grant: &GrantId| {
            let role = records.role_of(grant);
            match name {
                ShardName::Desired => matches!(role, Some(Role::Operator | Role::Admin)),
                ShardName::Observed(own) => own == *grant && role != Some(Role::Reader),
            }
        };
        if let Some((id, _)) = changes.iter().find(|(_, valid)| !may_write(&valid.grant)) {
            return Err(format!("change {} stands in {name}, where its author may not write", id.short()));
        }
    }
    Ok(())
}
