//! Counts of reached limits. Operators see them, because a reached limit delays or drops something.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The count of one reached limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitHit {
    /// The name of the limit: what there was too much of.
    pub subject: &'static str,
    /// The value of the limit.
    pub limit: usize,
    /// How often the limit was reached.
    pub hit_count: u64,
}

/// The limits reached since the last [`LimitStats::take_hits`]. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitStats(Arc<Mutex<BTreeMap<&'static str, LimitHit>>>);

impl LimitStats {
    /// Counts that a limit was reached.
    pub(crate) fn record(&self, subject: &'static str, limit: usize) {
        let mut hits = self.lock_hits();
        let entry = hits.entry(subject).or_insert(LimitHit { subject, limit, hit_count: 0 });
        entry.hit_count = entry.hit_count.saturating_add(1);
    }

    /// Takes the counts since the last call.
    pub(crate) fn take_hits(&self) -> Vec<LimitHit> {
        std::mem::take(&mut *self.lock_hits()).into_values().collect()
    }

    fn lock_hits(&self) -> MutexGuard<'_, BTreeMap<&'static str, LimitHit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
