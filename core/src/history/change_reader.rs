//! Reading the contents of changes, from stored rows or from the document, whichever is cheaper.

use std::collections::{BTreeMap, BTreeSet};

use super::change_summary::{FieldChanges, summarize_change};
use crate::delta::Delta;
use crate::delta::encoded_change::EncodedChange;
use crate::group::ChangeNote;
use crate::id::ChangeId;
use crate::shard::Shard;
use crate::shard::graph::{GraphEntry, VersionVector};
use crate::store::key;

/// A function that reads a row of the store's table `changes` by its key. The time to read a stored change
/// does not depend on the length of the history, while the time to read one from the document does. If the
/// function returns `None`, the change is read from the document.
pub type ChangeRowReader<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// A [`ChangeRowReader`] without stored rows.
pub fn no_stored_rows(_: &[u8]) -> Option<Vec<u8>> {
    None
}

/// The number of changes that can be read from the document in bulk in the time in which one change in the
/// middle of a long history is read singly.
const BULK_READS_PER_SINGLE_READ: usize = 64;
/// The number of changes that can be read from the document in bulk in the time in which one stored row is
/// read.
const BULK_READS_PER_STORED_READ: usize = 4;

/// The contents of a change without its values.
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

/// The contents of the `wanted` changes of a shard. Changes that cannot be read are missing. `base` must be
/// closed under ancestors and must not contain a wanted change; the more it contains, the less is read.
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
    if wanted.len().saturating_mul(BULK_READS_PER_STORED_READ) < unread_len {
        let read_single =
            |entry: &&GraphEntry| Some(contents(entry.id, &read_stored_delta(shard, entry, change_rows)?));
        contents_by_id.extend(wanted.iter().filter_map(read_single));
    }
    let remaining: BTreeSet<ChangeId> =
        wanted.iter().map(|entry| entry.id).filter(|id| !contents_by_id.contains_key(id)).collect();
    if remaining.len().saturating_mul(BULK_READS_PER_SINGLE_READ) < unread_len {
        contents_by_id.extend(remaining.iter().filter_map(|id| Some(contents(*id, &shard.read_delta(id)?))));
    } else {
        let bulk = shard.iter_deltas_after(base).filter(|(id, _)| remaining.contains(id));
        contents_by_id.extend(bulk.map(|(id, delta)| contents(id, &delta)));
    }
    contents_by_id
}

/// The stored delta of a change, or `None` if there is none with the change's hash.
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
