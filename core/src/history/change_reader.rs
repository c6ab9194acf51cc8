//! What changes say, read from the document as cheaply as their number allows.

use std::collections::{BTreeMap, BTreeSet};

use super::change_summary::{FieldChanges, summarize_change};
use crate::delta::Delta;
use crate::delta::encoded_change::EncodedChange;
use crate::group::ChangeNote;
use crate::id::ChangeId;
use crate::shard::Shard;
use crate::shard::graph::{GraphEntry, VersionVector};
use crate::store::key;

/// A way to the rows of the store's table `changes`, by key. To read a change there takes the same however long the
/// history is, while to take one out of the document takes the longer the more there is. What is not told, because it is
/// not stored yet or cannot be read, is taken from the document.
pub type ChangeRowReader<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// Where nothing is stored.
pub fn no_stored_rows(_: &[u8]) -> Option<Vec<u8>> {
    None
}

/// About so many changes can be read from the document in bulk in the time that one takes by itself, from the middle of
/// a long history;
const SINGLE_READ_COST: usize = 64;
/// and in the time that one takes from the store.
const STORED_READ_COST: usize = 4;

/// What a change says, but for the values.
#[derive(Clone, Debug)]
pub(super) struct ChangeContents {
    pub(super) note: ChangeNote,
    pub(super) field_changes: Vec<FieldChanges>,
}

impl ChangeContents {
    pub(super) fn from_delta(shard: &Shard, id: &ChangeId, delta: &Delta) -> Self {
        Self {
            note: ChangeNote::decode(&delta.message, delta.time),
            field_changes: summarize_change(shard, id, delta),
        }
    }
}

/// What the `wanted` changes of a shard say; what cannot be read is left out. None of them is in `below`, a set that is
/// closed under ancestors: the more it has, the less is read.
pub(super) fn read_contents(
    shard: &Shard,
    wanted: &[&GraphEntry],
    base: &VersionVector,
    change_rows: ChangeRowReader<'_>,
) -> BTreeMap<ChangeId, ChangeContents> {
    let graph = shard.graph();
    let base_len = graph.chains().map(|chain| graph.seq_in_version(base, &chain.id)).sum::<u64>();
    let unread_len = graph.len().saturating_sub(usize::try_from(base_len).unwrap_or(usize::MAX));
    let contents = |id: ChangeId, delta: &Delta| (id, ChangeContents::from_delta(shard, &id, delta));
    let mut contents_by_id = BTreeMap::new();
    if wanted.len().saturating_mul(STORED_READ_COST) < unread_len {
        let read_single =
            |entry: &&GraphEntry| Some(contents(entry.id, &read_stored_delta(shard, entry, change_rows)?));
        contents_by_id.extend(wanted.iter().filter_map(read_single));
    }
    let remaining: BTreeSet<ChangeId> =
        wanted.iter().map(|entry| entry.id).filter(|id| !contents_by_id.contains_key(id)).collect();
    if remaining.len().saturating_mul(SINGLE_READ_COST) < unread_len {
        contents_by_id.extend(remaining.iter().filter_map(|id| Some(contents(*id, &shard.read_delta(id)?))));
    } else {
        let bulk = shard.iter_deltas_after(base).filter(|(id, _)| remaining.contains(id));
        contents_by_id.extend(bulk.map(|(id, delta)| contents(id, &delta)));
    }
    contents_by_id
}

/// One change as it is stored; `None` unless that is what has its hash.
pub(super) fn read_stored_delta(
    shard: &Shard,
    entry: &GraphEntry,
    change_rows: ChangeRowReader<'_>,
) -> Option<Delta> {
    let (root, chain) = (shard.root(), shard.graph().chain_of(entry)?);
    let row = change_rows(&key::change(root.group(), root.shard_id(), chain.id, entry.seq, entry.id))?;
    let composed = EncodedChange::new(root, Delta::decode(&row).ok()?).ok()?;
    (composed.id() == entry.id).then(|| composed.into_parts().0)
}
