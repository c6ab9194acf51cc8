//! What changes say, read from the document as cheaply as their number allows.

use std::collections::BTreeMap;

use super::touch::{Touch, touches};
use crate::delta::Delta;
use crate::group::Note;
use crate::id::ChangeId;
use crate::shard::Shard;
use crate::shard::graph::{Clock, Entry};

/// About so many changes can be read in bulk in the time that one takes by itself, from the middle of a long history.
const SINGLE: usize = 64;

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
pub(super) fn read(shard: &Shard, wanted: &[&Entry], below: &Clock) -> BTreeMap<ChangeId, Contents> {
    let graph = shard.graph();
    let kept = graph.chains().map(|chain| graph.reach(below, &chain.actor)).sum::<u64>();
    let past = graph.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
    let contents = |id: ChangeId, delta: &Delta| (id, Contents::of(shard, &id, delta));
    if wanted.len().saturating_mul(SINGLE) < past {
        let single = |entry: &&Entry| Some(contents(entry.id, &shard.delta(&entry.id)?));
        return wanted.iter().filter_map(single).collect();
    }
    let ids: std::collections::BTreeSet<ChangeId> = wanted.iter().map(|entry| entry.id).collect();
    let bulk = shard.read_after(below).filter(|(id, _)| ids.contains(id));
    bulk.map(|(id, delta)| contents(id, &delta)).collect()
}
