//! The index of a shard by resource: which changes touched it. With it, the history of one resource can be
//! listed without reading the contents of all changes.
//!
//! The index follows from the history alone, and is built again where it is missing.
//!
//! ```text
//! row       group [16] | shard [16]      ResourceIndexRow { version u8, checksum [32], body }
//! body      heads, sorted | per resource, by name: its key, the ordinals of its changes as differences
//! ordinal   the changes of all chains numbered through: chains by chain id, each from its first change
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::graph::{Graph, GraphEntry};
use crate::codec::{checksum, decode_layout, encode_layout};
use crate::delta::Put;
use crate::id::ChangeId;

/// The changes of a shard by the resources that they touched, in the order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceIndex {
    by_resource: BTreeMap<String, Vec<u32>>,
}

/// The resource that a key belongs to: the part before the first space.
fn resource_of(key: &str) -> &str {
    key.split_once(' ').map_or(key, |(resource, _)| resource)
}

impl ResourceIndex {
    /// Adds the change with this index in the graph.
    pub(super) fn record(&mut self, index: u32, puts: &[Put]) {
        let resources: BTreeSet<&str> = puts.iter().map(|put| resource_of(&put.key)).collect();
        for resource in resources {
            match self.by_resource.get_mut(resource) {
                Some(indexes) => indexes.push(index),
                None => drop(self.by_resource.insert(resource.to_owned(), vec![index])),
            }
        }
    }

    /// The graph indexes of the changes that touched a resource, each after its dependencies.
    pub(crate) fn changes_of(&self, resource: &str) -> &[u32] {
        self.by_resource.get(resource).map_or(&[], Vec::as_slice)
    }

    /// The index for another graph, which lacks some of the changes.
    pub(super) fn remapped(&self, old_graph: &Graph, new_graph: &Graph) -> Self {
        let new_index = |old_index: &u32| new_graph.index_of(&old_graph.entry_at(*old_index)?.id);
        let remapped = self.by_resource.iter().map(|(resource, indexes)| {
            let mut indexes: Vec<u32> = indexes.iter().filter_map(new_index).collect();
            indexes.sort_unstable();
            (resource.clone(), indexes)
        });
        Self { by_resource: remapped.filter(|(_, indexes)| !indexes.is_empty()).collect() }
    }

    /// Encodes the index as a row.
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

    /// Decodes a row; `None` if it is damaged, or was written for other heads.
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

/// The ordinal of the first change of each chain.
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

/// The stored index of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceIndexRow {
    /// The version of the row's layout.
    pub version: u8,
    /// The BLAKE3 checksum of the body.
    pub checksum: [u8; 32],
    /// The body as drawn above, in postcard.
    pub body: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ResourceIndexBody {
    heads: Vec<ChangeId>,
    ordinal_steps: Vec<(String, Vec<u64>)>,
}
