//! What can be saved of a damaged store: every row that proves itself.
//!
//! Records and changes are named by their hashes and signed by their authors, so a copy of them is either right or seen
//! to be wrong. They are read again from nothing, shard by shard, and what of a shard proves itself is saved (`shard`),
//! then what was aside of it; members have the rest. Everything else proves nothing and is left behind: snapshots are
//! made anew, invites and joins are asked for anew, and the place in this node's own chains is forgotten on purpose. A
//! node that may have lost its newest change must not write another one in its place; without an `own` row it begins a
//! new chain.

mod shard;

use std::collections::BTreeMap;

use super::{
    GroupRow, JournalRow, LAYOUT_VERSION, MemoryStore, Row, RowReader, Table, UnacceptedRow, decode_layout,
    key,
};
use crate::group::Group;
use crate::id::{GroupId, RecordId, SecretKey};
use crate::record::{RecordSet, SignedRecord};

/// The tables of which rows can prove themselves, or say where others are: what is read of a damaged store.
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

/// What is known of a group from elsewhere than its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownGroup {
    /// Which.
    pub group: GroupId,
    /// True while an operator paused syncing.
    pub paused: bool,
    /// Its membership records, as they were known.
    pub records: Vec<SignedRecord>,
}

/// One group, as far as it could be saved.
#[derive(Clone, Debug)]
pub struct SalvagedGroup {
    /// What to begin a new store with.
    pub rows: Vec<Row>,
    /// How many changes are among them.
    pub saved_changes: u64,
    /// Of how many shards something was there and could not be saved.
    pub lost_shards: usize,
    /// True if anything is or may be missing: the group is marked as one to be refetched.
    pub is_incomplete: bool,
}

/// Saves what `found` has of every group that it or `kept` names. `whole` says that every row of `found` could be read,
/// and `me` whose store it was. A group without a Genesis record is left out: nothing of it can be proved.
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

/// The same of one group, given records of it from anywhere.
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

/// The journal as far as it can be read. It proves nothing, and need not: who loads the group compares it with what is
/// there, and whoever follows it goes on where it was.
fn salvage_journal(damaged: &MemoryStore, group: GroupId) -> Vec<Row> {
    let Ok(rows) = damaged.read_rows(Table::Journal, &key::for_group(group));
    let is_readable =
        |value: &[u8]| decode_layout::<JournalRow>(value).is_some_and(|row| row.version <= LAYOUT_VERSION);
    let readable =
        rows.into_iter().filter(|(row, value)| key::journal_number(row).is_some() && is_readable(value));
    readable.map(|(row, value)| Row::put(Table::Journal, row, value)).collect()
}

/// Adds what was aside and still proves itself, given what was saved. Answers how many changes did not.
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

/// The records that `found` has of a group and that can be read.
fn readable_records(damaged: &MemoryStore, group: GroupId) -> Vec<SignedRecord> {
    let Ok(rows) = damaged.read_rows(Table::Records, &key::for_group(group));
    rows.iter().filter_map(|(_, value)| SignedRecord::decode(value).ok()).collect()
}

#[cfg(test)]
mod tests;
