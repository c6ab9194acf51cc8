//! The check that no acknowledged change is lost: it is in the document, or unaccepted for a reason, or only
//! with the nodes that ever had it.

use larder_core::group::{Group, UnacceptedReason};
use larder_core::id::{ChangeId, GroupId};
use larder_core::node::MembershipStatus;

use super::convergence::{GroupSnapshot, largest_member_set};
use super::invariants::{Invariant, Violation};
use super::world::World;

/// Checks that every acknowledged change is in the history. In a run where members can be removed and chains
/// can fork, a change may also be unaccepted for a reason, or be on its author's node only.
pub(super) fn check_nothing_lost(
    world: &World,
    group: GroupId,
    shown: Option<&GroupSnapshot>,
) -> Result<(), Violation> {
    let is_shown = |change: &ChangeId| shown.is_some_and(|shown| shown.history.contains(change));
    let lost = world
        .acknowledged_writes
        .iter()
        .filter(|(change, write)| {
            write.group == group && !is_shown(change) && !world.nodes[write.node].has_forged
        })
        .filter(|(change, write)| {
            !world.changes_membership || !is_legitimately_elsewhere(world, group, change, write.node)
        })
        .map(|(change, write)| {
            format!(
                "{} of node {} ({})",
                change.short(),
                write.node,
                describe_locations(world, group, change)
            )
        });
    let lost: Vec<_> = lost.collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err((Invariant::Durable, format!("acknowledged changes are lost: {}", lost.join(", "))))
}

/// True if a change that is not in the document is in an allowed place. If its author's grant is live,
/// members must hold it unaccepted because of a fork. Otherwise any node may hold it, even the author's
/// alone.
fn is_legitimately_elsewhere(world: &World, group: GroupId, change: &ChangeId, author: usize) -> bool {
    let has_change = |group: &Group| {
        let desired = group.desired()?;
        let shard_id = desired.root().shard_id();
        let unaccepted = group.unaccepted_in(&shard_id).and_then(|set| set.get(change));
        let live = unaccepted.is_some_and(|entry| group.members().is_live(&entry.delta().grant));
        let forked = unaccepted.is_some_and(|entry| {
            matches!(
                group.unaccepted_reason(&shard_id, entry),
                UnacceptedReason::LostFork(_)
                    | UnacceptedReason::BuiltOnUnaccepted(_)
                    | UnacceptedReason::TooManyBranches
            )
        });
        let is_in_document = desired.graph().contains(change);
        Some(is_in_document || unaccepted.is_some_and(|_| !live || forked))
    };
    let members = largest_member_set(world, group);
    let by_members: Vec<&Group> =
        members.iter().filter_map(|node| group_copy_of(world, *node, group)).collect();
    if by_members.iter().any(|group| has_change(group) == Some(true)) {
        return true;
    }
    // These changes may be on nodes that are not members any more:
    // * changes that an author wrote after the end of its grant and never sent to a member;
    // * changes whose author lost its disk, or that only a member with a lost disk received;
    // * changes of an author that none of the members knows as a member. It does not send them to nodes that
    //   it alone knows as former members.
    let key = world.nodes[author].secret.node_id();
    let lost_disk = |node: &usize| world.nodes[*node].was_damaged || world.nodes[*node].was_copied;
    let has_ended_grant = |group: &Group| {
        !group.members().is_member(&key) || group.members().ended_grants_of(&key).next().is_some()
    };
    let author_unknown_to_members = group_copy_of(world, author, group).is_some_and(|group| {
        members.iter().all(|node| !group.members().is_member(&world.nodes[*node].secret.node_id()))
    });
    let may_be_with_non_members = author_unknown_to_members
        || lost_disk(&author)
        || members.iter().any(lost_disk)
        || by_members.iter().all(|group| has_ended_grant(group));
    let mut all = (0..world.nodes.len()).filter_map(|node| group_copy_of(world, node, group));
    may_be_with_non_members && all.any(|group| has_change(group) == Some(true))
}

fn group_copy_of(world: &World, node: usize, group: GroupId) -> Option<&Group> {
    Some(&world.nodes[node].core_node.as_ref()?.group(&group)?.group)
}

/// The nodes that hold a change, for the report of a failed run.
fn describe_locations(world: &World, group: GroupId, change: &ChangeId) -> String {
    let mut out = Vec::new();
    for node in 0..world.nodes.len() {
        let Some(group_copy) = group_copy_of(world, node, group) else { continue };
        let Some(desired) = group_copy.desired() else { continue };
        let shard_id = desired.root().shard_id();
        let key = world.nodes[node].secret.node_id();
        let membership_status = MembershipStatus::for_key(group_copy.members(), &key);
        let unaccepted = group_copy.unaccepted_in(&shard_id).and_then(|set| set.get(change));
        let location = match (desired.graph().contains(change), unaccepted) {
            (true, _) => "shown".to_owned(),
            (_, Some(entry)) => format!(
                "aside, kept {}, {:?}",
                entry.is_replicated,
                group_copy.unaccepted_reason(&shard_id, entry)
            ),
            _ => "nowhere".to_owned(),
        };
        out.push(format!("node {node}, {membership_status:?}: {location}"));
    }
    out.join("; ")
}
