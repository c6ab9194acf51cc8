//! What changes say, read from the document as cheaply as their number allows.

use std::collections::{BTreeMap, BTreeSet};

use super::touch::{Touch, touches};
use crate::delta::Delta;
use crate::delta::compose::Composed;
use crate::group::Note;
use crate::id::ChangeId;
use crate::shard::Shard;
use crate::shard::graph::{Clock, Entry};
use crate::store::key;

/// A way to the rows of the store's table `changes`, by key. To read a change there takes the same however long the
/// history is, while to take one out of the document takes the longer the more there is. What is not told, because it is
/// not stored yet or cannot be read, is taken from the document.
pub type Stored<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// Where nothing is stored.
pub fn nowhere(_: &[u8]) -> Option<Vec<u8>> {
    None
}

/// About so many changes can be read from the document in bulk in the time that one takes by itself, from the middle of
/// a long history;
const SINGLE: usize = 64;
/// and in the time that one takes from the store.
const STORED: usize = 4;

/// What a change says, but for the values.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub(super) note: Note,
    pub(super) touches: Vec<Touch>,
}

impl Contents {
    pub(super) fn of(shard: &Shard, id: &ChangeId, delta: &Delta) -> Self {
        Self { note: Note::read(&delta.message, delta.time), touches: touches(shard, id, delta) }
    }
}

/// What the `wanted` changes of a shard say; what cannot be read is left out. None of them is in `below`, a set that is
/// closed under ancestors: the more it has, the less is read.
pub(super) fn read(
    shard: &Shard,
    wanted: &[&Entry],
    below: &Clock,
    stored: Stored<'_>,
) -> BTreeMap<ChangeId, Contents> {
    let graph = shard.graph();
    let kept = graph.chains().map(|chain| graph.reach(below, &chain.actor)).sum::<u64>();
    let past = graph.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
    let contents = |id: ChangeId, delta: &Delta| (id, Contents::of(shard, &id, delta));
    let mut found = BTreeMap::new();
    if wanted.len().saturating_mul(STORED) < past {
        let single = |entry: &&Entry| Some(contents(entry.id, &read_stored(shard, entry, stored)?));
        found.extend(wanted.iter().filter_map(single));
    }
    let rest: BTreeSet<ChangeId> =
        wanted.iter().map(|entry| entry.id).filter(|id| !found.contains_key(id)).collect();
    if rest.len().saturating_mul(SINGLE) < past {
        found.extend(rest.iter().filter_map(|id| Some(contents(*id, &shard.delta(id)?))));
    } else {
        let bulk = shard.read_after(below).filter(|(id, _)| rest.contains(id));
        found.extend(bulk.map(|(id, delta)| contents(id, &delta)));
    }
    found
}

/// One change as it is stored; `None` unless that is what has its hash.
pub(super) fn read_stored(shard: &Shard, entry: &Entry, stored: Stored<'_>) -> Option<Delta> {
    let (root, chain) = (shard.root(), shard.graph().chain_of(entry)?);
    let row = stored(&key::change(root.group(), root.epoch(), chain.actor, entry.seq, entry.id))?;
    let composed = Composed::new(root, Delta::decode(&row).ok()?).ok()?;
    (composed.id() == entry.id).then(|| composed.into_parts().0)
}
