//! The invariants. Each has an id, which reports, shrinking and `docs/testing.md` use.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::acceptance::{Candidate, CandidateSet, compute_acceptance};
use larder_core::group::{Group, UnacceptedSet, accepted_candidates};
use larder_core::id::{ChangeId, Digest, GrantId, GroupId, ShardId};
use larder_core::node::{GroupState, Node};
use larder_core::record::{Membership, RecordSet, Role, SignedRecord};
use larder_core::resource::conflict::conflicts;
use larder_core::shard::Shard;
use larder_core::shard::root::ShardName;
use larder_core::shard::state::VisibleValue;

use super::durability::check_nothing_lost;
use super::stored_state::StoredStateReader;
use super::world::{SimNode, World};
use super::{acceptance_oracle, history_oracle, journal};

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

/// What one node shows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupSnapshot {
    pub(super) digest: Digest,
    members: usize,
    /// The visible values of every key of every shard.
    values: BTreeMap<(ShardId, String), Vec<VisibleValue>>,
    conflicts: Vec<String>,
    pub(super) history: BTreeSet<ChangeId>,
}

/// What `node` shows of a group; `None` if the node does not run or is not in the group.
pub(super) fn snapshot(world: &mut World, node: usize, group: GroupId) -> Option<GroupSnapshot> {
    let state = world.nodes[node].core_node.as_mut()?.group_mut(&group)?;
    let digest = state.digest();
    let desired = state.group.desired()?;
    let mut values = BTreeMap::new();
    for shard in state.group.shards() {
        let shard_id = shard.root().shard_id();
        values.extend(
            shard.state().iter().map(|(key, visible)| ((shard_id, key.to_owned()), visible.to_vec())),
        );
    }
    Some(GroupSnapshot {
        digest,
        members: state.group.members().grants().count(),
        values,
        conflicts: conflicts(desired).into_iter().map(|conflict| format!("{conflict:?}")).collect(),
        history: desired.graph().iter().map(|entry| entry.id).collect(),
    })
}

/// The nodes that consider themselves members of a group. If there are several sets of members that do not
/// know each other, the largest.
pub(super) fn largest_member_set(world: &World, group: GroupId) -> Vec<usize> {
    let worlds = acquainted_member_sets(world, group);
    worlds.into_iter().max_by_key(|nodes| (nodes.len(), std::cmp::Reverse(nodes.clone()))).unwrap_or_default()
}

/// The members, partitioned by which of them know each other as members. A node that was rolled back to a
/// state before it admitted anyone knows no other member. If it had left in the meantime, no member knows it
/// either, and the two sets never meet.
fn acquainted_member_sets(world: &World, group: GroupId) -> Vec<Vec<usize>> {
    let live_state = |node: usize| {
        let core_node = world.nodes[node]
            .core_node
            .as_ref()
            .filter(|core_node| considers_itself_member(core_node, &group));
        core_node.and_then(|core_node| core_node.group(&group))
    };
    let live: Vec<usize> = (0..world.nodes.len()).filter(|node| live_state(*node).is_some()).collect();
    let lists_as_member = |a: usize, b: usize| {
        let key = world.nodes[b].secret.node_id();
        live_state(a).is_some_and(|state| state.group.members().is_member(&key))
    };
    let mut worlds: Vec<Vec<usize>> = Vec::new();
    for node in live {
        let is_acquainted = |nodes: &Vec<usize>| {
            nodes.iter().any(|other| lists_as_member(node, *other) || lists_as_member(*other, node))
        };
        let (mut known, rest): (Vec<_>, Vec<_>) = worlds.into_iter().partition(is_acquainted);
        let mut mine: Vec<usize> = known.drain(..).flatten().chain([node]).collect();
        mine.sort_unstable();
        worlds = rest;
        worlds.push(mine);
    }
    worlds
}

fn considers_itself_member(core_node: &Node, group: &GroupId) -> bool {
    core_node.group(group).is_some_and(|state| state.group.members().is_member(&core_node.own_id()))
}

/// True if all members have equal digests and no node is still joining. In a run that changes the membership
/// a join may remain pending, because the members that could admit the node may be gone.
pub(super) fn is_converged(world: &mut World, group: GroupId) -> bool {
    let churns = world.changes_membership;
    for node in &world.nodes {
        let Some(core_node) = node.core_node.as_ref() else { return false };
        if !churns && core_node.pending_joins().any(|(joining, _)| *joining == group) {
            return false;
        }
    }
    let worlds =
        if churns { acquainted_member_sets(world, group) } else { vec![largest_member_set(world, group)] };
    (churns || worlds != [Vec::<usize>::new()]) && worlds.iter().all(|nodes| are_equal(world, nodes, group))
}

fn are_equal(world: &mut World, nodes: &[usize], group: GroupId) -> bool {
    let mut digest = |node: &usize| Some(world.nodes[*node].core_node.as_mut()?.group_mut(&group)?.digest());
    nodes.iter().map(&mut digest).collect::<BTreeSet<_>>().len() <= 1
}

/// The state of a group on each node, for the report of a failed run.
pub(super) fn describe_group(world: &World, group: GroupId) -> String {
    let mut lines = Vec::new();
    for (node, sim_node) in world.nodes.iter().enumerate() {
        let Some(core_node) = sim_node.core_node.as_ref() else {
            lines.push(format!("node {node}: down"));
            continue;
        };
        if core_node.pending_joins().any(|(joining, _)| *joining == group) {
            lines.push(format!("node {node}: joining"));
        }
        let Some(state) = core_node.group(&group) else { continue };
        let records = state.group.records();
        lines.push(format!(
            "node {node}: {} records, {} waiting, {} changes waiting, paused {}",
            records.len(),
            records.waiting_len(),
            state.group.orphan_count(),
            state.paused
        ));
        lines.extend(records.iter().map(|signed| {
            let (record, counts) = (signed.record(), state.group.members().is_effective(&signed.id()));
            let body_text = format!("{:?}", record.body);
            let what: String = body_text.chars().take(160).collect();
            format!(
                "  {} under {} {}, counts {counts}: {what}",
                signed.id().short(),
                record.grant.short(),
                record.seq
            )
        }));
        lines.extend(state.neighbour_sessions().map(|(peer, session)| {
            let peer_label = world.node_index_of(&peer).map_or_else(|| peer.short(), |node| node.to_string());
            format!(
                "  with {peer_label}: {} missing here, {} there",
                session.count_missing_here(&state.group),
                session.count_missing_there(&state.group)
            )
        }));
        for shard in state.group.shards() {
            let heads: Vec<_> = shard.graph().heads().iter().map(ChangeId::short).collect();
            let (name, len) = (shard.root().name(), shard.graph().len());
            lines.push(format!("  {name}: {len} changes, heads {}", heads.join(" ")));
            let chains = shard.graph().chains();
            lines.extend(
                chains.map(|chain| format!("    {} of {}: {}", chain.id, chain.grant.short(), chain.len())),
            );
            let unaccepted =
                state.group.unaccepted_in(&shard.root().shard_id()).into_iter().flat_map(UnacceptedSet::iter);
            lines.extend(unaccepted.map(|change| {
                let (actor, seq, why) = (
                    change.delta().chain_id(group),
                    change.delta().seq,
                    state.group.unaccepted_reason(&shard.root().shard_id(), change),
                );
                format!(
                    "    aside {} {actor} {seq}, kept {}, {why:?}",
                    change.id().short(),
                    change.is_replicated
                )
            }));
        }
        lines.extend(
            state.group.rejected().iter().map(|item| format!("  refused {:?}: {}", item.id, item.reason)),
        );
    }
    lines.join("\n")
}

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
        durable: node.disk.pending() == 0 && core_node.store_failure().is_none(),
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
fn check_whole_node(node: &SimNode, read: &mut StoredStateReader) -> Result<(), Violation> {
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
    journal::check_journal(&state.group, disk, node.was_damaged)
        .map_err(|detail| (Invariant::Journal, detail))
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
    let found_conflicts: BTreeSet<history_oracle::ConflictKey> = conflicts(shard)
        .into_iter()
        .map(|one| (one.resource.to_string(), one.field, one.kind.as_str()))
        .collect();
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
