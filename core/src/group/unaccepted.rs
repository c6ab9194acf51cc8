//! Valid changes that the document is not made of: other branches of forks with what was built on them, what frontiers
//! name as evidence, and this node's quarantine.
//!
//! ```text
//!   shard (accepted)          aside
//!   r - 1 - 2 - 3 - 4          2' - 3'        kept: compared and passed on, not shown
//!           ^                  |
//!           +------------------+              what is aside builds on what is accepted or aside, never the other way
//!                              9'             outside: in quarantine, this node's alone, bounded
//! ```
//!
//! Each stands by its own proof, since chains branch here: its link in its chain, and the signature that covers it.

mod validate;

pub(super) use validate::validate;

use std::collections::{BTreeMap, BTreeSet};

use crate::acceptance::Candidate;
use crate::delta::OpRef;
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChainId, ChangeId, NodeId};
use crate::limits;
use crate::shard::chain::{ChainHash, EndProof};

/// A valid change that is not part of the document.
#[derive(Clone, Debug)]
pub struct UnacceptedChange {
    /// The change.
    pub(super) encoded: EncodedChange,
    /// Its chain.
    pub chain_id: ChainId,
    /// The key that wrote it.
    pub author: NodeId,
    /// The running hash of its chain, at it.
    pub(super) chain_hash: ChainHash,
    /// What proves it.
    pub(super) end_proof: EndProof,
    /// Longest way down to the root.
    pub(super) depth: u32,
    /// True if members pass it on; else it is in quarantine.
    pub is_replicated: bool,
}

impl UnacceptedChange {
    /// Its hash.
    pub fn id(&self) -> ChangeId {
        self.encoded.id()
    }

    /// What it says.
    pub fn delta(&self) -> &crate::delta::Delta {
        self.encoded.delta()
    }

    /// The author's change before it: one of those it builds on.
    fn is_previous_of(&self, next: &Self) -> bool {
        self.chain_id == next.chain_id
            && self.delta().seq + 1 == next.delta().seq
            && next.delta().deps.binary_search(&self.id()).is_ok()
    }

    /// The change, as acceptance looks at it.
    pub fn to_candidate(&self) -> Candidate {
        let delta = self.delta();
        Candidate {
            chain_id: self.chain_id,
            seq: delta.seq,
            grant: delta.grant,
            author: self.author,
            deps: delta.deps.clone(),
        }
    }

    /// About what it takes in memory.
    fn size_estimate(&self) -> usize {
        // The delta, the Automerge change made of it, and what holds them.
        3 * self.encoded.bytes().len() + 512
    }
}

/// What is aside of one shard.
#[derive(Clone, Debug, Default)]
pub struct UnacceptedSet {
    changes: BTreeMap<ChangeId, UnacceptedChange>,
    /// How many came since it was last settled what counts.
    unevaluated_count: usize,
}

impl UnacceptedSet {
    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// All of it, by id.
    pub fn iter(&self) -> impl Iterator<Item = &UnacceptedChange> {
        self.changes.values()
    }

    /// The change `id`, if it is aside.
    pub fn get(&self, id: &ChangeId) -> Option<&UnacceptedChange> {
        self.changes.get(id)
    }

    pub(super) fn contains(&self, id: &ChangeId) -> bool {
        self.changes.contains_key(id)
    }

    /// How many came since it was last settled what counts.
    pub(super) fn unevaluated_count(&self) -> usize {
        self.unevaluated_count
    }

    pub(super) fn insert(&mut self, change: UnacceptedChange) {
        self.unevaluated_count += 1;
        self.changes.insert(change.id(), change);
    }

    pub(super) fn remove(&mut self, id: &ChangeId) -> Option<UnacceptedChange> {
        self.changes.remove(id)
    }

    /// Notes what is kept. Answers the ids of which that is news.
    pub(super) fn mark_replicated(&mut self, is_kept: impl Fn(&ChangeId) -> bool) -> Vec<ChangeId> {
        self.unevaluated_count = 0;
        let mut newly_replicated = Vec::new();
        for (id, change) in &mut self.changes {
            let is_replicated_now = is_kept(id);
            if is_replicated_now && !change.is_replicated {
                newly_replicated.push(*id);
            }
            change.is_replicated = is_replicated_now;
        }
        newly_replicated
    }

    /// True if a chain has changes here.
    pub(super) fn contains_chain(&self, chain_id: &ChainId) -> bool {
        self.changes.values().any(|change| change.chain_id == *chain_id)
    }

    /// True if a chain has two ends or more here, so that with the accepted one it may have more than are kept.
    pub(super) fn has_too_many_branches(&self) -> bool {
        let mut branch_ends: BTreeMap<ChainId, BTreeSet<ChangeId>> = BTreeMap::new();
        for change in self.iter() {
            branch_ends.entry(change.chain_id).or_default().insert(change.id());
        }
        for change in self.iter() {
            if let (Some(previous), Some(branch_ends)) =
                (self.previous_in_chain(change), branch_ends.get_mut(&change.chain_id))
            {
                branch_ends.remove(&previous.id());
            }
        }
        branch_ends.values().any(|branch_ends| branch_ends.len() >= limits::MAX_WEAK_BRANCHES)
    }

    /// Bytes that the quarantine takes.
    pub(super) fn local_only_bytes(&self) -> usize {
        self.iter().filter(|change| !change.is_replicated).map(UnacceptedChange::size_estimate).sum()
    }

    /// What is kept, each after what it builds on.
    pub(super) fn replicated(&self) -> Vec<&UnacceptedChange> {
        let mut replicated: Vec<&UnacceptedChange> =
            self.iter().filter(|change| change.is_replicated).collect();
        replicated.sort_by_key(|change| (change.depth, change.id()));
        replicated
    }

    /// The kept ends of branches, by chain.
    pub(super) fn branch_tips(&self) -> BTreeMap<ChainId, Vec<&UnacceptedChange>> {
        let mut tips: BTreeMap<ChainId, Vec<&UnacceptedChange>> = BTreeMap::new();
        for change in self.replicated() {
            let tips = tips.entry(change.chain_id).or_default();
            tips.retain(|tip| !tip.is_previous_of(change));
            tips.push(change);
        }
        tips
    }

    /// A change and those before it in its chain that are here too, newest first.
    pub(super) fn chain_back_from(&self, id: ChangeId) -> impl Iterator<Item = &UnacceptedChange> {
        std::iter::successors(self.get(&id), |change| self.previous_in_chain(change))
    }

    /// The author's change before it, if that is here too.
    pub(super) fn previous_in_chain(&self, change: &UnacceptedChange) -> Option<&UnacceptedChange> {
        change.delta().deps.iter().filter_map(|dep| self.get(dep)).find(|dep| dep.is_previous_of(change))
    }

    /// What was built on these.
    pub(super) fn with_descendants(&self, ids: &BTreeSet<ChangeId>) -> BTreeSet<ChangeId> {
        let mut reached = ids.clone();
        let mut order: Vec<&UnacceptedChange> = self.iter().collect();
        order.sort_by_key(|change| change.depth);
        for change in order {
            if change.delta().deps.iter().any(|dep| reached.contains(dep)) {
                reached.insert(change.id());
            }
        }
        reached
    }

    /// What to let go of so that the quarantine takes no more than `most` bytes: of the key that has most of it, the
    /// newest, so that what is left still has all it builds on.
    pub(super) fn changes_to_evict(&self, limit: usize) -> Vec<ChangeId> {
        let mut shares_by_author: BTreeMap<NodeId, (usize, Vec<&UnacceptedChange>)> = BTreeMap::new();
        for change in self.iter().filter(|change| !change.is_replicated) {
            let author_share = shares_by_author.entry(change.author).or_default();
            author_share.0 += change.size_estimate();
            author_share.1.push(change);
        }
        shares_by_author
            .values_mut()
            .for_each(|(_, author_share)| author_share.sort_by_key(|change| (change.depth, change.id())));
        let mut total: usize = shares_by_author.values().map(|(bytes, _)| bytes).sum();
        let mut evicted = BTreeSet::new();
        while total > limit {
            let Some((bytes, author_share)) = shares_by_author.values_mut().max_by_key(|(bytes, _)| *bytes)
            else {
                break;
            };
            let Some(newest) = author_share.pop() else { break };
            *bytes -= newest.size_estimate();
            total -= newest.size_estimate();
            evicted.insert(newest.id());
        }
        self.with_descendants(&evicted).into_iter().collect()
    }
}

/// The puts of a change, each with the operation that it is.
pub(super) fn ops_of(
    encoded: &EncodedChange,
    chain_id: ChainId,
) -> impl Iterator<Item = (OpRef, &crate::delta::Put)> {
    let delta = encoded.delta();
    (delta.start_op..).zip(&delta.puts).map(move |(counter, put)| (OpRef { counter, chain_id }, put))
}
