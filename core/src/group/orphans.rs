//! Orphans: pushed changes whose dependencies are not here yet. In a mesh, a change can arrive before the
//! change that it depends on. The oldest orphans are dropped when there are too many; the next sync session
//! requests them again.

use std::collections::{BTreeMap, VecDeque};

use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChangeId, Sig};
use crate::limits;

/// A change that waits for a dependency, with its signature, which is not verified yet.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    pub(super) encoded: Box<EncodedChange>,
    pub(super) signature: Sig,
}

impl Orphan {
    fn size_estimate(&self) -> usize {
        // The delta, its Automerge change, and the structures around them.
        3 * self.encoded.bytes().len() + 256
    }
}

/// The orphans of a group, at most [`limits::MAX_ORPHAN_BYTES`] of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Orphans {
    by_id: BTreeMap<ChangeId, Orphan>,
    /// The orphans that wait for each missing change.
    waiting_by_dep: BTreeMap<ChangeId, Vec<ChangeId>>,
    arrival_order: VecDeque<ChangeId>,
    total_bytes: usize,
}

impl Orphans {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Keeps an orphan until `missing_dep` arrives. Returns how many orphans were dropped to make room.
    pub(super) fn insert(&mut self, orphan: Orphan, missing_dep: ChangeId) -> u64 {
        let id = orphan.encoded.id();
        if self.by_id.contains_key(&id) {
            return 0;
        }
        self.total_bytes += orphan.size_estimate();
        self.by_id.insert(id, orphan);
        self.waiting_by_dep.entry(missing_dep).or_default().push(id);
        self.arrival_order.push_back(id);
        let mut evicted_count = 0;
        while self.total_bytes > limits::MAX_ORPHAN_BYTES {
            let Some(oldest) = self.arrival_order.pop_front() else { break };
            evicted_count += u64::from(self.remove(&oldest).is_some());
        }
        evicted_count
    }

    /// Removes and returns the orphans that waited for this change.
    pub(super) fn take_waiting_for(&mut self, arrived: &ChangeId) -> Vec<Orphan> {
        let waiting_ids = self.waiting_by_dep.remove(arrived).unwrap_or_default();
        waiting_ids.iter().filter_map(|id| self.remove(id)).collect()
    }

    fn remove(&mut self, id: &ChangeId) -> Option<Orphan> {
        let orphan = self.by_id.remove(id)?;
        self.total_bytes -= orphan.size_estimate();
        // Removed orphans leave their ids in the lists. The ids are removed before the lists grow too long.
        if self.arrival_order.len() > 2 * self.by_id.len() + 64 {
            self.arrival_order.retain(|id| self.by_id.contains_key(id));
            self.waiting_by_dep.retain(|_, waiting_ids| {
                waiting_ids.retain(|id| self.by_id.contains_key(id));
                !waiting_ids.is_empty()
            });
        }
        Some(orphan)
    }
}
