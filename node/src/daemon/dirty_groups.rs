//! The groups that changed since the reconciler last took them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use larder_core::id::GroupId;
use tokio::sync::Notify;

/// A set of groups and a wakeup. It has at most one entry for each group.
#[derive(Debug, Default)]
pub(super) struct DirtyGroups {
    groups: Mutex<BTreeSet<GroupId>>,
    wakeup: Notify,
}

impl DirtyGroups {
    /// Adds a group, and wakes the reconciler.
    pub(super) fn mark_dirty(&self, group: GroupId) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(group);
        self.wakeup.notify_one();
    }

    /// Waits until there is a group, and takes all.
    pub(super) async fn take_dirty(&self) -> BTreeSet<GroupId> {
        loop {
            let groups = std::mem::take(&mut *self.groups.lock().unwrap_or_else(PoisonError::into_inner));
            if !groups.is_empty() {
                return groups;
            }
            self.wakeup.notified().await;
        }
    }
}
