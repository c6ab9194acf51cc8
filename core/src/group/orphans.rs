//! Pushed changes that build on one that is not here yet: in a mesh, an answer can overtake what it answers. Bounded;
//! the oldest are forgotten, and asked for again when the digests are next compared.

use std::collections::{BTreeMap, VecDeque};

use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChangeId, Sig};
use crate::limits;

/// A change that waits, with its signature, which was not checked yet.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    pub(super) encoded: Box<EncodedChange>,
    pub(super) signature: Sig,
}

impl Orphan {
    fn size_estimate(&self) -> usize {
        // The delta, the Automerge change made of it, and what holds them.
        3 * self.encoded.bytes().len() + 256
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Orphans {
    by_id: BTreeMap<ChangeId, Orphan>,
    /// Which orphans wait for a change.
    waiting_by_dep: BTreeMap<ChangeId, Vec<ChangeId>>,
    arrival_order: VecDeque<ChangeId>,
    total_bytes: usize,
}

impl Orphans {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Keeps `orphan` until `on` is here. Answers how many had to be forgotten for it.
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

    /// The orphans that waited for `id`.
    pub(super) fn take_waiting_for(&mut self, arrived: &ChangeId) -> Vec<Orphan> {
        let waiting_ids = self.waiting_by_dep.remove(arrived).unwrap_or_default();
        waiting_ids.iter().filter_map(|id| self.remove(id)).collect()
    }

    fn remove(&mut self, id: &ChangeId) -> Option<Orphan> {
        let orphan = self.by_id.remove(id)?;
        self.total_bytes -= orphan.size_estimate();
        // What is gone leaves its id behind in the lists; swept out before these outgrow what they list.
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
