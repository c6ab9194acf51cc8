//! Valid changes that are not accepted: the losing branches of forks with what depends on them, changes that
//! a frontier names as evidence, and this node's quarantine.
//!
//! ```text
//!   shard (accepted)          unaccepted
//!   r - 1 - 2 - 3 - 4          2' - 3'        replicated: compared and passed on, not shown
//!           ^                  |
//!           +------------------+              an unaccepted change may depend on any valid one,
//!                                             an accepted change only on accepted ones
//!                              9'             local: in the quarantine of this node alone, bounded
//! ```
//!
//! Chains branch here, so each change has its own proof: its chain hash, and the end proof that covers it.

use std::collections::{BTreeMap, BTreeSet};

use crate::acceptance::Candidate;
use crate::delta::encoded_change::EncodedChange;
use crate::delta::{Delta, OpRef, Put};
use crate::id::{ChainId, ChangeId, NodeId};
use crate::limits;
use crate::shard::chain::{ChainHash, EndProof};

/// A valid change that is not accepted.
#[derive(Clone, Debug)]
pub struct UnacceptedChange {
    /// The change with its encoded form.
    pub(super) encoded: EncodedChange,
    /// The change's chain.
    pub chain_id: ChainId,
    /// The key of the node that wrote the change.
    pub author: NodeId,
    /// The hash of the change's chain up to it.
    pub(super) chain_hash: ChainHash,
    /// The proof that the author signed the chain up to the change.
    pub(super) end_proof: EndProof,
    /// The length of the longest path from the change to the root.
    pub(super) depth: u32,
    /// True if members pass the change on; else it is in quarantine.
    pub is_replicated: bool,
}

impl UnacceptedChange {
    /// The change's hash.
    pub fn id(&self) -> ChangeId {
        self.encoded.id()
    }

    /// The change as a delta.
    pub fn delta(&self) -> &Delta {
        self.encoded.delta()
    }

    /// True if this is the author's change before `next`.
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

    /// The change's puts, each with its operation.
    pub(super) fn ops(&self) -> impl Iterator<Item = (OpRef, &Put)> {
        let (delta, chain_id) = (self.delta(), self.chain_id);
        (delta.start_op..).zip(&delta.puts).map(move |(counter, put)| (OpRef { counter, chain_id }, put))
    }

    /// Roughly the bytes that the change takes in memory.
    fn size_estimate(&self) -> usize {
        // The delta, its Automerge change, and the structures around them.
        3 * self.encoded.bytes().len() + 512
    }
}

/// The unaccepted changes of one shard.
#[derive(Clone, Debug, Default)]
pub struct UnacceptedSet {
    changes: BTreeMap<ChangeId, UnacceptedChange>,
    /// The number of changes that came since acceptance was last computed.
    unevaluated_count: usize,
}

impl UnacceptedSet {
    /// True if the set is empty.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// All changes, by id.
    pub fn iter(&self) -> impl Iterator<Item = &UnacceptedChange> {
        self.changes.values()
    }

    /// The change with this id.
    pub fn get(&self, id: &ChangeId) -> Option<&UnacceptedChange> {
        self.changes.get(id)
    }

    pub(super) fn contains(&self, id: &ChangeId) -> bool {
        self.changes.contains_key(id)
    }

    /// The number of changes that came since acceptance was last computed.
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

    /// Sets which changes members pass on, after acceptance was computed. Returns those that members pass on
    /// from now on.
    pub(super) fn mark_replicated(&mut self, is_replicated: impl Fn(&ChangeId) -> bool) -> Vec<ChangeId> {
        self.unevaluated_count = 0;
        let mut newly_replicated = Vec::new();
        for (id, change) in &mut self.changes {
            let is_replicated_now = is_replicated(id);
            if is_replicated_now && !change.is_replicated {
                newly_replicated.push(*id);
            }
            change.is_replicated = is_replicated_now;
        }
        newly_replicated
    }

    /// True if the set holds changes of this chain.
    pub(super) fn contains_chain(&self, chain_id: &ChainId) -> bool {
        self.changes.values().any(|change| change.chain_id == *chain_id)
    }

    /// True if some chain has so many branches here that acceptance may have dropped weak ones.
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

    /// The bytes that the changes in quarantine take in memory.
    pub(super) fn local_only_bytes(&self) -> usize {
        self.iter().filter(|change| !change.is_replicated).map(UnacceptedChange::size_estimate).sum()
    }

    /// The changes that members pass on, each after its dependencies.
    pub(super) fn replicated(&self) -> Vec<&UnacceptedChange> {
        let mut replicated: Vec<&UnacceptedChange> =
            self.iter().filter(|change| change.is_replicated).collect();
        replicated.sort_by_key(|change| (change.depth, change.id()));
        replicated
    }

    /// The tips of the replicated branches, by chain.
    pub(super) fn branch_tips(&self) -> BTreeMap<ChainId, Vec<&UnacceptedChange>> {
        let mut tips: BTreeMap<ChainId, Vec<&UnacceptedChange>> = BTreeMap::new();
        for change in self.replicated() {
            let tips = tips.entry(change.chain_id).or_default();
            tips.retain(|tip| !tip.is_previous_of(change));
            tips.push(change);
        }
        tips
    }

    /// A change and the earlier changes of its chain that are in the set, newest first.
    pub(super) fn chain_back_from(&self, id: ChangeId) -> impl Iterator<Item = &UnacceptedChange> {
        std::iter::successors(self.get(&id), |change| self.previous_in_chain(change))
    }

    /// The author's change before this one, if it is in the set.
    pub(super) fn previous_in_chain(&self, change: &UnacceptedChange) -> Option<&UnacceptedChange> {
        change.delta().deps.iter().filter_map(|dep| self.get(dep)).find(|dep| dep.is_previous_of(change))
    }

    /// These changes and all that depend on them.
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

    /// The changes to drop so that the quarantine takes at most `limit` bytes. The newest change of the key
    /// with the most bytes goes first, so every change that stays has its dependencies.
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
