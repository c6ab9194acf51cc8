//! Bounds that were reached: what an operator should know of, since something was put off because of it.

use std::collections::BTreeMap;

/// How often each bound was reached since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitStats(BTreeMap<&'static str, LimitHit>);

/// One bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitHit {
    /// How many there may be.
    pub limit: usize,
    /// How often one more was wanted.
    pub count: u64,
}

impl LimitStats {
    /// Notes that there are as many of these as there may be.
    pub(crate) fn record(&mut self, name: &'static str, limit: usize) {
        self.record_many(name, limit, 1);
    }

    /// The same, several times at once.
    pub(crate) fn record_many(&mut self, name: &'static str, limit: usize, count: u64) {
        if count > 0 {
            let hit = self.0.entry(name).or_insert(LimitHit { limit, count: 0 });
            hit.count = hit.count.saturating_add(count);
        }
    }

    /// Adds what was reached elsewhere.
    pub(crate) fn merge(&mut self, others: &Self) {
        for (name, hit) in others.iter() {
            self.record_many(name, hit.limit, hit.count);
        }
    }

    /// Those that were reached: of what, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, LimitHit)> {
        self.0.iter().map(|(name, hit)| (*name, *hit))
    }
}
