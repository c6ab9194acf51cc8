//! What was refused for good, so that it is not asked for in a loop; bounded, the oldest forgotten first.

use std::collections::{BTreeSet, VecDeque};

use crate::id::{ChangeId, RecordId};
use crate::limits;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectedId {
    /// A change.
    Change(ChangeId),
    /// A record.
    Record(RecordId),
}

/// One thing that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedItem {
    /// What.
    pub id: RejectedId,
    /// Why.
    pub reason: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RejectedCache {
    ids: BTreeSet<RejectedId>,
    items: VecDeque<RejectedItem>,
}

impl RejectedCache {
    pub(super) fn contains(&self, id: RejectedId) -> bool {
        self.ids.contains(&id)
    }

    pub(super) fn record(&mut self, id: RejectedId, reason: String) {
        if !self.ids.insert(id) {
            return;
        }
        self.items.push_back(RejectedItem { id, reason });
        if self.items.len() > limits::MAX_REJECTED_IDS
            && let Some(oldest) = self.items.pop_front()
        {
            self.ids.remove(&oldest.id);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RejectedItem> {
        self.items.iter()
    }
}
