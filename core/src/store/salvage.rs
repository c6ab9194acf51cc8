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

use super::{AsideRow, GroupRow, JournalRow, LAYOUT, Memory, Row, Rows, Table, key, layout};
use crate::group::Group;
use crate::id::{EpochId, GroupId, RecordId, Secret};
use crate::record::{Records, SignedRecord};

/// The tables of which rows can prove themselves, or say where others are: what is read of a damaged store.
pub const READ: [Table; 8] = [
    Table::Groups,
    Table::Records,
    Table::Changes,
    Table::Aside,
    Table::Marks,
    Table::Covers,
    Table::Own,
    Table::Journal,
];

/// What is known of a group from elsewhere than its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub group: GroupId,
    /// True while an operator paused syncing.
    pub paused: bool,
    /// Its membership records, as they were known.
    pub records: Vec<SignedRecord>,
}

/// One group, as far as it could be saved.
#[derive(Clone, Debug)]
pub struct Salvaged {
    /// What to begin a new store with.
    pub rows: Vec<Row>,
    /// How many changes are among them.
    pub changes: u64,
    /// Of how many shards something was there and could not be saved.
    pub lost: usize,
    /// True if anything is or may be missing: the group is marked as one to be refetched.
    pub lacking: bool,
}

/// Saves what `found` has of every group that it or `kept` names. `whole` says that every row of `found` could be read,
/// and `me` whose store it was. A group without a Genesis record is left out: nothing of it can be proved.
pub fn salvage_all(found: &Memory, kept: &[Kept], whole: bool, me: &Secret) -> BTreeMap<GroupId, Salvaged> {
    let mut known: BTreeMap<GroupId, (bool, Vec<SignedRecord>)> = BTreeMap::new();
    for kept in kept {
        known.insert(kept.group, (kept.paused, kept.records.clone()));
    }
    let Ok(stored) = found.rows(Table::Groups, &[]);
    for group in stored.iter().filter_map(|(id, _)| GroupId::from_slice(id)) {
        known.entry(group).or_default().1.extend(records(found, group));
    }
    let saved = |(group, (paused, records)): (GroupId, (bool, Vec<SignedRecord>))| {
        Some((group, salvage(found, (group, &records), paused, whole, me)?))
    };
    known.into_iter().filter_map(saved).collect()
}

/// The same of one group, given records of it from anywhere.
fn salvage(
    found: &Memory,
    of: (GroupId, &[SignedRecord]),
    paused: bool,
    whole: bool,
    me: &Secret,
) -> Option<Salvaged> {
    let (group, records) = of;
    let genesis = records.iter().find(|record| record.founds() == Some(group))?;
    let mut set = Records::begin(genesis.clone())?;
    for record in records {
        set.place(record.clone());
    }
    let Ok(stored) = found.rows(Table::Records, &key::group(group));
    let spoiled = stored.len() > set.len();
    let empty = Group::new(set);
    let (mut kept, mut changes, mut lost) = (empty.record_rows(), 0, 0);
    for root in empty.roots() {
        let saved = shard::save(found, &empty, root, me);
        changes += saved.changes;
        lost += usize::from(!saved.whole);
        kept.extend(saved.rows);
    }
    kept.extend(journal(found, group));
    lost += aside(found, &empty, genesis.id(), &mut kept);
    let lacking = !whole || spoiled || lost > 0;
    let row = GroupRow { version: LAYOUT, genesis: genesis.id(), paused, refetching: lacking };
    kept.push(Row::put_layout(Table::Groups, key::group(group), &row));
    Some(Salvaged { rows: kept, changes, lost, lacking })
}

/// The journal as far as it can be read. It proves nothing, and need not: who loads the group compares it with what is
/// there, and whoever follows it goes on where it was.
fn journal(found: &Memory, group: GroupId) -> Vec<Row> {
    let Ok(rows) = found.rows(Table::Journal, &key::group(group));
    let is_read = |value: &[u8]| layout::<JournalRow>(value).is_some_and(|row| row.version <= LAYOUT);
    let read = rows.into_iter().filter(|(row, value)| key::number(row).is_some() && is_read(value));
    read.map(|(row, value)| Row::put(Table::Journal, row, value)).collect()
}

/// Adds what was aside and still proves itself, given what was saved. Answers how many changes did not.
fn aside(found: &Memory, empty: &Group, genesis: RecordId, kept: &mut Vec<Row>) -> usize {
    let id = empty.id();
    let Ok(mut left) = found.rows(Table::Aside, &key::group(id));
    let mut memory = Memory::default();
    memory.write(kept);
    let Some(mut group) = (!left.is_empty()).then(|| Group::load(&memory, id, genesis).ok()).flatten() else {
        return left.len();
    };
    memory.write(&group.take_mended());
    loop {
        let before = left.len();
        left.retain(|(row, value)| {
            let epoch = row.get(16..32).and_then(EpochId::from_slice);
            let aside = layout::<AsideRow>(value);
            let taken =
                epoch.zip(aside).and_then(|(epoch, row)| group.take_proved(epoch, &row.delta, row.cover));
            match taken {
                Some(taken) => {
                    memory.write(&taken.rows);
                    false
                }
                None => true,
            }
        });
        if left.len() == before {
            break;
        }
    }
    *kept = Table::ALL.into_iter().flat_map(|table| all(&memory, table)).collect();
    left.len()
}

fn all(memory: &Memory, table: Table) -> Vec<Row> {
    let Ok(rows) = memory.rows(table, &[]);
    rows.into_iter().map(|(row, value)| Row::put(table, row, value)).collect()
}

/// The records that `found` has of a group and that can be read.
fn records(found: &Memory, group: GroupId) -> Vec<SignedRecord> {
    let Ok(rows) = found.rows(Table::Records, &key::group(group));
    rows.iter().filter_map(|(_, value)| SignedRecord::decode(value).ok()).collect()
}

#[cfg(test)]
mod tests;
