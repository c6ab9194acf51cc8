//! Deciding forks: two changes at one position of one chain. A node that was copied or restored wrote them,
//! or one that means harm. Both changes are valid, and one branch wins.
//!
//! The replicated changes and the records alone decide which one, by the first rule that applies:
//!
//! 1. the branch that an effective Revoke's frontier names, else one that an effective Admit names (of
//!    several records, the one with the smallest hash);
//! 2. the branch that more distinct other keys support by an anchor on top of it. Changes of a forked chain
//!    from its fork on do not count, so no key supports two branches;
//! 3. the longer branch;
//! 4. the branch whose first change has the smaller hash.
//!
//! The changes of a losing branch, and all that depend on them, stop counting. Then the next fork is decided,
//! in the order of chain and sequence number.
#![allow(
    clippy::indexing_slicing,
    reason = "positions come from the index, and every array is as long as it"
)]

use std::collections::{BTreeMap, BTreeSet};

use super::Fork;
use super::causal_index::CausalIndex;
use crate::id::{ChainId, ChangeId, NodeId};
use crate::limits;
use crate::record::Membership;
use crate::record::membership::ChangeFrontier;

/// The rest of a closed set without the weak branches: of the branches of a chain that no other key supports
/// by an anchor, only the [`limits::MAX_WEAK_BRANCHES`] longest stay. So one node cannot make others keep
/// many branches.
pub(super) fn drop_weak_branches(
    index: &CausalIndex<'_>,
    candidates: &[bool],
    anchors: &[bool],
) -> Vec<bool> {
    let mut tips: BTreeMap<ChainId, BTreeSet<usize>> = BTreeMap::new();
    // Positions are in causal order, so a previous change comes before the changes that follow it.
    for at in index.positions().filter(|at| candidates[*at]) {
        let tips = tips.entry(index.candidate(at).chain_id).or_default();
        index.previous(at).map(|previous| tips.remove(&previous));
        tips.insert(at);
    }
    let mut dropped = vec![false; candidates.len()];
    for tips in tips.values().filter(|tips| tips.len() > limits::MAX_WEAK_BRANCHES) {
        let Some(author) = tips.first().map(|tip| index.candidate(*tip).author) else { continue };
        let anchors_of_others: Vec<bool> =
            index.positions().map(|at| anchors[at] && index.candidate(at).author != author).collect();
        let supported = index.with_ancestors(&anchors_of_others);
        let mut unsupported_tips: Vec<usize> = tips.iter().copied().filter(|tip| !supported[*tip]).collect();
        unsupported_tips.sort_by_key(|tip| (std::cmp::Reverse(index.candidate(*tip).seq), index.id(*tip)));
        let dropped_tips: BTreeSet<usize> =
            unsupported_tips.into_iter().skip(limits::MAX_WEAK_BRANCHES).collect();
        let kept_chain: BTreeSet<usize> =
            tips.difference(&dropped_tips).flat_map(|tip| index.chain_back_from(*tip)).collect();
        let dropped_chain = dropped_tips.iter().flat_map(|tip| index.chain_back_from(*tip));
        dropped_chain
            .filter(|at| !kept_chain.contains(at) && !supported[*at])
            .for_each(|at| dropped[at] = true);
    }
    let dropped = index.with_descendants(&dropped);
    index.positions().map(|at| candidates[at] && !dropped[at]).collect()
}

/// Decides all forks in the closure of `anchors`. Returns the rest of the closure, and removes the anchors
/// that lost.
pub(super) fn choose_branches(
    members: &Membership,
    index: &CausalIndex<'_>,
    mut candidates: Vec<bool>,
    anchors: &mut [bool],
) -> (Vec<bool>, Vec<Fork>) {
    let mut forks = Vec::new();
    loop {
        let by_chain = index.group_by_chain_seq(&candidates);
        let Some((fork_at, branches)) = by_chain.iter().find(|(_, branches)| branches.len() > 1) else {
            return (candidates, forks);
        };
        let fork_starts = first_fork_seqs(&by_chain);
        let winner =
            BranchChoice { members, index, candidates: &candidates, anchors, first_fork_seqs: &fork_starts }
                .choose(fork_at.0, branches);
        let mut losers = vec![false; candidates.len()];
        branches.iter().filter(|at| **at != winner).for_each(|at| losers[*at] = true);
        let lost_set = index.with_descendants(&losers);
        index.positions().filter(|at| lost_set[*at]).for_each(|at| anchors[at] = false);
        let loser_ids = branches.iter().filter(|at| **at != winner).map(|at| index.id(*at));
        let mut loser_ids: Vec<ChangeId> = loser_ids.collect();
        loser_ids.sort_unstable();
        forks.push(Fork { chain_id: fork_at.0, seq: fork_at.1, winner: index.id(winner), losers: loser_ids });
        candidates = index.with_ancestors(anchors);
    }
}

/// The sequence number at which each forked chain forks first.
fn first_fork_seqs(by_chain: &BTreeMap<(ChainId, u64), Vec<usize>>) -> BTreeMap<ChainId, u64> {
    let mut first = BTreeMap::new();
    for ((chain_id, seq), _) in by_chain.iter().filter(|(_, branches)| branches.len() > 1) {
        first.entry(*chain_id).or_insert(*seq);
    }
    first
}

/// The choice among the branches of one fork.
struct BranchChoice<'a> {
    members: &'a Membership,
    index: &'a CausalIndex<'a>,
    candidates: &'a [bool],
    anchors: &'a [bool],
    first_fork_seqs: &'a BTreeMap<ChainId, u64>,
}

impl BranchChoice<'_> {
    fn choose(&self, chain_id: ChainId, branches: &[usize]) -> usize {
        self.named_by_record(chain_id, branches).unwrap_or_else(|| {
            let rank = |at: &usize| {
                let descendants = self.index.descendants_of(*at);
                let (support, length) =
                    (self.supporter_count(*at, &descendants), self.branch_length(chain_id, &descendants));
                (std::cmp::Reverse((support, length)), self.index.id(*at))
            };
            branches.iter().copied().min_by_key(rank).unwrap_or_default()
        })
    }

    /// The branch that a record's frontier names.
    fn named_by_record(&self, chain_id: ChainId, branches: &[usize]) -> Option<usize> {
        let grant = branches.first().map(|at| self.index.candidate(*at).grant)?;
        let named_branch = |frontier: &ChangeFrontier| {
            let named_position =
                frontier.get(&chain_id).and_then(|(_, change)| self.index.position(change))?;
            branches
                .iter()
                .copied()
                .filter(|at| self.index.is_at_or_below(*at, named_position))
                .min_by_key(|at| self.index.id(*at))
        };
        let revocations = self.members.revocations(&grant).iter();
        let named_by_revoke = revocations
            .filter_map(|revocation| Some((revocation.record, named_branch(&revocation.frontier)?)))
            .min_by_key(|(id, _)| *id);
        let named_by_admit =
            || self.members.admitted_frontiers().find_map(|(_, frontier)| named_branch(frontier));
        named_by_revoke.map(|(_, at)| at).or_else(named_by_admit)
    }

    /// The number of distinct other keys with an anchor on top of the branch.
    fn supporter_count(&self, branch: usize, descendants: &[bool]) -> usize {
        let author = self.index.candidate(branch).author;
        let is_supporter = |at: &usize| {
            let candidate = self.index.candidate(*at);
            let is_past_own_fork =
                self.first_fork_seqs.get(&candidate.chain_id).is_some_and(|first| candidate.seq >= *first);
            descendants[*at]
                && self.candidates[*at]
                && self.anchors[*at]
                && candidate.author != author
                && !is_past_own_fork
        };
        let keys: BTreeSet<NodeId> =
            self.index.positions().filter(is_supporter).map(|at| self.index.candidate(at).author).collect();
        keys.len()
    }

    /// The sequence number of the last change of the branch.
    fn branch_length(&self, chain_id: ChainId, descendants: &[bool]) -> u64 {
        let is_own_chain = |at: &usize| {
            descendants[*at] && self.candidates[*at] && self.index.candidate(*at).chain_id == chain_id
        };
        self.index.positions().filter(is_own_chain).map(|at| self.index.candidate(at).seq).max().unwrap_or(0)
    }
}
