//! Checks a node's journal by reading its rows, as `watch` does.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::Group;
use crate::id::HistoryEntryId;
use crate::record::SignedRecord;
use crate::shard::Shard;
use crate::store::{JournalRow, MemoryStore, RowReader, Table, decode_layout, key};

/// Reads a journal from its beginning. Each row must be new, each change must come after its dependencies,
/// and at the end exactly the entries that the group holds must count. If the store was `damaged`, only the
/// end is checked.
pub fn check_journal(group: &Group, disk: &MemoryStore, damaged: bool) -> Result<(), String> {
    let rows =
        disk.read_rows(Table::Journal, &key::for_group(group.id())).map_err(|error| error.to_string())?;
    let mut accepted: BTreeSet<HistoryEntryId> = BTreeSet::new();
    let mut times: BTreeMap<HistoryEntryId, u32> = BTreeMap::new();
    for (_, value) in rows {
        let row: JournalRow = decode_layout(&value).ok_or("a damaged row of the journal")?;
        let is_new =
            if row.is_accepted { accepted.insert(row.subject) } else { accepted.remove(&row.subject) };
        let before = times.entry(row.subject).or_default();
        *before += 1;
        if damaged {
            continue;
        }
        if !is_new || row.occurrence != *before {
            return Err(format!("the journal says nothing new, or the wrong time, by {row:?}"));
        }
        if let Some(dep) = missing_dependency(group, &row, &accepted) {
            return Err(format!("the journal tells {row:?} before {dep:?}, which it was built on"));
        }
    }
    if accepted != counting_entries(group) {
        return Err("the journal says that other things count than do".to_owned());
    }
    Ok(())
}

/// A dependency of the row's change that does not count yet.
fn missing_dependency(
    group: &Group,
    row: &JournalRow,
    accepted: &BTreeSet<HistoryEntryId>,
) -> Option<HistoryEntryId> {
    let HistoryEntryId::Change { shard_id, id } = row.subject else { return None };
    let graph = group.shard_by_id(&shard_id).filter(|_| row.is_accepted)?.graph();
    let deps = graph.deps(graph.get(&id)?).filter(|dep| dep.seq > 0);
    deps.map(|dep| HistoryEntryId::Change { shard_id, id: dep.id }).find(|dep| !accepted.contains(dep))
}

/// The changes and records of a group that count.
pub fn counting_entries(group: &Group) -> BTreeSet<HistoryEntryId> {
    let shard_entries = |shard: &Shard| {
        let shard_id = shard.root().shard_id();
        shard
            .graph()
            .iter()
            .map(|entry| HistoryEntryId::Change { shard_id, id: entry.id })
            .collect::<Vec<_>>()
    };
    let records =
        group.membership_records().offered_records().map(SignedRecord::id).map(HistoryEntryId::Record);
    group.shards().flat_map(shard_entries).chain(records).collect()
}
