//! Tracks the conflicts of a group for one watcher.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::id::Digest;
use larder_core::node::Node;
use larder_core::record::Membership;
use larder_core::resource::ResourceName;
use larder_core::resource::conflict::{Conflict, ConflictKind, conflicts_of};
use larder_core::resource::path_conflict::{all_conflicts, path_conflicts};
use larder_core::resource::view::ResourceView;
use larder_core::shard::Shard;

use crate::dto::{EventKind, EventOp, WatchEvent};
use crate::limits;

/// The position of a conflict: the resource, the field and the kind.
type ConflictKey = (ResourceName, String, ConflictKind);

/// The conflicts at the last check, and the resources to check next.
#[derive(Clone, Debug, Default)]
pub(super) struct ConflictTracker {
    known_conflicts: BTreeMap<ConflictKey, Digest>,
    touched_resources: BTreeSet<ResourceName>,
    /// True if all resources must be checked.
    check_all: bool,
}

fn conflict_key(conflict: &Conflict) -> (ConflictKey, Digest) {
    ((conflict.resource.clone(), conflict.field.clone(), conflict.kind), conflict.id)
}

impl ConflictTracker {
    /// The tracker of the present conflicts.
    pub(super) fn current(desired: &Shard, members: &Membership) -> Self {
        Self {
            known_conflicts: all_conflicts(desired, members).iter().map(conflict_key).collect(),
            ..Self::default()
        }
    }

    /// Marks the resources in which an event may have changed conflicts.
    pub(super) fn on_event(&mut self, event: &WatchEvent) {
        match (&event.kind, &event.op) {
            (EventKind::Change, EventOp::Accepted) if !event.touches.is_empty() => {
                let names = event.touches.iter().filter_map(|touch| touch.resource.parse().ok());
                self.touched_resources.extend(names);
            }
            // Membership and retracted changes can affect every resource.
            (EventKind::Change | EventKind::Member, _) => self.check_all = true,
            _ => {}
        }
        if self.touched_resources.len() > limits::MAX_WATCH_TOUCHED_RESOURCES {
            self.check_all = true;
        }
        if self.check_all {
            self.touched_resources.clear();
        }
    }

    /// True if there is something to check.
    pub(super) fn needs_check(&self) -> bool {
        self.check_all || !self.touched_resources.is_empty()
    }

    /// Checks the marked resources, and returns an event for each conflict that differs. While rows are not
    /// durable it does nothing, because a crash could take the conflict away.
    pub(super) fn check(
        &mut self,
        local_node: &Node,
        desired: &Shard,
        members: &Membership,
    ) -> Vec<WatchEvent> {
        if !local_node.is_durable() {
            return Vec::new();
        }
        let touched = std::mem::take(&mut self.touched_resources);
        let current: BTreeMap<ConflictKey, Digest> = match std::mem::take(&mut self.check_all) {
            true => all_conflicts(desired, members).iter().map(conflict_key).collect(),
            false => {
                let views = touched.iter().filter_map(|name| ResourceView::read(desired.state(), name));
                let in_touched = views
                    .flat_map(|view| conflicts_of(desired, &view))
                    .map(|conflict| conflict_key(&conflict));
                // A claim can involve any two resources.
                let claims = path_conflicts(desired, members);
                let is_same =
                    |(name, _, kind): &ConflictKey| *kind != ConflictKind::Claim && !touched.contains(name);
                let others = self.known_conflicts.iter().filter(|(key, _)| is_same(key));
                in_touched
                    .chain(claims.iter().map(conflict_key))
                    .chain(others.map(|(key, id)| (key.clone(), *id)))
                    .collect()
            }
        };
        let previous = std::mem::replace(&mut self.known_conflicts, current);
        let added = self.known_conflicts.iter().filter_map(|(key, id)| match previous.get(key) {
            None => Some(conflict_event(key, EventOp::Appeared)),
            Some(old_id) if old_id != id => Some(conflict_event(key, EventOp::Changed)),
            Some(_) => None,
        });
        let resolved = previous.keys().filter(|key| !self.known_conflicts.contains_key(*key));
        added.chain(resolved.map(|key| conflict_event(key, EventOp::Settled))).collect()
    }
}

fn conflict_event((resource, field, _): &ConflictKey, op: EventOp) -> WatchEvent {
    WatchEvent {
        resource: Some(resource.to_string()),
        field: Some(field.clone()),
        ..WatchEvent::new(EventKind::Conflict, op)
    }
}
