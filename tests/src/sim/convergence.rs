//! What the members of a group show, and whether all show the same.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::group::UnacceptedSet;
use larder_core::id::{ChangeId, Digest, GroupId, ShardId};
use larder_core::node::Node;
use larder_core::resource::conflict::conflicts;
use larder_core::shard::state::VisibleValue;

use super::world::World;

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
