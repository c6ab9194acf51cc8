//! The rejected changes and records, so that the node does not request them again. The oldest are forgotten
//! first.

use std::collections::{BTreeSet, VecDeque};

use crate::id::{ChangeId, RecordId};
use crate::limits;

/// The id of a rejected change or record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectedId {
    /// The change's hash.
    Change(ChangeId),
    /// The record's id.
    Record(RecordId),
}

/// A rejected change or record, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedItem {
    /// The id of the change or record.
    pub id: RejectedId,
    /// The reason, as shown to operators.
    pub reason: String,
}

/// The newest [`limits::MAX_REJECTED_IDS`] rejected changes and records of a group.
#[derive(Clone, Debug, Default)]
pub struct RejectedCache {
    ids: BTreeSet<RejectedId>,
    items: VecDeque<RejectedItem>,
}

impl RejectedCache {
    /// True if this change or record was rejected.
    pub fn contains(&self, id: RejectedId) -> bool {
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

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &RejectedItem> {
        self.items.iter()
    }
}
