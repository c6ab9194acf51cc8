//! Counts of reached limits. Operators see them, because a reached limit delays or drops something.

use std::collections::BTreeMap;

/// How often each limit was reached since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitStats(BTreeMap<&'static str, LimitHit>);

/// The count of one reached limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitHit {
    /// The limit's value.
    pub limit: usize,
    /// The number of times that the limit was reached.
    pub count: u64,
}

impl LimitStats {
    /// Counts that a limit was reached.
    pub fn record(&mut self, name: &'static str, limit: usize) {
        self.record_many(name, limit, 1);
    }

    /// Counts that a limit was reached several times.
    pub(crate) fn record_many(&mut self, name: &'static str, limit: usize, count: u64) {
        if count > 0 {
            let hit = self.0.entry(name).or_insert(LimitHit { limit, count: 0 });
            hit.count = hit.count.saturating_add(count);
        }
    }

    /// Adds the counts of other statistics.
    pub(crate) fn merge(&mut self, others: &Self) {
        for (name, hit) in others.iter() {
            self.record_many(name, hit.limit, hit.count);
        }
    }

    /// The reached limits, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, LimitHit)> {
        self.0.iter().map(|(name, hit)| (*name, *hit))
    }
}
