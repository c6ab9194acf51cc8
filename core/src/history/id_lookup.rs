//! Which change or record is meant by the first digits of an id.

use crate::group::Group;
use crate::id::HistoryEntryId;
use crate::limits;
use crate::shard::Shard;

/// Why a prefix means nothing here. The fault is the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No id begins so, or the text is not hex.
    #[error("no change or record here has an id that begins like this")]
    NotFound,
    /// Several ids begin so: the first of them in full, at most [`limits::MAX_PREFIX_CANDIDATES`].
    #[error("several ids begin like this; give more digits of one of: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
}

/// The change (of any shard) or record whose id begins with `prefix`: one hex digit or more, in either case.
pub fn find_by_id_prefix(group: &Group, prefix: &str) -> Result<HistoryEntryId, LookupError> {
    if prefix.is_empty() || !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(LookupError::NotFound);
    }
    let changes_in_shard = |shard: &Shard| {
        let shard_id = shard.root().shard_id();
        shard
            .graph()
            .ids_with_prefix(prefix)
            .into_iter()
            .map(move |id| HistoryEntryId::Change { shard_id, id })
    };
    let mut matches: Vec<HistoryEntryId> = group.shards().flat_map(changes_in_shard).collect();
    let lower = prefix.to_ascii_lowercase();
    let records = group.records().iter().map(crate::record::SignedRecord::id);
    matches.extend(records.filter(|id| id.to_string().starts_with(&lower)).map(HistoryEntryId::Record));
    match matches.as_slice() {
        [] => Err(LookupError::NotFound),
        [one] => Ok(*one),
        several => {
            let mut ids: Vec<String> = several.iter().map(HistoryEntryId::hex_id).collect();
            ids.sort_unstable();
            ids.truncate(limits::MAX_PREFIX_CANDIDATES);
            Err(LookupError::Ambiguous(ids))
        }
    }
}
