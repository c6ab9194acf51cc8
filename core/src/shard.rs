//! One shard of a group's document: its root, its accepted changes, and the state that they make.
//!
//! A group's document is the union of its shards: `desired`, and `observed/<grant>` for every node. A change
//! depends only on changes of its own shard, so shards are loaded, synced, compacted and, after a defect,
//! isolated one by one.

pub mod bucket;
pub mod chain;
pub mod document;
pub mod export;
pub mod graph;
pub mod resource_index;
mod restored;
mod retract;
pub mod root;
pub mod state;
pub mod validate;

use std::collections::{BTreeMap, BTreeSet};

use crate::delta::automerge_codec::{change_id, decode_change};
use crate::delta::{Delta, OpRef};
use crate::id::{ChainId, ChangeId, Digest, GrantId, Incarnation, hash16};
use chain::Chain;
use document::{Document, ShardFault};
use graph::{Graph, NewEntry, VersionVector};
use resource_index::ResourceIndex;
use restored::restoring_command;
pub(crate) use retract::RetractedChange;
use root::ShardRoot;
use state::{VisibleState, VisibleValue};
use validate::{ValidatedChange, ValidationCursor};

/// One shard in memory: its accepted changes.
#[derive(Clone, Debug)]
pub struct Shard {
    root: ShardRoot,
    graph: Graph,
    state: VisibleState,
    document: Document,
    cursor: Option<ValidationCursor>,
    /// The accepted changes that do not count by themselves: accepted changes depend on them.
    dependency_only: BTreeSet<ChangeId>,
    /// The commands of the changes that write earlier values again, see [`restored`].
    restoring_commands: BTreeMap<ChangeId, String>,
    /// `None` if the snapshot had no index that could be read.
    resource_index: Option<ResourceIndex>,
}

impl Shard {
    /// A shard without changes.
    pub fn new(root: ShardRoot) -> Self {
        let (graph, document) = (Graph::new(&root), Document::new(&root));
        let resource_index = Some(ResourceIndex::default());
        Self {
            root,
            graph,
            state: VisibleState::default(),
            document,
            cursor: None,
            dependency_only: BTreeSet::new(),
            restoring_commands: BTreeMap::new(),
            resource_index,
        }
    }

    /// The shard's root.
    pub fn root(&self) -> &ShardRoot {
        &self.root
    }

    /// The history of accepted changes.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The visible value of every key.
    pub fn state(&self) -> &VisibleState {
        &self.state
    }

    /// The Automerge document, as of the last [`Shard::flush`].
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The accepted changes that do not count by themselves, see [`crate::acceptance`]. Providers do not
    /// apply their values.
    pub fn dependency_only(&self) -> &BTreeSet<ChangeId> {
        &self.dependency_only
    }

    pub(crate) fn set_dependency_only(&mut self, change_ids: BTreeSet<ChangeId>) {
        let ops_of = |entry: &graph::GraphEntry| {
            let chain_id = self.graph.chain_of(entry).map(|chain| chain.id);
            chain_id.map(|chain_id| {
                (entry.start_op..=entry.max_op).map(move |counter| OpRef { counter, chain_id })
            })
        };
        let ops = change_ids.iter().filter_map(|id| ops_of(self.graph.get(id)?)).flatten().collect();
        self.state.set_dependency_only(ops);
        self.dependency_only = change_ids;
        self.update_restored_puts();
    }

    /// Finds the values of removed authors that restoring changes brought back. Usually there is no removed
    /// author, and nothing to do.
    fn update_restored_puts(&mut self) {
        if self.dependency_only.is_empty() || self.restoring_commands.is_empty() {
            return self.state.set_restored_puts(BTreeMap::new());
        }
        self.flush();
        self.state.set_restored_puts(self.find_restored_puts());
    }

    /// Isolates the shard after a defect.
    pub(crate) fn isolate(&mut self, description: &str) {
        self.document.isolate_because(&self.root, description);
    }

    /// A chain, to add signatures that were verified.
    pub(crate) fn chain_mut(&mut self, chain_id: &ChainId) -> Option<&mut Chain> {
        self.graph.chain_mut(chain_id)
    }

    /// Rebuilds a shard from a document that [`Document::save`] wrote. `chains` says which grant and
    /// incarnation each chain belongs to. `None` if the document does not hold exactly these chains and
    /// heads.
    pub(crate) fn from_document(
        root: ShardRoot,
        document: Document,
        chains: &[(GrantId, Incarnation, u64)],
        heads: &[ChangeId],
    ) -> Option<Self> {
        let mut graph = Graph::new(&root);
        let mut restoring_commands = BTreeMap::new();
        let authors: BTreeMap<ChainId, (GrantId, Incarnation)> = chains
            .iter()
            .map(|(grant, incarnation, _)| {
                (ChainId::derive(root.group(), root.shard_id(), *grant, *incarnation), (*grant, *incarnation))
            })
            .collect();
        for meta in document.metadata() {
            if meta.id == root.id() {
                continue;
            }
            let author = *authors.get(&meta.chain_id)?;
            restoring_commands.extend(restoring_command(&meta.message).map(|command| (meta.id, command)));
            let (seq, start_op, max_op, time) = (meta.seq, meta.start_op, meta.max_op, meta.time);
            graph.insert(NewEntry { id: meta.id, author, seq, start_op, max_op, time, deps: &meta.deps });
        }
        let is_complete = chains.iter().all(|(grant, incarnation, len)| {
            let chain_id = ChainId::derive(root.group(), root.shard_id(), *grant, *incarnation);
            graph.chain(&chain_id).is_some_and(|chain| chain.len() == *len)
        });
        if !is_complete || graph.heads() != heads || document.heads() != heads {
            return None;
        }
        let mut state = VisibleState::default();
        for (key, visible) in document.read_all(&root)? {
            state.restore_key(key, visible);
        }
        Some(Self {
            root,
            graph,
            state,
            document,
            cursor: None,
            dependency_only: BTreeSet::new(),
            restoring_commands,
            resource_index: None,
        })
    }

    /// Adds a validated change to the shard.
    pub fn apply_change(&mut self, validated: ValidatedChange) {
        let chain_id = validated.delta().chain_id(self.root.group());
        let ops: Vec<(String, OpRef)> = (validated.delta().start_op..)
            .zip(&validated.delta().puts)
            .map(|(counter, put)| (put.key.clone(), OpRef { counter, chain_id }))
            .collect();
        self.advance_cursor(&validated, &ops);
        let id = validated.id();
        let (delta, change) = validated.into_parts();
        self.graph.insert(NewEntry {
            id,
            author: (delta.grant, delta.incarnation),
            seq: delta.seq,
            start_op: delta.start_op,
            max_op: delta.max_op(),
            time: delta.time,
            deps: &delta.deps,
        });
        if let (Some(resource_index), Some(index)) = (&mut self.resource_index, self.graph.index_of(&id)) {
            resource_index.record(index, &delta.puts);
        }
        for (put, (_, op)) in delta.puts.iter().zip(&ops) {
            self.state.apply_put(*op, put);
        }
        let restoring_command = restoring_command(&delta.message);
        let is_restoring = restoring_command.is_some();
        self.restoring_commands.extend(restoring_command.map(|command| (id, command)));
        let was_rebuilding = self.document.is_rebuilding();
        self.document.push(change);
        if was_rebuilding && !self.document.is_rebuilding() {
            // The cursor's base is in the old document, which is gone; the new one is not flushed up to it.
            self.cursor = None;
        }
        if is_restoring || self.state.has_restored_puts() {
            self.update_restored_puts();
        }
    }

    /// The changes that touched each resource; `None` if unknown, see [`Shard::build_resource_index`].
    pub fn resource_index(&self) -> Option<&ResourceIndex> {
        self.resource_index.as_ref()
    }

    pub(crate) fn set_resource_index(&mut self, resource_index: Option<ResourceIndex>) {
        self.resource_index = resource_index;
    }

    /// Builds the resource index if it is missing. Takes about 10 µs a change. The document must be flushed.
    pub fn build_resource_index(&mut self) {
        if self.resource_index.is_some() || self.document.fault().is_some() {
            return;
        }
        let indexed_puts = |(id, delta): (ChangeId, Delta)| Some((self.graph.index_of(&id)?, delta.puts));
        let mut all: Vec<_> =
            self.iter_deltas_after(&VersionVector::default()).filter_map(indexed_puts).collect();
        all.sort_unstable_by_key(|(index, _)| *index);
        let mut resource_index = ResourceIndex::default();
        all.iter().for_each(|(index, puts)| resource_index.record(*index, puts));
        // A change that cannot be read may touch any resource, so then there is no index.
        self.resource_index = (all.len() == self.graph.len()).then_some(resource_index);
    }

    /// Brings the Automerge document up to date. Call it before anything reads the document.
    pub fn flush(&mut self) {
        self.document.flush(&self.root);
    }

    /// Reads a change from the document, as a delta. `None` if the document has no change with this hash.
    pub fn read_delta(&self, id: &ChangeId) -> Option<Delta> {
        let chain = self.graph.chain_of(self.graph.get(id)?)?;
        let change = self.document.change(id).filter(|change| change_id(change) == *id)?;
        decode_change(&change, self.root.shard_id(), (chain.grant, chain.incarnation))
    }

    /// The deltas of all changes that are not in `known`, each after its dependencies.
    pub fn deltas_after(&self, known: &VersionVector) -> Vec<(ChangeId, Delta)> {
        self.iter_deltas_after(known).collect()
    }

    /// [`Shard::deltas_after`], one at a time, for callers that keep only a part of each.
    pub(crate) fn iter_deltas_after(&self, known: &VersionVector) -> impl Iterator<Item = (ChangeId, Delta)> {
        let changes = self.document.changes_after(&self.graph.heads_of_version(known));
        changes.into_iter().filter_map(|change| {
            let id = change_id(&change);
            let chain = self.graph.chain_of(self.graph.get(&id)?)?;
            let author = (chain.grant, chain.incarnation);
            Some((id, decode_change(&change, self.root.shard_id(), author)?))
        })
    }

    /// The visible values of `key` at these heads, the winner last. An error means that the document has a
    /// defect.
    pub fn visible_at(&self, key: &str, heads: &[ChangeId]) -> Result<Vec<VisibleValue>, ShardFault> {
        if heads == self.graph.heads() {
            return Ok(self.state.get(key).to_vec());
        }
        self.document.visible_at(&self.root, key, heads)
    }

    /// [`Shard::visible_at`] for many keys, in any order, without those that had no value. Walks the whole
    /// history once.
    pub(crate) fn visible_at_bulk(
        &self,
        keys: &BTreeSet<&str>,
        heads: &[ChangeId],
    ) -> Result<Vec<(String, Vec<VisibleValue>)>, ShardFault> {
        self.document.visible_at_bulk(&self.root, keys, heads)
    }
}

/// The digest of a set of changes, given its sorted heads. Equal digests mean equal sets.
pub(crate) fn digest_of_heads<'a>(heads: impl IntoIterator<Item = &'a ChangeId>) -> Digest {
    let parts: Vec<&[u8]> = heads.into_iter().map(AsRef::as_ref).collect();
    Digest(hash16("larder 1 shard digest", &parts))
}
