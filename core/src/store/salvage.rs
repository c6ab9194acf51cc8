//! Saving what proves itself from a damaged store.
//!
//! Records and changes are named by their hashes and signed by their authors, so a damaged one is noticed.
//! They are read from the beginning, shard by shard: accepted changes (see `shard`), then unaccepted ones.
//! Other members have the rest. All other rows prove nothing and are dropped: snapshots are built again, and
//! invites and joins are made again. The tips of this node's own chains are dropped on purpose. A node that
//! may have lost its newest change must not write another one at the same position; without an `own-tips` row
//! it begins a new chain.

mod shard;

use std::collections::BTreeMap;

use super::{
    GroupRow, JournalRow, LAYOUT_VERSION, MemoryStore, Row, RowReader, Table, UnacceptedRow, decode_layout,
    key,
};
use crate::group::Group;
use crate::id::{GroupId, RecordId, SecretKey};
use crate::record::{RecordSet, SignedRecord};

/// The tables that are read of a damaged store: their rows prove themselves, or say where others are.
pub const SALVAGED_TABLES: [Table; 8] = [
    Table::Groups,
    Table::Records,
    Table::Changes,
    Table::Unaccepted,
    Table::Checkpoints,
    Table::EndProofs,
    Table::OwnTips,
    Table::Journal,
];

/// What is known of a group from outside its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownGroup {
    /// The group's id.
    pub group: GroupId,
    /// True if an operator paused syncing.
    pub paused: bool,
    /// The membership records that are known of the group.
    pub records: Vec<SignedRecord>,
}

/// The part of a group that could be saved.
#[derive(Clone, Debug)]
pub struct SalvagedGroup {
    /// The rows of a new store.
    pub rows: Vec<Row>,
    /// The number of changes among the rows.
    pub saved_changes: u64,
    /// The number of shards and unaccepted changes of which something was found and could not be saved.
    pub lost_shards: usize,
    /// True if anything is or may be missing. The group is then fetched again from other members.
    pub is_incomplete: bool,
}

/// Saves what a damaged store holds of every group that is named by it or by `known_groups`. `fully_readable`
/// says that every row could be read, and `node_key` whose store it is. Groups without a Genesis record are
/// left out: nothing of them can be proved.
pub fn salvage_all(
    damaged: &MemoryStore,
    known_groups: &[KnownGroup],
    fully_readable: bool,
    node_key: &SecretKey,
) -> BTreeMap<GroupId, SalvagedGroup> {
    let mut known: BTreeMap<GroupId, (bool, Vec<SignedRecord>)> = BTreeMap::new();
    for known_group in known_groups {
        known.insert(known_group.group, (known_group.paused, known_group.records.clone()));
    }
    let Ok(stored) = damaged.read_rows(Table::Groups, &[]);
    for group in stored.iter().filter_map(|(id, _)| GroupId::from_slice(id)) {
        known.entry(group).or_default().1.extend(readable_records(damaged, group));
    }
    let salvage_one = |(group, (paused, records)): (GroupId, (bool, Vec<SignedRecord>))| {
        Some((group, salvage_group(damaged, (group, &records), paused, fully_readable, node_key)?))
    };
    known.into_iter().filter_map(salvage_one).collect()
}

/// [`salvage_all`] for one group, given its records.
fn salvage_group(
    damaged: &MemoryStore,
    source: (GroupId, &[SignedRecord]),
    paused: bool,
    fully_readable: bool,
    node_key: &SecretKey,
) -> Option<SalvagedGroup> {
    let (group, records) = source;
    let genesis = records.iter().find(|record| record.genesis_group_id() == Some(group))?;
    let mut record_set = RecordSet::from_genesis(genesis.clone())?;
    for record in records {
        record_set.insert(record.clone());
    }
    let Ok(stored) = damaged.read_rows(Table::Records, &key::for_group(group));
    let has_bad_records = stored.len() > record_set.len();
    let empty = Group::new(record_set);
    let (mut rows, mut saved_changes, mut lost_shards) = (empty.membership_records().rows(), 0, 0);
    for root in empty.membership_records().roots() {
        let shard_rows = shard::salvage_shard(damaged, &empty, root, node_key);
        saved_changes += shard_rows.changes;
        lost_shards += usize::from(!shard_rows.is_complete);
        rows.extend(shard_rows.rows);
    }
    rows.extend(salvage_journal(damaged, group));
    lost_shards += salvage_unaccepted(damaged, &empty, genesis.id(), &mut rows);
    let is_incomplete = !fully_readable || has_bad_records || lost_shards > 0;
    let row = GroupRow { version: LAYOUT_VERSION, genesis: genesis.id(), paused, refetching: is_incomplete };
    rows.push(Row::put_encoded(Table::Groups, key::for_group(group), &row));
    Some(SalvagedGroup { rows, saved_changes, lost_shards, is_incomplete })
}

/// The readable rows of the journal. They need no proof: loading the group compares them with its records and
/// changes. So `watch --since` can resume from where it was.
fn salvage_journal(damaged: &MemoryStore, group: GroupId) -> Vec<Row> {
    let Ok(rows) = damaged.read_rows(Table::Journal, &key::for_group(group));
    let is_readable =
        |value: &[u8]| decode_layout::<JournalRow>(value).is_some_and(|row| row.version <= LAYOUT_VERSION);
    let readable =
        rows.into_iter().filter(|(row, value)| key::journal_number(row).is_some() && is_readable(value));
    readable.map(|(row, value)| Row::put(Table::Journal, row, value)).collect()
}

/// Adds the unaccepted changes that prove themselves to the saved rows. Returns how many could not be saved.
fn salvage_unaccepted(damaged: &MemoryStore, empty: &Group, genesis: RecordId, rows: &mut Vec<Row>) -> usize {
    let id = empty.id();
    let Ok(mut remaining) = damaged.read_rows(Table::Unaccepted, &key::for_group(id));
    let mut store = MemoryStore::default();
    store.write(rows);
    let Some(mut group) = (!remaining.is_empty()).then(|| Group::load(&store, id, genesis).ok()).flatten()
    else {
        return remaining.len();
    };
    store.write(&group.take_repair_rows());
    loop {
        let before = remaining.len();
        remaining.retain(|(row, value)| {
            let shard = key::parse_change(row).map(|change_key| change_key.shard_id);
            let unaccepted = decode_layout::<UnacceptedRow>(value);
            let outcome = shard
                .zip(unaccepted)
                .and_then(|(shard, row)| group.ingest_with_proof(shard, &row.delta, row.end_proof));
            match outcome {
                Some(outcome) => {
                    store.write(&outcome.rows);
                    false
                }
                None => true,
            }
        });
        if remaining.len() == before {
            break;
        }
    }
    *rows = Table::ALL.into_iter().flat_map(|table| rows_of(&store, table)).collect();
    remaining.len()
}

fn rows_of(store: &MemoryStore, table: Table) -> Vec<Row> {
    let Ok(rows) = store.read_rows(table, &[]);
    rows.into_iter().map(|(row, value)| Row::put(table, row, value)).collect()
}

/// The readable records of a group.
fn readable_records(damaged: &MemoryStore, group: GroupId) -> Vec<SignedRecord> {
    let Ok(rows) = damaged.read_rows(Table::Records, &key::for_group(group));
    rows.iter().filter_map(|(_, value)| SignedRecord::decode(value).ok()).collect()
}

#[cfg(test)]
mod tests;
