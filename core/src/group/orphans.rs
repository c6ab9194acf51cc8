//! Pushed changes that build on one that is not here yet: in a mesh, an answer can overtake what it answers. Bounded;
//! the oldest are forgotten, and asked for again when the digests are next compared.

use std::collections::{BTreeMap, VecDeque};

use crate::delta::compose::Composed;
use crate::id::{ChangeId, Sig};
use crate::limits;

/// A change that waits, with its signature, which was not checked yet.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    pub(super) composed: Box<Composed>,
    pub(super) signature: Sig,
}

impl Orphan {
    fn weight(&self) -> usize {
        // The delta, the Automerge change made of it, and what holds them.
        3 * self.composed.bytes().len() + 256
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Orphans {
    by_id: BTreeMap<ChangeId, Orphan>,
    /// Which orphans wait for a change.
    waiting: BTreeMap<ChangeId, Vec<ChangeId>>,
    order: VecDeque<ChangeId>,
    bytes: usize,
}

impl Orphans {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Keeps `orphan` until `on` is here. Answers how many had to be forgotten for it.
    pub(super) fn keep(&mut self, orphan: Orphan, on: ChangeId) -> u64 {
        let id = orphan.composed.id();
        if self.by_id.contains_key(&id) {
            return 0;
        }
        self.bytes += orphan.weight();
        self.by_id.insert(id, orphan);
        self.waiting.entry(on).or_default().push(id);
        self.order.push_back(id);
        let mut forgotten = 0;
        while self.bytes > limits::ORPHAN_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            forgotten += u64::from(self.remove(&oldest).is_some());
        }
        forgotten
    }

    /// The orphans that waited for `id`.
    pub(super) fn release(&mut self, id: &ChangeId) -> Vec<Orphan> {
        let waiting = self.waiting.remove(id).unwrap_or_default();
        waiting.iter().filter_map(|id| self.remove(id)).collect()
    }

    fn remove(&mut self, id: &ChangeId) -> Option<Orphan> {
        let orphan = self.by_id.remove(id)?;
        self.bytes -= orphan.weight();
        // What is gone leaves its id behind in the lists; swept out before these outgrow what they list.
        if self.order.len() > 2 * self.by_id.len() + 64 {
            self.order.retain(|id| self.by_id.contains_key(id));
            self.waiting.retain(|_, waiting| {
                waiting.retain(|id| self.by_id.contains_key(id));
                !waiting.is_empty()
            });
        }
        Some(orphan)
    }
}
