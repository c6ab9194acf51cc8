//! The accepted changes of a shard as a graph: which there are, who wrote them, and what each depends on.
//!
//! The graph answers every question about causality, in about 100 bytes a change; contents stay in the
//! Automerge document. The changes of an author form a chain, and each depends on the one before it. So a set
//! of changes that includes all its ancestors is described by how far it reaches into each chain: a
//! [`VersionVector`].

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{Chain, EndProof};
use super::root::ShardRoot;
use crate::delta::OpRef;
use crate::id::{ChainId, ChangeId, GrantId, GroupId, Incarnation, ShardId};
use crate::limits;

/// How far a set of changes that includes its ancestors reaches into each chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionVector(BTreeMap<u32, u64>);

impl VersionVector {
    fn seq_of(&self, chain_index: u32) -> u64 {
        self.0.get(&chain_index).copied().unwrap_or(0)
    }

    fn raise(&mut self, chain_index: u32, seq: u64) {
        let seq_here = self.0.entry(chain_index).or_default();
        *seq_here = (*seq_here).max(seq);
    }

    fn merge(&mut self, other: &Self) {
        for (&chain_index, &seq) in &other.0 {
            self.raise(chain_index, seq);
        }
    }

    /// The changes that are in both sets.
    pub fn intersect(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .map(|(&chain_index, &seq)| (chain_index, seq.min(other.seq_of(chain_index))))
                .filter(|(_, seq)| *seq > 0)
                .collect(),
        )
    }
}

/// One change in the graph, without its contents.
#[derive(Clone, Debug)]
pub struct GraphEntry {
    /// The change's hash.
    pub id: ChangeId,
    /// The sequence number in the chain, from 1; 0 for the root.
    pub seq: u64,
    /// The counter of the first operation.
    pub start_op: u64,
    /// The counter of the last operation; one less than `start_op` if there is none.
    pub max_op: u64,
    /// The length of the longest path to the root. Sorting by it puts every change after its dependencies.
    pub depth: u32,
    /// The time by the author's clock, in seconds since 1970.
    pub time: i64,
    chain_index: u32,
    dep_indexes: Box<[u32]>,
}

impl GraphEntry {
    /// The dependencies, as indexes in the order of arrival: 0 is the root, 1 the first of [`Graph::iter`].
    pub(crate) fn dep_indexes(&self) -> &[u32] {
        &self.dep_indexes
    }
}

/// A change to be inserted into a graph.
pub(super) struct NewEntry<'a> {
    pub(super) id: ChangeId,
    pub(super) author: (GrantId, Incarnation),
    pub(super) seq: u64,
    pub(super) start_op: u64,
    pub(super) max_op: u64,
    pub(super) time: i64,
    pub(super) deps: &'a [ChangeId],
}

/// The accepted changes of one shard.
#[derive(Clone, Debug)]
pub struct Graph {
    group: GroupId,
    shard_id: ShardId,
    entries: Vec<GraphEntry>,
    index_by_id: BTreeMap<ChangeId, u32>,
    chains: Vec<Chain>,
    chain_index_by_id: BTreeMap<ChainId, u32>,
    heads: BTreeSet<ChangeId>,
    /// The version at every [`VERSION_CACHE_INTERVAL`]th change of each chain, so that no walk is long.
    cached_versions: BTreeMap<(u32, u64), VersionVector>,
}

/// The number of changes of a chain between two cached versions.
const VERSION_CACHE_INTERVAL: u64 = 64;

impl Graph {
    /// The graph that holds only a root.
    pub fn new(root: &ShardRoot) -> Self {
        let entry = GraphEntry {
            id: root.id(),
            seq: 0,
            start_op: 1,
            max_op: root.max_op(),
            depth: 0,
            time: 0,
            chain_index: u32::MAX,
            dep_indexes: Box::default(),
        };
        Self {
            group: root.group(),
            shard_id: root.shard_id(),
            entries: vec![entry],
            index_by_id: BTreeMap::from([(root.id(), 0)]),
            chains: Vec::new(),
            chain_index_by_id: BTreeMap::new(),
            heads: BTreeSet::from([root.id()]),
            cached_versions: BTreeMap::new(),
        }
    }

    /// Adds a validated change: its dependencies and its author's previous change are in the graph.
    pub(super) fn insert(&mut self, new_entry: NewEntry<'_>) {
        let NewEntry { id, author, seq, start_op, max_op, time, deps } = new_entry;
        let dep_indexes: Vec<u32> =
            deps.iter().filter_map(|dep| self.index_by_id.get(dep).copied()).collect();
        let depth = dep_indexes.iter().filter_map(|&dep| self.entry_at(dep)).map(|dep| dep.depth).max();
        let depth = depth.unwrap_or(0).saturating_add(1);
        let chain_index = self.ensure_chain(author);
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let boxed_deps = dep_indexes.into_boxed_slice();
        self.entries.push(GraphEntry {
            id,
            seq,
            start_op,
            max_op,
            depth,
            time,
            chain_index,
            dep_indexes: boxed_deps,
        });
        self.index_by_id.insert(id, index);
        if let Some(chain) = self.chains.get_mut(chain_index as usize) {
            chain.push(index, id);
        }
        for dep in deps {
            self.heads.remove(dep);
        }
        self.heads.insert(id);
        if seq.is_multiple_of(VERSION_CACHE_INTERVAL) {
            let version = self.version_from_indexes(vec![index]);
            self.cached_versions.insert((chain_index, seq), version);
        }
    }

    fn ensure_chain(&mut self, author: (GrantId, Incarnation)) -> u32 {
        let chain_id = ChainId::derive(self.group, self.shard_id, author.0, author.1);
        if let Some(&chain_index) = self.chain_index_by_id.get(&chain_id) {
            return chain_index;
        }
        let chain_index = u32::try_from(self.chains.len()).unwrap_or(u32::MAX);
        self.chains.push(Chain::new(self.group, self.shard_id, author));
        self.chain_index_by_id.insert(chain_id, chain_index);
        chain_index
    }

    /// The change at an index in the order of arrival.
    pub(crate) fn entry_at(&self, index: u32) -> Option<&GraphEntry> {
        self.entries.get(index as usize)
    }

    /// The index of a change in the order of arrival.
    pub(crate) fn index_of(&self, id: &ChangeId) -> Option<u32> {
        self.index_by_id.get(id).copied()
    }

    /// The change with this id.
    pub fn get(&self, id: &ChangeId) -> Option<&GraphEntry> {
        self.index_by_id.get(id).and_then(|&index| self.entry_at(index))
    }

    /// True if the change is in the graph. The root is.
    pub fn contains(&self, id: &ChangeId) -> bool {
        self.index_by_id.contains_key(id)
    }

    /// The number of changes without the root.
    pub fn len(&self) -> usize {
        self.entries.len() - 1
    }

    /// True if the graph holds only the root.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The changes that no other change depends on, sorted; only the root if there is no change.
    pub fn heads(&self) -> Vec<ChangeId> {
        self.heads.iter().copied().collect()
    }

    /// All changes without the root, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = &GraphEntry> {
        self.entries.iter().skip(1)
    }

    /// The ids that begin with these hex digits, without the root.
    pub fn ids_with_prefix(&self, prefix: &str) -> Vec<ChangeId> {
        let padded: String = prefix.chars().chain(std::iter::repeat('0')).take(64).collect();
        let Some(from) = ChangeId::parse(&padded) else { return Vec::new() };
        let prefix = prefix.to_ascii_lowercase();
        self.index_by_id
            .range(from..)
            .map(|(id, index)| (*id, *index))
            .take_while(|(id, _)| id.to_string().starts_with(&prefix))
            .filter(|(_, index)| *index != 0)
            .map(|(id, _)| id)
            .collect()
    }

    /// The dependencies of a change.
    pub fn deps(&self, entry: &GraphEntry) -> impl Iterator<Item = &GraphEntry> {
        entry.dep_indexes.iter().filter_map(|&dep| self.entry_at(dep))
    }

    /// The chain a change belongs to; `None` for the root.
    pub fn chain_of(&self, entry: &GraphEntry) -> Option<&Chain> {
        self.chains.get(entry.chain_index as usize)
    }

    /// The chain with this id.
    pub fn chain(&self, chain_id: &ChainId) -> Option<&Chain> {
        self.chain_index_by_id.get(chain_id).and_then(|&chain_index| self.chains.get(chain_index as usize))
    }

    pub(super) fn chain_mut(&mut self, chain_id: &ChainId) -> Option<&mut Chain> {
        self.chain_index_by_id
            .get(chain_id)
            .and_then(|&chain_index| self.chains.get_mut(chain_index as usize))
    }

    /// All chains, by chain id.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chain_index_by_id.values().filter_map(|&chain_index| self.chains.get(chain_index as usize))
    }

    /// The change at `seq` of a chain.
    pub fn entry_in_chain(&self, chain: &Chain, seq: u64) -> Option<&GraphEntry> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        chain.entry_indexes.get(index).and_then(|&entry_index| self.entry_at(entry_index))
    }

    /// The proof of a chain up to `seq`: the next signature at or after it, and the hashes that lead to it.
    pub(crate) fn end_proof_at(&self, chain: &Chain, seq: u64) -> Option<EndProof> {
        let next_checkpoint = seq.next_multiple_of(limits::CHECKPOINT_INTERVAL);
        let ids_upto =
            |upto: u64| (seq + 1..=upto).filter_map(|seq| Some(self.entry_in_chain(chain, seq)?.id));
        if let Some(signature) = chain.checkpoint_at(next_checkpoint) {
            return Some(EndProof { ids_ahead: ids_upto(next_checkpoint).collect(), signature: *signature });
        }
        let end_proof = chain.end_proof()?;
        let ahead = ids_upto(chain.len()).chain(end_proof.ids_ahead.iter().copied()).collect();
        Some(EndProof { ids_ahead: ahead, signature: end_proof.signature })
    }

    /// The change that contains an operation.
    pub fn entry_of_op(&self, op: &OpRef) -> Option<&GraphEntry> {
        let chain = self.chain(&op.chain_id)?;
        let index = chain.entry_indexes.partition_point(|&entry_index| {
            self.entry_at(entry_index).is_some_and(|entry| entry.max_op < op.counter)
        });
        let entry = chain.entry_indexes.get(index).and_then(|&entry_index| self.entry_at(entry_index))?;
        (entry.start_op..=entry.max_op).contains(&op.counter).then_some(entry)
    }

    /// The set of these changes and all their ancestors.
    pub fn version_of<'a>(&self, changes: impl IntoIterator<Item = &'a ChangeId>) -> VersionVector {
        self.version_from_indexes(
            changes.into_iter().filter_map(|id| self.index_by_id.get(id).copied()).collect(),
        )
    }

    /// The set of all ancestors of these changes. A change itself is in the set only if it is an ancestor of
    /// another.
    pub fn version_below<'a>(&self, changes: impl IntoIterator<Item = &'a ChangeId>) -> VersionVector {
        let entries = changes.into_iter().filter_map(|id| self.get(id));
        self.version_from_indexes(entries.flat_map(|entry| entry.dep_indexes.iter().copied()).collect())
    }

    fn version_from_indexes(&self, mut queue: Vec<u32>) -> VersionVector {
        let mut version = VersionVector::default();
        while let Some(index) = queue.pop() {
            let Some(entry) = self.entry_at(index) else { continue };
            let Some(chain) = self.chains.get(entry.chain_index as usize) else { continue };
            let seq_before = version.seq_of(entry.chain_index);
            let mut seq = entry.seq;
            version.raise(entry.chain_index, seq);
            while seq > seq_before {
                if let Some(cached) = self.cached_versions.get(&(entry.chain_index, seq)) {
                    version.merge(cached);
                    break;
                }
                if let Some(entry) = self.entry_in_chain(chain, seq) {
                    queue.extend(entry.dep_indexes.iter().copied());
                }
                seq -= 1;
            }
        }
        version
    }

    /// True if the set contains this change. Every set contains the root.
    pub fn version_contains(&self, version: &VersionVector, entry: &GraphEntry) -> bool {
        version.seq_of(entry.chain_index) >= entry.seq
    }

    /// How far a set reaches into a chain.
    pub fn seq_in_version(&self, version: &VersionVector, chain_id: &ChainId) -> u64 {
        self.chain_index_by_id.get(chain_id).map_or(0, |&chain_index| version.seq_of(chain_index))
    }

    /// The set that reaches this far into these chains. The caller makes sure that it includes all ancestors.
    pub fn version_from_seqs(&self, seqs: impl IntoIterator<Item = (ChainId, u64)>) -> VersionVector {
        let mut version = VersionVector::default();
        for (chain_id, seq) in seqs {
            if let Some(&chain_index) = self.chain_index_by_id.get(&chain_id) {
                let len = self.chains.get(chain_index as usize).map_or(0, Chain::len);
                version.raise(chain_index, seq.min(len));
            }
        }
        version.0.retain(|_, seq| *seq > 0);
        version
    }

    /// The changes of a set that no other change of the set depends on, sorted; the root if the set is empty.
    pub fn heads_of_version(&self, version: &VersionVector) -> Vec<ChangeId> {
        let tips: Vec<&GraphEntry> = version
            .0
            .iter()
            .filter_map(|(&chain_index, &seq)| {
                self.entry_in_chain(self.chains.get(chain_index as usize)?, seq)
            })
            .collect();
        let below =
            self.version_from_indexes(tips.iter().flat_map(|tip| tip.dep_indexes.iter().copied()).collect());
        let mut heads: Vec<_> =
            tips.iter().filter(|tip| !self.version_contains(&below, tip)).map(|tip| tip.id).collect();
        if heads.is_empty() {
            heads.extend(self.entry_at(0).map(|root| root.id));
        }
        heads.sort_unstable();
        heads
    }

    /// The changes that are in `newer` and not in `older`, each after its dependencies.
    pub fn entries_between(&self, older: &VersionVector, newer: &VersionVector) -> Vec<&GraphEntry> {
        let mut entries = Vec::new();
        for (&chain_index, &upto) in &newer.0 {
            let Some(chain) = self.chains.get(chain_index as usize) else { continue };
            entries.extend(
                (older.seq_of(chain_index) + 1..=upto).filter_map(|seq| self.entry_in_chain(chain, seq)),
            );
        }
        entries.sort_unstable_by_key(|entry| (entry.depth, entry.id));
        entries
    }

    /// Those of these changes that are in the graph, each before its dependencies.
    pub(crate) fn newest_first(&self, ids: &BTreeSet<ChangeId>) -> Vec<ChangeId> {
        let mut entries: Vec<&GraphEntry> = ids.iter().filter_map(|id| self.get(id)).collect();
        entries.sort_unstable_by_key(|entry| (std::cmp::Reverse(entry.depth), entry.id));
        entries.into_iter().map(|entry| entry.id).collect()
    }

    /// True if `older` is among the ancestors of `newer`.
    pub fn is_ancestor(&self, older: &GraphEntry, newer: &GraphEntry) -> bool {
        older.id != newer.id
            && older.depth < newer.depth
            && self.version_contains(&self.version_of([&newer.id]), older)
    }
}
