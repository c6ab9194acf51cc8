//! The limit hits of the network, counted by all its tasks until the daemon takes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use larder_core::limit_stats::LimitStats;

/// The limits reached since the last [`SharedLimitStats::take`]. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedLimitStats(Arc<Mutex<LimitStats>>);

impl SharedLimitStats {
    /// Counts that a limit was reached.
    pub(crate) fn record(&self, name: &'static str, limit: usize) {
        self.lock().record(name, limit);
    }

    /// Takes the counts since the last call.
    pub(crate) fn take(&self) -> LimitStats {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, LimitStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
