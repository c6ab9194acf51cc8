//! Acceptance: which valid changes make up the document. A pure function of records and changes.
//!
//! Whether a change is *valid* (see [`crate::shard::validate`]) follows from the change and its ancestors,
//! and never changes. Whether it is *accepted* follows from the whole set of records and changes, and may
//! change with every new one. Nothing else decides: no order of arrival, no clock, nothing that this node
//! showed before.
//!
//! - *Anchors* are changes that count by themselves: their grant is effective and live, or they are at or
//!   below the frontiers of all revokes that ended it, or of an effective Admit.
//! - *Replicated* changes are the anchors and all their ancestors before forks are decided, and the changes
//!   that an effective record's frontier names. Members store, compare and pass on these.
//! - *Accepted* changes are the anchors that are left once forks are decided, and all their ancestors. They
//!   make up the document.
//!
//! An ancestor is replicated whoever wrote it: an honest member may have built on it before it knew of a
//! revoke, and its work must not be lost. A valid change that is not replicated is in this node's
//! *quarantine*: it has no effect, and is offered to no peer.
//!
//! ```text
//!            valid
//! +-------------------------------------------+
//! |  local only (quarantine)                  |
//! |      replicated                           |
//! |  +-------------------------------------+  |
//! |  |  replicated only (losing branches)  |  |
//! |  |      accepted                       |  |
//! |  |  +-------------------------------+  |  |
//! |  |  |  dependency only: no anchors  |  |  |
//! |  |  |      anchors                  |  |  |
//! |  |  +-------------------------------+  |  |
//! |  +-------------------------------------+  |
//! +-------------------------------------------+
//! ```
//!
//! `docs/trust.md` gives the argument for these rules, with the cases that they have to cover. A group does
//! not call [`compute_acceptance`] for every change: it accepts at once what cannot alter the rest
//! (`fast_path` in [`crate::group`]). The simulator calls it after every step and compares.
#![allow(
    clippy::indexing_slicing,
    reason = "positions come from the index, and every array is as long as it"
)]

mod causal_index;
mod fork_choice;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ChainId, ChangeId, GrantId, NodeId};
use crate::record::Membership;
use causal_index::{CausalIndex, FrontierReach};

/// The facts about a valid change that acceptance depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The change's chain.
    pub chain_id: ChainId,
    /// The change's sequence number in its chain.
    pub seq: u64,
    /// The grant that the change was written under.
    pub grant: GrantId,
    /// The key of the node with that grant.
    pub author: NodeId,
    /// The dependencies. A dependency that is no candidate is the shard's root.
    pub deps: Vec<ChangeId>,
}

/// The valid changes of one shard, with all their ancestors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CandidateSet(BTreeMap<ChangeId, Candidate>);

impl CandidateSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a valid change.
    pub fn insert(&mut self, id: ChangeId, candidate: Candidate) {
        self.0.insert(id, candidate);
    }

    /// All candidates, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&ChangeId, &Candidate)> {
        self.0.iter()
    }

    /// The ids of all candidates.
    pub fn ids(&self) -> impl Iterator<Item = ChangeId> {
        self.0.keys().copied()
    }
}

/// Two or more changes at one position of one chain, of which one branch won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The forked chain.
    pub chain_id: ChainId,
    /// The sequence number at which the chain forked.
    pub seq: u64,
    /// The first change of the branch that won.
    pub winner: ChangeId,
    /// The first changes of the branches that lost, sorted.
    pub losers: Vec<ChangeId>,
}

/// The result of [`compute_acceptance`]. A change that is in none of the sets is an accepted anchor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Accepted changes that do not count by themselves: accepted changes depend on them.
    pub dependency_only: BTreeSet<ChangeId>,
    /// Replicated changes that are not accepted: losing branches of forks with all that depends on them, and
    /// evidence.
    pub replicated_only: BTreeSet<ChangeId>,
    /// Valid changes that are not replicated.
    pub local_only: BTreeSet<ChangeId>,
    /// The forks among the replicated changes, in the order in which they were decided.
    pub forks: Vec<Fork>,
}

impl Acceptance {
    /// True if the change is accepted.
    pub fn is_accepted(&self, id: &ChangeId) -> bool {
        self.is_replicated(id) && !self.replicated_only.contains(id)
    }

    /// True if members pass the change on.
    pub fn is_replicated(&self, id: &ChangeId) -> bool {
        !self.local_only.contains(id)
    }

    /// True if the change counts by itself.
    pub fn is_anchor(&self, id: &ChangeId) -> bool {
        self.is_accepted(id) && !self.dependency_only.contains(id)
    }
}

/// Decides which valid changes of one shard are accepted, given the membership.
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

/// The changes that count by themselves, before forks are decided.
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
