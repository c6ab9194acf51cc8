//! Acceptance: which valid changes the document is made of, as one pure function of records and changes.
//!
//! Whether a change is *valid* (see [`crate::shard::validate`]) follows from itself and its ancestors and never changes.
//! Whether it is *accepted* follows from the whole set of records and changes, and may change with every new one.
//! Nothing else has a say: not the order of arrival, not a clock, not what this node once showed.
//!
//! | set      | is                                                                                              |
//! |----------|-------------------------------------------------------------------------------------------------|
//! | anchors  | changes that count by themselves: their grant counts and is live, or they lie at or below the frontiers of all that ended it, or of a counting Admit |
//! | kept     | anchors and all their ancestors before forks are settled, and what a counting record's frontier names: stored, compared, passed on |
//! | accepted | anchors that are left once forks are settled, and all their ancestors: the document              |
//!
//! An ancestor is kept whoever wrote it: an honest member built on it before it knew better, and its work must not be
//! lost. What is valid and not kept is this node's *quarantine*: it has no effect, and is offered to nobody.
//!
//! ```text
//!            valid
//! +-------------------------------------------+
//! |  outside (quarantine)                     |
//! |      kept                                 |
//! |  +-------------------------------------+  |
//! |  |  losing (a fork's other branches)   |  |
//! |  |      accepted                       |  |
//! |  |  +-------------------------------+  |  |
//! |  |  |  held: ancestors, no anchors  |  |  |
//! |  |  |      anchors                  |  |  |
//! |  |  +-------------------------------+  |  |
//! |  +-------------------------------------+  |
//! +-------------------------------------------+
//! ```
//!
//! The argument for these rules, and the cases that it has to stand, are in `docs/trust.md`. A group does not call this
//! for every change: it lets in by itself what cannot alter the rest ([`crate::group`]). The simulator calls it after
//! every step, and both must say the same.
#![allow(clippy::indexing_slicing, reason = "places come from the index, and every array is as long as it")]

mod causal_index;
mod fork_choice;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ChainId, ChangeId, GrantId, NodeId};
use crate::record::Membership;
use causal_index::{CausalIndex, FrontierReach};

/// A valid change, as far as acceptance looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its chain.
    pub chain_id: ChainId,
    /// Its place in it.
    pub seq: u64,
    /// The grant it was written under.
    pub grant: GrantId,
    /// The key of that grant.
    pub author: NodeId,
    /// What it was built on. Those that are not among the changes are the shard's root.
    pub deps: Vec<ChangeId>,
}

/// The valid changes of one shard, with all their ancestors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CandidateSet(BTreeMap<ChangeId, Candidate>);

impl CandidateSet {
    /// No change at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a change that is valid.
    pub fn insert(&mut self, id: ChangeId, candidate: Candidate) {
        self.0.insert(id, candidate);
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&ChangeId, &Candidate)> {
        self.0.iter()
    }

    /// The ids of all of them.
    pub fn ids(&self) -> impl Iterator<Item = ChangeId> {
        self.0.keys().copied()
    }
}

/// Two or more changes in one place of one chain, of which one branch stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The chain.
    pub chain_id: ChainId,
    /// The place.
    pub seq: u64,
    /// The first change of the branch that stays.
    pub winner: ChangeId,
    /// The first changes of the others, sorted.
    pub losers: Vec<ChangeId>,
}

/// What [`accept`] says. A change that is named nowhere here is an anchor and accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Accepted for the sake of what was built on them, and not by themselves.
    pub dependency_only: BTreeSet<ChangeId>,
    /// Kept, and not accepted: other branches of forks with what was built on them, and evidence.
    pub replicated_only: BTreeSet<ChangeId>,
    /// Valid, and not kept.
    pub local_only: BTreeSet<ChangeId>,
    /// The forks among what is kept, in the order in which they were settled.
    pub forks: Vec<Fork>,
}

impl Acceptance {
    /// True if the document holds it.
    pub fn is_accepted(&self, id: &ChangeId) -> bool {
        self.is_replicated(id) && !self.replicated_only.contains(id)
    }

    /// True if members pass it on.
    pub fn is_replicated(&self, id: &ChangeId) -> bool {
        !self.local_only.contains(id)
    }

    /// True if it counts by itself.
    pub fn is_anchor(&self, id: &ChangeId) -> bool {
        self.is_accepted(id) && !self.dependency_only.contains(id)
    }
}

/// Says which of one shard's valid changes count, given who is a member.
pub fn compute_acceptance(members: &Membership, changes: &CandidateSet) -> Acceptance {
    let index = CausalIndex::new(changes);
    let mut anchors = find_anchors(members, &index);
    let closed = index.with_ancestors(&anchors);
    let without_weak_branches = fork_choice::drop_weak_branches(&index, &closed, &anchors);
    index.positions().filter(|at| !without_weak_branches[*at]).for_each(|at| anchors[at] = false);
    let closed = index.with_ancestors(&anchors);
    let mut replicated: Vec<bool> = index
        .positions()
        .map(|at| closed[at] || members.frontier_changes().contains(&index.id(at)))
        .collect();
    replicated = index.with_ancestors(&replicated);
    let (accepted, forks) = fork_choice::choose_branches(members, &index, closed, &mut anchors);
    let ids = |includes: &dyn Fn(usize) -> bool| {
        index.positions().filter(|at| includes(*at)).map(|at| index.id(at)).collect()
    };
    Acceptance {
        dependency_only: ids(&|at| accepted[at] && !anchors[at]),
        replicated_only: ids(&|at| replicated[at] && !accepted[at]),
        local_only: ids(&|at| !replicated[at]),
        forks,
    }
}

/// Which changes count by themselves, forks apart.
fn find_anchors(members: &Membership, index: &CausalIndex<'_>) -> Vec<bool> {
    let mut reaches: BTreeMap<(ChainId, (u64, ChangeId)), FrontierReach> = BTreeMap::new();
    let mut is_below = |at: usize, chain_id: ChainId, frontier: Option<&(u64, ChangeId)>| {
        let Some(frontier) = frontier else { return false };
        reaches
            .entry((chain_id, *frontier))
            .or_insert_with(|| index.frontier_reach(chain_id, frontier))
            .contains(index, at)
    };
    let mut is_anchor = |at: usize| {
        let candidate = index.candidate(at);
        let revocations = members.revocations(&candidate.grant);
        let is_live_or_below_frontiers = members.grant(&candidate.grant).is_some()
            && revocations.iter().all(|revocation| {
                is_below(at, candidate.chain_id, revocation.frontier.get(&candidate.chain_id))
            });
        is_live_or_below_frontiers
            || members
                .admitted_frontiers()
                .any(|(_, admitted)| is_below(at, candidate.chain_id, admitted.get(&candidate.chain_id)))
    };
    index.positions().map(&mut is_anchor).collect()
}
