//! Bounds that were reached: what an operator should know of, since something was put off because of it.

use std::collections::BTreeMap;

/// How often each bound was reached since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds(BTreeMap<&'static str, Bound>);

/// One bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// How many there may be.
    pub most: usize,
    /// How often one more was wanted.
    pub hits: u64,
}

impl Bounds {
    /// Notes that there are as many of these as there may be.
    pub(crate) fn hit(&mut self, of: &'static str, most: usize) {
        self.hits(of, most, 1);
    }

    /// The same, several times at once.
    pub(crate) fn hits(&mut self, of: &'static str, most: usize, hits: u64) {
        if hits > 0 {
            let bound = self.0.entry(of).or_insert(Bound { most, hits: 0 });
            bound.hits = bound.hits.saturating_add(hits);
        }
    }

    /// Adds what was reached elsewhere.
    pub(crate) fn add(&mut self, others: &Self) {
        for (of, bound) in others.iter() {
            self.hits(of, bound.most, bound.hits);
        }
    }

    /// Those that were reached: of what, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Bound)> {
        self.0.iter().map(|(of, bound)| (*of, *bound))
    }
}
