//! Conflicts that appear and go while somebody watches.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::id::Digest;
use larder_core::node::Node;
use larder_core::record::Membership;
use larder_core::resource::ResourceName;
use larder_core::resource::conflict::{Conflict, ConflictKind, conflicts_of};
use larder_core::resource::path_conflict::{all_conflicts, path_conflicts};
use larder_core::resource::view::ResourceView;
use larder_core::shard::Shard;

use crate::dto::WatchEvent;
use crate::limits;

/// Where there is a conflict: a field of a resource, and what sort it is.
type ConflictKey = (ResourceName, String, ConflictKind);

/// The conflicts that there were when somebody looked last, and where there may be others since.
#[derive(Clone, Debug, Default)]
pub(super) struct ConflictTracker {
    known_conflicts: BTreeMap<ConflictKey, Digest>,
    touched_resources: BTreeSet<ResourceName>,
    /// True if there may be others anywhere.
    check_all: bool,
}

fn conflict_key(conflict: &Conflict) -> (ConflictKey, Digest) {
    ((conflict.resource.clone(), conflict.field.clone(), conflict.kind), conflict.id)
}

impl ConflictTracker {
    /// Those that there are now.
    pub(super) fn current(desired: &Shard, members: &Membership) -> Self {
        Self {
            known_conflicts: all_conflicts(desired, members).iter().map(conflict_key).collect(),
            ..Self::default()
        }
    }

    /// Notes what an event may have brought about.
    pub(super) fn on_event(&mut self, event: &WatchEvent) {
        match (event.kind.as_str(), event.op.as_str()) {
            ("change", "accepted") if !event.touches.is_empty() => {
                let names = event.touches.iter().filter_map(|touch| touch.resource.parse().ok());
                self.touched_resources.extend(names);
            }
            // Who counts and what was taken back decides what is held, anywhere.
            ("change" | "member", _) => self.check_all = true,
            _ => {}
        }
        if self.touched_resources.len() > limits::MAX_WATCH_TOUCHED_RESOURCES {
            self.check_all = true;
        }
        if self.check_all {
            self.touched_resources.clear();
        }
    }

    /// True if there may be others.
    pub(super) fn needs_check(&self) -> bool {
        self.check_all || !self.touched_resources.is_empty()
    }

    /// Looks again. Where not everything is durable, what is seen may vanish: nothing is said then, and it is
    /// still due.
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
                // What several resources claim is between any of them.
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
            None => Some(conflict_event(key, "appeared")),
            Some(old_id) if old_id != id => Some(conflict_event(key, "changed")),
            Some(_) => None,
        });
        let resolved = previous.keys().filter(|key| !self.known_conflicts.contains_key(*key));
        added.chain(resolved.map(|key| conflict_event(key, "settled"))).collect()
    }
}

fn conflict_event((resource, field, _): &ConflictKey, op: &str) -> WatchEvent {
    WatchEvent {
        kind: "conflict".to_owned(),
        op: op.to_owned(),
        resource: Some(resource.to_string()),
        field: Some(field.clone()),
        ..WatchEvent::default()
    }
}
