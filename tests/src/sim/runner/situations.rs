//! Records the rare situations that a run reached.

use std::collections::BTreeSet;

use larder_core::node::{GroupState, MembershipStatus};
use larder_core::resource::conflict::{Conflict, ConflictKind};

use super::Runner;

impl Runner<'_> {
    /// Records the rare situations that only the state of the nodes shows.
    pub(super) fn record_coverage(&mut self) {
        let mut reached = BTreeSet::new();
        for group in &self.groups {
            let mut sizes = Vec::new();
            for node in &self.world.nodes {
                let Some(state) = node.core_node.as_ref().and_then(|core_node| core_node.group(group)) else {
                    continue;
                };
                sizes.push((state.group.shard_states().change_count(), state.paused));
                if state.group.orphan_count() > 0 {
                    reached.insert("waited");
                }
                reached.extend(membership_coverage(state));
            }
            let largest = sizes.iter().map(|(size, _)| *size).max().unwrap_or(0);
            if sizes.iter().any(|(size, paused)| *paused && size + 5 < largest) {
                reached.insert("paused-behind");
            }
            if sizes.iter().any(|(size, _)| size + 1000 < largest) {
                reached.insert("backlog");
            }
        }
        reached.into_iter().for_each(|name| self.world.coverage.record(name));
    }

    /// Records the kinds of conflicts that a node sees.
    pub(in crate::sim) fn mark_conflicts(&mut self, found: &[Conflict]) {
        for conflict in found {
            let name = match conflict.kind {
                ConflictKind::EditRemove => "edit-remove",
                ConflictKind::RemovedAuthor => "removed-author",
                ConflictKind::Value if conflict.field == "keys.list" => "conflict-list",
                ConflictKind::Value => "conflict",
                // A claim concerns several resources; no mark asks for it.
                ConflictKind::Claim => continue,
            };
            self.world.coverage.record(name);
            if conflict.sides.len() > 2 {
                self.world.coverage.record("conflict-three");
            }
        }
    }
}

/// The coverage marks that a node's membership, unaccepted changes and forks give.
fn membership_coverage(state: &GroupState) -> Vec<&'static str> {
    let (group, members) = (&state.group, state.group.members());
    let mut seen = Vec::new();
    for key in members.former_members() {
        match MembershipStatus::for_key(members, &key) {
            MembershipStatus::Removed => seen.push("removed"),
            MembershipStatus::Left => seen.push("left"),
            _ => {}
        }
    }
    if members.nodes().any(|key| members.ended_grants_of(&key).next().is_some()) {
        seen.push("grant-ended");
    }
    if group.shards().any(|shard| !shard.dependency_only().is_empty()) {
        seen.push("held");
    }
    for change in group.shard_states().unaccepted_sets().flat_map(|(_, set)| set.iter()) {
        seen.push(if change.is_replicated { "kept-aside" } else { "quarantined" });
    }
    if group.shard_states().forks().next().is_some() {
        seen.push("forked");
    }
    if members.admitted_frontiers().next().is_some() {
        seen.push("readmitted");
    }
    if state.has_duplicate_key {
        seen.push("twin");
    }
    seen
}
