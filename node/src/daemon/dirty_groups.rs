//! Which groups changed since the keeper looked last: however often one does, it is one entry.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use larder_core::id::GroupId;
use tokio::sync::Notify;

/// Bounded by the groups that there are.
#[derive(Debug, Default)]
pub(super) struct DirtyGroups {
    groups: Mutex<BTreeSet<GroupId>>,
    wakeup: Notify,
}

impl DirtyGroups {
    /// Notes that a group changed.
    pub(super) fn mark_dirty(&self, group: GroupId) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(group);
        self.wakeup.notify_one();
    }

    /// Waits until any did, and takes all that did.
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
