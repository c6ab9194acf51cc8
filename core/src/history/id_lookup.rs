//! Lookup of a change or record by a prefix of its id.

use crate::group::Group;
use crate::id::HistoryEntryId;
use crate::limits;
use crate::shard::Shard;

/// The error of a lookup by prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No id has this prefix, or the text is not hex.
    #[error("no change or record has an id with this prefix")]
    NotFound,
    /// Several ids have this prefix. The list contains at most [`limits::MAX_PREFIX_CANDIDATES`] of them in
    /// full.
    #[error("several ids have this prefix; give more digits of one of: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
}

/// The change of any shard, or the record, whose id has this prefix of at least one hex digit in either case.
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
