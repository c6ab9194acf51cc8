//! Retracting changes: removing accepted changes from a shard, after a record ended their grant or a fork was
//! decided against them.
//!
//! The retracted changes are always the upper part of the history, so the state without them can be read at
//! the heads of what stays. Graph and visible state are right at once. The Automerge document is rebuilt
//! slice by slice; the old one answers until that is done.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use super::chain::{ChainHash, EndProof, first_chain_hash, next_chain_hash};
use super::graph::{Graph, GraphEntry, NewEntry};
use crate::delta::Delta;
use crate::id::{ChainId, ChangeId};

/// A retracted change with its proof.
#[derive(Clone, Debug)]
pub(crate) struct RetractedChange {
    pub(crate) delta: Delta,
    pub(crate) chain_id: ChainId,
    pub(crate) chain_hash: ChainHash,
    pub(crate) end_proof: EndProof,
    pub(crate) depth: u32,
}

impl Shard {
    /// Retracts these changes; no other accepted change depends on them. Returns them, each after its
    /// dependencies. If the document cannot be read, the shard is isolated and nothing is returned.
    pub(crate) fn retract(&mut self, retracted_ids: &BTreeSet<ChangeId>) -> Vec<RetractedChange> {
        self.document.flush_all(&self.root);
        let Some(retracted) = self.read_retracted(retracted_ids) else {
            self.document.isolate_because(&self.root, "changes to be retracted cannot be read");
            return Vec::new();
        };
        let graph = self.graph_without(retracted_ids);
        let keys: BTreeSet<&str> =
            retracted.iter().flat_map(|change| &change.delta.puts).map(|put| put.key.as_str()).collect();
        let heads = graph.heads();
        for key in keys {
            match self.document.visible_at(&self.root, key, &heads) {
                Ok(visible) => self.state.replace_key(key, visible),
                Err(fault) => {
                    self.document.isolate(fault);
                    return Vec::new();
                }
            }
        }
        self.resource_index =
            self.resource_index.as_ref().map(|resource_index| resource_index.remapped(&self.graph, &graph));
        self.graph = graph;
        self.restoring_commands.retain(|change, _| !retracted_ids.contains(change));
        self.cursor = None;
        self.document.rebuild_without(retracted_ids);
        retracted
    }

    fn read_retracted(&self, retracted_ids: &BTreeSet<ChangeId>) -> Option<Vec<RetractedChange>> {
        let mut chain_hashes: BTreeMap<ChainId, Vec<ChainHash>> = BTreeMap::new();
        let read_entry = |entry: &GraphEntry| {
            let chain = self.graph.chain_of(entry)?;
            let chain_hashes = chain_hashes.entry(chain.id).or_insert_with(|| {
                let first = first_chain_hash(self.root.group(), self.root.shard_id(), chain.id);
                let ids = (1..=chain.len()).filter_map(|seq| Some(self.graph.entry_in_chain(chain, seq)?.id));
                ids.scan(first, |chain_hash, id| {
                    *chain_hash = next_chain_hash(chain_hash, id);
                    Some(*chain_hash)
                })
                .collect()
            });
            Some(RetractedChange {
                delta: self.read_delta(&entry.id)?,
                chain_id: chain.id,
                chain_hash: *chain_hashes.get(usize::try_from(entry.seq).ok()?.checked_sub(1)?)?,
                end_proof: self.graph.end_proof_at(chain, entry.seq)?,
                depth: entry.depth,
            })
        };
        let mut entries: Vec<&GraphEntry> =
            retracted_ids.iter().filter_map(|id| self.graph.get(id)).collect();
        entries.sort_unstable_by_key(|entry| (entry.depth, entry.id));
        entries.into_iter().map(read_entry).collect()
    }

    fn graph_without(&self, retracted_ids: &BTreeSet<ChangeId>) -> Graph {
        let mut graph = Graph::new(&self.root);
        for entry in self.graph.iter().filter(|entry| !retracted_ids.contains(&entry.id)) {
            let Some(chain) = self.graph.chain_of(entry) else { continue };
            let deps: Vec<ChangeId> = self.graph.deps(entry).map(|dep| dep.id).collect();
            graph.insert(NewEntry {
                id: entry.id,
                author: (chain.grant, chain.incarnation),
                seq: entry.seq,
                start_op: entry.start_op,
                max_op: entry.max_op,
                time: entry.time,
                deps: &deps,
            });
        }
        for old_chain in self.graph.chains() {
            let Some(chain) = graph.chain_mut(&old_chain.id) else { continue };
            let end_proof = self.graph.end_proof_at(old_chain, chain.len());
            chain.copy_proofs_from(old_chain, end_proof);
        }
        graph
    }
}
