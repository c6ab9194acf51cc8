//! Bounds that were reached: nothing is wrong, but somebody asks for much, and whoever runs the node should know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One bound of the network, and how often one more was wanted than it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Of what there were too many, in the plural.
    pub of: &'static str,
    /// How many there may be.
    pub most: usize,
    /// How often one more was wanted.
    pub hits: u64,
}

/// What was reached since somebody asked. All copies count together. As many entries as there are bounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<&'static str, Reached>>>);

impl Tally {
    /// One more of these was wanted than the `most` that there may be.
    pub(crate) fn note(&self, of: &'static str, most: usize) {
        let mut reached = self.reached();
        let bound = reached.entry(of).or_insert(Reached { of, most, hits: 0 });
        bound.hits = bound.hits.saturating_add(1);
    }

    /// What was reached since the last time.
    pub(crate) fn take(&self) -> Vec<Reached> {
        std::mem::take(&mut *self.reached()).into_values().collect()
    }

    fn reached(&self) -> MutexGuard<'_, BTreeMap<&'static str, Reached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
