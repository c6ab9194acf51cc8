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

use super::graph::{Entry, Graph};
use crate::delta::Put;
use crate::id::ChangeId;
use crate::store::{LAYOUT, layout, write_layout};

/// The changes of a shard by what they touched, in the order in which they were let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    by_resource: BTreeMap<String, Vec<u32>>,
}

/// What a key belongs to: all of a resource's keys begin with its name.
fn resource_of(key: &str) -> &str {
    key.split_once(' ').map_or(key, |(resource, _)| resource)
}

impl Touched {
    /// Notes a change that was let in at this place.
    pub(super) fn note(&mut self, place: u32, puts: &[Put]) {
        let resources: BTreeSet<&str> = puts.iter().map(|put| resource_of(&put.key)).collect();
        for resource in resources {
            match self.by_resource.get_mut(resource) {
                Some(places) => places.push(place),
                None => drop(self.by_resource.insert(resource.to_owned(), vec![place])),
            }
        }
    }

    /// The places, in the graph of the shard, of the changes that touched a resource, each after what it builds on.
    pub(crate) fn of(&self, resource: &str) -> &[u32] {
        self.by_resource.get(resource).map_or(&[], Vec::as_slice)
    }

    /// The same for another graph, to which some of the changes may not belong.
    pub(super) fn moved(&self, from: &Graph, to: &Graph) -> Self {
        let place = |place: &u32| to.place(&from.entry_at(*place)?.id);
        let moved = self.by_resource.iter().map(|(resource, places)| {
            let mut places: Vec<u32> = places.iter().filter_map(place).collect();
            places.sort_unstable();
            (resource.clone(), places)
        });
        Self { by_resource: moved.filter(|(_, places)| !places.is_empty()).collect() }
    }

    /// Writes it down.
    pub(crate) fn seal(&self, graph: &Graph) -> IndexRow {
        let firsts = firsts(graph);
        let ordinal = |entry: &Entry| Some(firsts.get(&graph.chain_of(entry)?.actor)? + entry.seq - 1);
        let touched = self.by_resource.iter().map(|(resource, places)| {
            let entries = places.iter().filter_map(|place| graph.entry_at(*place));
            let ordinals: BTreeSet<u64> = entries.filter_map(ordinal).collect();
            let steps =
                ordinals.iter().scan(0, |last, ordinal| Some(*ordinal - std::mem::replace(last, *ordinal)));
            (resource.clone(), steps.collect())
        });
        let body = IndexBody { heads: graph.heads(), touched: touched.collect() };
        let body = write_layout(&body);
        IndexRow { version: LAYOUT, checksum: checksum(&body), body }
    }

    /// Reads what was written down; `None` if it is not sound, or is that of another history.
    pub(crate) fn open(row: &IndexRow, graph: &Graph) -> Option<Self> {
        let sound = row.version == LAYOUT && checksum(&row.body) == row.checksum;
        let body: IndexBody =
            layout(&row.body).filter(|body: &IndexBody| sound && body.heads == graph.heads())?;
        let mut places: Vec<u32> = Vec::with_capacity(graph.len());
        let mut chains: Vec<_> = graph.chains().collect();
        chains.sort_by_key(|chain| chain.actor);
        for chain in chains {
            for seq in 1..=chain.len() {
                places.push(graph.place(&graph.at(chain, seq)?.id)?);
            }
        }
        let mut by_resource = BTreeMap::new();
        for (resource, steps) in body.touched {
            let ordinals = steps.iter().scan(0u64, |last, step| {
                *last = last.checked_add(*step)?;
                Some(*last)
            });
            let place = |ordinal: u64| places.get(usize::try_from(ordinal).ok()?).copied();
            let mut found = ordinals.map(place).collect::<Option<Vec<u32>>>()?;
            found.sort_unstable();
            by_resource.insert(resource, found);
        }
        Some(Self { by_resource })
    }
}

/// How many changes stand before those of each chain.
fn firsts(graph: &Graph) -> BTreeMap<crate::id::Actor, u64> {
    let mut chains: Vec<_> = graph.chains().map(|chain| (chain.actor, chain.len())).collect();
    chains.sort_unstable();
    let mut next = 0;
    let first = |(actor, len)| {
        let first = next;
        next += len;
        (actor, first)
    };
    chains.into_iter().map(first).collect()
}

fn checksum(body: &[u8]) -> [u8; 32] {
    crate::id::hash("larder 1 index", &[body])
}

/// The index of a shard, written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRow {
    /// Layout version.
    pub version: u8,
    /// BLAKE3 of all that follows.
    pub checksum: [u8; 32],
    /// What is drawn above, in postcard.
    pub body: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct IndexBody {
    heads: Vec<ChangeId>,
    touched: Vec<(String, Vec<u64>)>,
}
