//! What was refused for good, so that it is not asked for in a loop; bounded, the oldest forgotten first.

use std::collections::{BTreeSet, VecDeque};

use crate::id::{ChangeId, RecordId};
use crate::limits;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// A change.
    Change(ChangeId),
    /// A record.
    Record(RecordId),
}

/// One thing that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedItem {
    /// What.
    pub what: Refusal,
    /// Why.
    pub why: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    known: BTreeSet<Refusal>,
    items: VecDeque<RefusedItem>,
}

impl Refused {
    pub(super) fn contains(&self, what: Refusal) -> bool {
        self.known.contains(&what)
    }

    pub(super) fn note(&mut self, what: Refusal, why: String) {
        if !self.known.insert(what) {
            return;
        }
        self.items.push_back(RefusedItem { what, why });
        if self.items.len() > limits::REFUSED
            && let Some(oldest) = self.items.pop_front()
        {
            self.known.remove(&oldest.what);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RefusedItem> {
        self.items.iter()
    }
}
