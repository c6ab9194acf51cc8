//! Bounds that were reached: nothing is wrong, but somebody asks for much, and whoever runs the node should know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One bound of the network, and how often one more was wanted than it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitHit {
    /// Of what there were too many, in the plural.
    pub subject: &'static str,
    /// How many there may be.
    pub limit: usize,
    /// How often one more was wanted.
    pub hit_count: u64,
}

/// What was reached since somebody asked. All copies count together. As many entries as there are bounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitStats(Arc<Mutex<BTreeMap<&'static str, LimitHit>>>);

impl LimitStats {
    /// One more of these was wanted than the `most` that there may be.
    pub(crate) fn record(&self, subject: &'static str, limit: usize) {
        let mut hits = self.lock_hits();
        let entry = hits.entry(subject).or_insert(LimitHit { subject, limit, hit_count: 0 });
        entry.hit_count = entry.hit_count.saturating_add(1);
    }

    /// What was reached since the last time.
    pub(crate) fn take_hits(&self) -> Vec<LimitHit> {
        std::mem::take(&mut *self.lock_hits()).into_values().collect()
    }

    fn lock_hits(&self) -> MutexGuard<'_, BTreeMap<&'static str, LimitHit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
