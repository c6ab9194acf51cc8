//! The changes of one shard by place, each after what it was built on: walks over them are loops over an array.
#![allow(
    clippy::indexing_slicing,
    reason = "places are made here, and every array is as long as the list of changes"
)]

use std::collections::{BTreeMap, BTreeSet};

use super::{Changes, Valid};
use crate::id::{Actor, ChangeId};

/// Valid changes in causal order. A *place* is an index into that order.
pub(super) struct Index<'a> {
    changes: Vec<(ChangeId, &'a Valid)>,
    places: BTreeMap<ChangeId, usize>,
    deps: Vec<Vec<usize>>,
    /// The author's previous change.
    previous: Vec<Option<usize>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(changes: &'a Changes) -> Self {
        let order = causal(changes);
        let places: BTreeMap<ChangeId, usize> =
            order.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        let at = |dep: &ChangeId| places.get(dep).copied();
        let deps: Vec<Vec<usize>> =
            order.iter().map(|(_, valid)| valid.deps.iter().filter_map(at).collect()).collect();
        let previous = order.iter().zip(&deps).map(|((_, valid), deps)| {
            deps.iter().copied().find(|dep| {
                order.get(*dep).is_some_and(|(_, dep)| dep.actor == valid.actor && dep.seq + 1 == valid.seq)
            })
        });
        let previous = previous.collect();
        Self { changes: order, places, deps, previous }
    }

    /// All places, each after what it was built on.
    pub(super) fn all(&self) -> std::ops::Range<usize> {
        0..self.changes.len()
    }

    pub(super) fn id(&self, at: usize) -> ChangeId {
        self.changes[at].0
    }

    pub(super) fn valid(&self, at: usize) -> &'a Valid {
        self.changes[at].1
    }

    pub(super) fn place(&self, id: &ChangeId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// These and the author's changes before it, newest first.
    pub(super) fn chain_to(&self, at: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(at), |at| self.previous[*at])
    }

    pub(super) fn previous(&self, at: usize) -> Option<usize> {
        self.previous[at]
    }

    /// A set with all its ancestors.
    pub(super) fn closure(&self, of: &[bool]) -> Vec<bool> {
        let mut closed = of.to_vec();
        for at in self.all().rev().filter(|at| of[*at] || !self.deps[*at].is_empty()) {
            if closed[at] {
                self.deps[at].iter().for_each(|dep| closed[*dep] = true);
            }
        }
        closed
    }

    /// A set with everything that was built on it.
    pub(super) fn descendants(&self, of: &[bool]) -> Vec<bool> {
        let mut open = of.to_vec();
        for at in self.all() {
            open[at] = open[at] || self.deps[at].iter().any(|dep| open[*dep]);
        }
        open
    }

    /// One change and everything that was built on it.
    pub(super) fn above(&self, at: usize) -> Vec<bool> {
        let mut one = vec![false; self.changes.len()];
        one[at] = true;
        self.descendants(&one)
    }

    /// True if `at` is `of` or one of its ancestors.
    pub(super) fn is_at_or_below(&self, at: usize, of: usize) -> bool {
        let (lower, upper) = (self.valid(at), self.valid(of));
        if lower.actor == upper.actor {
            // All that a change builds on of its own chain is what came before it there.
            return self.chain_to(of).take_while(|of| *of >= at).any(|of| of == at);
        }
        let mut seen = vec![false; of + 1];
        let mut todo = vec![of];
        while let Some(next) = todo.pop().filter(|next| *next != at) {
            todo.extend(
                self.deps[next]
                    .iter()
                    .copied()
                    .filter(|dep| *dep >= at && !std::mem::replace(&mut seen[*dep], true)),
            );
        }
        seen.get(at).copied().unwrap_or(false) || at == of
    }

    /// How far a frontier of `actor` reaches. While what it names is not here, the place has to do.
    pub(super) fn reach(&self, actor: Actor, frontier: &(u64, ChangeId)) -> Reach {
        match self.place(&frontier.1) {
            None => Reach::Seq(frontier.0),
            Some(named) if self.valid(named).actor == actor => Reach::Places(self.chain_to(named).collect()),
            Some(named) => {
                let mut one = vec![false; self.changes.len()];
                one[named] = true;
                let closed = self.closure(&one);
                Reach::Places(self.all().filter(|at| closed[*at]).collect())
            }
        }
    }

    /// The changes of every place of every chain, of those in a set.
    pub(super) fn by_chain(&self, of: &[bool]) -> BTreeMap<(Actor, u64), Vec<usize>> {
        let mut out: BTreeMap<(Actor, u64), Vec<usize>> = BTreeMap::new();
        for at in self.all().filter(|at| of[*at]) {
            let valid = self.valid(at);
            out.entry((valid.actor, valid.seq)).or_default().push(at);
        }
        out
    }
}

/// What lies at or below a frontier.
pub(super) enum Reach {
    Seq(u64),
    Places(BTreeSet<usize>),
}

impl Reach {
    pub(super) fn has(&self, index: &Index<'_>, at: usize) -> bool {
        match self {
            Self::Seq(seq) => index.valid(at).seq <= *seq,
            Self::Places(places) => places.contains(&at),
        }
    }
}

/// Every change after what it was built on, whatever their ids.
fn causal(changes: &Changes) -> Vec<(ChangeId, &Valid)> {
    let mut waits: BTreeMap<ChangeId, usize> = BTreeMap::new();
    let mut builds: BTreeMap<ChangeId, Vec<ChangeId>> = BTreeMap::new();
    for (id, valid) in changes.iter() {
        let deps = valid.deps.iter().filter(|dep| changes.0.contains_key(dep));
        waits.insert(*id, deps.clone().count());
        deps.for_each(|dep| builds.entry(*dep).or_default().push(*id));
    }
    let mut ready: Vec<ChangeId> = waits.iter().filter(|(_, deps)| **deps == 0).map(|(id, _)| *id).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(id) = ready.pop() {
        order.extend(changes.0.get(&id).map(|valid| (id, valid)));
        for next in builds.remove(&id).unwrap_or_default() {
            let left = waits.entry(next).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                ready.push(next);
            }
        }
    }
    order
}
