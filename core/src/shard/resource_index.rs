//! Which changes touched a resource: a side index of a shard, so that nobody has to read contents to find them.
//!
//! It says nothing that the history does not say, and is made anew where it is missing.
//!
//! ```text
//! index     group [16] | epoch [16]      IndexRow { version u8, checksum [32], body }
//! body      heads, sorted | per resource, in order of name: its key, and the ordinals of the changes, each less the last
//! ordinal   the changes of all chains counted through, chains in order of actor, each from its first change
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::graph::{Graph, GraphEntry};
use crate::codec::{checksum, decode_layout, encode_layout};
use crate::delta::Put;
use crate::id::ChangeId;

/// The changes of a shard by what they touched, in the order in which they were let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceIndex {
    by_resource: BTreeMap<String, Vec<u32>>,
}

/// What a key belongs to: all of a resource's keys begin with its name.
fn resource_of(key: &str) -> &str {
    key.split_once(' ').map_or(key, |(resource, _)| resource)
}

impl ResourceIndex {
    /// Notes a change that was let in at this place.
    pub(super) fn record(&mut self, index: u32, puts: &[Put]) {
        let resources: BTreeSet<&str> = puts.iter().map(|put| resource_of(&put.key)).collect();
        for resource in resources {
            match self.by_resource.get_mut(resource) {
                Some(indexes) => indexes.push(index),
                None => drop(self.by_resource.insert(resource.to_owned(), vec![index])),
            }
        }
    }

    /// The places, in the graph of the shard, of the changes that touched a resource, each after what it builds on.
    pub(crate) fn changes_of(&self, resource: &str) -> &[u32] {
        self.by_resource.get(resource).map_or(&[], Vec::as_slice)
    }

    /// The same for another graph, to which some of the changes may not belong.
    pub(super) fn remapped(&self, old_graph: &Graph, new_graph: &Graph) -> Self {
        let new_index = |old_index: &u32| new_graph.index_of(&old_graph.entry_at(*old_index)?.id);
        let remapped = self.by_resource.iter().map(|(resource, indexes)| {
            let mut indexes: Vec<u32> = indexes.iter().filter_map(new_index).collect();
            indexes.sort_unstable();
            (resource.clone(), indexes)
        });
        Self { by_resource: remapped.filter(|(_, indexes)| !indexes.is_empty()).collect() }
    }

    /// Writes it down.
    pub(crate) fn to_row(&self, graph: &Graph) -> ResourceIndexRow {
        let firsts = first_ordinals(graph);
        let ordinal = |entry: &GraphEntry| Some(firsts.get(&graph.chain_of(entry)?.id)? + entry.seq - 1);
        let ordinal_steps = self.by_resource.iter().map(|(resource, indexes)| {
            let entries = indexes.iter().filter_map(|index| graph.entry_at(*index));
            let ordinals: BTreeSet<u64> = entries.filter_map(ordinal).collect();
            let steps =
                ordinals.iter().scan(0, |last, ordinal| Some(*ordinal - std::mem::replace(last, *ordinal)));
            (resource.clone(), steps.collect())
        });
        let body = ResourceIndexBody { heads: graph.heads(), ordinal_steps: ordinal_steps.collect() };
        let body = encode_layout(&body);
        ResourceIndexRow { version: INDEX_LAYOUT_VERSION, checksum: checksum(INDEX_CONTEXT, &body), body }
    }

    /// Reads what was written down; `None` if it is not sound, or is that of another history.
    pub(crate) fn from_row(row: &ResourceIndexRow, graph: &Graph) -> Option<Self> {
        let is_intact =
            row.version == INDEX_LAYOUT_VERSION && checksum(INDEX_CONTEXT, &row.body) == row.checksum;
        let body: ResourceIndexBody = decode_layout(&row.body)
            .filter(|body: &ResourceIndexBody| is_intact && body.heads == graph.heads())?;
        let mut indexes: Vec<u32> = Vec::with_capacity(graph.len());
        let mut chains: Vec<_> = graph.chains().collect();
        chains.sort_by_key(|chain| chain.id);
        for chain in chains {
            for seq in 1..=chain.len() {
                indexes.push(graph.index_of(&graph.entry_in_chain(chain, seq)?.id)?);
            }
        }
        let mut by_resource = BTreeMap::new();
        for (resource, steps) in body.ordinal_steps {
            let ordinals = steps.iter().scan(0u64, |last, step| {
                *last = last.checked_add(*step)?;
                Some(*last)
            });
            let index_of = |ordinal: u64| indexes.get(usize::try_from(ordinal).ok()?).copied();
            let mut resource_indexes = ordinals.map(index_of).collect::<Option<Vec<u32>>>()?;
            resource_indexes.sort_unstable();
            by_resource.insert(resource, resource_indexes);
        }
        Some(Self { by_resource })
    }
}

/// How many changes stand before those of each chain.
fn first_ordinals(graph: &Graph) -> BTreeMap<crate::id::ChainId, u64> {
    let mut chains: Vec<_> = graph.chains().map(|chain| (chain.id, chain.len())).collect();
    chains.sort_unstable();
    let mut next = 0;
    let first = |(chain_id, len)| {
        let first = next;
        next += len;
        (chain_id, first)
    };
    chains.into_iter().map(first).collect()
}

/// The version of the index's layout that this code reads and writes.
const INDEX_LAYOUT_VERSION: u8 = 1;
/// The hash context of a resource index's checksum.
const INDEX_CONTEXT: &str = "larder 1 index";

/// The index of a shard, written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceIndexRow {
    /// Layout version.
    pub version: u8,
    /// BLAKE3 of all that follows.
    pub checksum: [u8; 32],
    /// What is drawn above, in postcard.
    pub body: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ResourceIndexBody {
    heads: Vec<ChangeId>,
    ordinal_steps: Vec<(String, Vec<u64>)>,
}
