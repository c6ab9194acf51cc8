//! The candidates of one shard in causal order, each after its dependencies, so that walks are loops over an
//! array.
#![allow(
    clippy::indexing_slicing,
    reason = "positions are made here, and every array is as long as the list of changes"
)]

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, CandidateSet};
use crate::id::{ChainId, ChangeId};

/// The candidates in causal order. A *position* is an index into that order.
pub(super) struct CausalIndex<'a> {
    candidates: Vec<(ChangeId, &'a Candidate)>,
    positions: BTreeMap<ChangeId, usize>,
    deps: Vec<Vec<usize>>,
    /// The position of the author's previous change.
    previous: Vec<Option<usize>>,
}

impl<'a> CausalIndex<'a> {
    pub(super) fn new(changes: &'a CandidateSet) -> Self {
        let order = causal_order(changes);
        let positions: BTreeMap<ChangeId, usize> =
            order.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        let position = |dep: &ChangeId| positions.get(dep).copied();
        let deps: Vec<Vec<usize>> =
            order.iter().map(|(_, candidate)| candidate.deps.iter().filter_map(position).collect()).collect();
        let previous = order.iter().zip(&deps).map(|((_, candidate), deps)| {
            deps.iter().copied().find(|dep| {
                order.get(*dep).is_some_and(|(_, dep)| {
                    dep.chain_id == candidate.chain_id && dep.seq + 1 == candidate.seq
                })
            })
        });
        let previous = previous.collect();
        Self { candidates: order, positions, deps, previous }
    }

    /// All positions, in causal order.
    pub(super) fn positions(&self) -> std::ops::Range<usize> {
        0..self.candidates.len()
    }

    pub(super) fn id(&self, at: usize) -> ChangeId {
        self.candidates[at].0
    }

    pub(super) fn candidate(&self, at: usize) -> &'a Candidate {
        self.candidates[at].1
    }

    pub(super) fn position(&self, id: &ChangeId) -> Option<usize> {
        self.positions.get(id).copied()
    }

    /// A change and the author's changes before it, newest first.
    pub(super) fn chain_back_from(&self, at: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(at), |at| self.previous[*at])
    }

    pub(super) fn previous(&self, at: usize) -> Option<usize> {
        self.previous[at]
    }

    /// A set and all ancestors of its changes.
    pub(super) fn with_ancestors(&self, set: &[bool]) -> Vec<bool> {
        let mut closed = set.to_vec();
        for at in self.positions().rev().filter(|at| set[*at] || !self.deps[*at].is_empty()) {
            if closed[at] {
                self.deps[at].iter().for_each(|dep| closed[*dep] = true);
            }
        }
        closed
    }

    /// A set and all changes that depend on it.
    pub(super) fn with_descendants(&self, set: &[bool]) -> Vec<bool> {
        let mut reached = set.to_vec();
        for at in self.positions() {
            reached[at] = reached[at] || self.deps[at].iter().any(|dep| reached[*dep]);
        }
        reached
    }

    /// A change and all changes that depend on it.
    pub(super) fn descendants_of(&self, at: usize) -> Vec<bool> {
        let mut only = vec![false; self.candidates.len()];
        only[at] = true;
        self.with_descendants(&only)
    }

    /// True if `at` is `upper` or one of its ancestors.
    pub(super) fn is_at_or_below(&self, at: usize, upper: usize) -> bool {
        let (lower_candidate, upper_candidate) = (self.candidate(at), self.candidate(upper));
        if lower_candidate.chain_id == upper_candidate.chain_id {
            // The ancestors of a change in its own chain are the changes before it there.
            return self.chain_back_from(upper).take_while(|below| *below >= at).any(|below| below == at);
        }
        let mut seen = vec![false; upper + 1];
        let mut queue = vec![upper];
        while let Some(next) = queue.pop().filter(|next| *next != at) {
            queue.extend(
                self.deps[next]
                    .iter()
                    .copied()
                    .filter(|dep| *dep >= at && !std::mem::replace(&mut seen[*dep], true)),
            );
        }
        seen.get(at).copied().unwrap_or(false) || at == upper
    }

    /// The changes at or below a frontier of a chain. While the change that it names is not here, the
    /// sequence number decides.
    pub(super) fn frontier_reach(&self, chain_id: ChainId, frontier: &(u64, ChangeId)) -> FrontierReach {
        match self.position(&frontier.1) {
            None => FrontierReach::Seq(frontier.0),
            Some(frontier_position) if self.candidate(frontier_position).chain_id == chain_id => {
                FrontierReach::Positions(self.chain_back_from(frontier_position).collect())
            }
            Some(frontier_position) => {
                let mut only = vec![false; self.candidates.len()];
                only[frontier_position] = true;
                let closed = self.with_ancestors(&only);
                FrontierReach::Positions(self.positions().filter(|at| closed[*at]).collect())
            }
        }
    }

    /// The changes of a set, by chain and sequence number.
    pub(super) fn group_by_chain_seq(&self, set: &[bool]) -> BTreeMap<(ChainId, u64), Vec<usize>> {
        let mut out: BTreeMap<(ChainId, u64), Vec<usize>> = BTreeMap::new();
        for at in self.positions().filter(|at| set[*at]) {
            let candidate = self.candidate(at);
            out.entry((candidate.chain_id, candidate.seq)).or_default().push(at);
        }
        out
    }
}

/// The changes at or below a frontier.
pub(super) enum FrontierReach {
    Seq(u64),
    Positions(BTreeSet<usize>),
}

impl FrontierReach {
    pub(super) fn contains(&self, index: &CausalIndex<'_>, at: usize) -> bool {
        match self {
            Self::Seq(seq) => index.candidate(at).seq <= *seq,
            Self::Positions(positions) => positions.contains(&at),
        }
    }
}

/// The candidates, each after its dependencies.
fn causal_order(changes: &CandidateSet) -> Vec<(ChangeId, &Candidate)> {
    let mut open_dep_counts: BTreeMap<ChangeId, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<ChangeId, Vec<ChangeId>> = BTreeMap::new();
    for (id, candidate) in changes.iter() {
        let deps = candidate.deps.iter().filter(|dep| changes.0.contains_key(dep));
        open_dep_counts.insert(*id, deps.clone().count());
        deps.for_each(|dep| dependents.entry(*dep).or_default().push(*id));
    }
    let mut ready: Vec<ChangeId> =
        open_dep_counts.iter().filter(|(_, deps)| **deps == 0).map(|(id, _)| *id).collect();
    let mut order = Vec::with_capacity(open_dep_counts.len());
    while let Some(id) = ready.pop() {
        order.extend(changes.0.get(&id).map(|candidate| (id, candidate)));
        for next in dependents.remove(&id).unwrap_or_default() {
            let open_count = open_dep_counts.entry(next).or_default();
            *open_count = open_count.saturating_sub(1);
            if *open_count == 0 {
                ready.push(next);
            }
        }
    }
    order
}
