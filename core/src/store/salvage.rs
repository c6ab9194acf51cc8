//! What can be saved of a damaged store: every row that proves itself.
//!
//! Records and changes are named by their hashes and signed by their authors, so a copy of them is either right or seen
//! to be wrong. They are read again from nothing, shard by shard, by the code that reads a sound store: a shard of which
//! one row is missing or wrong is left out whole, and fetched from members. Everything else proves nothing and is left
//! behind: snapshots are made anew, invites and joins are asked for anew, and the place in this node's own chains is
//! forgotten on purpose. A node that may have lost its newest change must not write another one in its place; without an
//! `own` row it begins a new chain.

use super::{GroupRow, LAYOUT, Memory, Row, Rows, Table, key};
use crate::group::Group;
use crate::id::{EpochId, GroupId};
use crate::record::{Records, SignedRecord};

/// One group, as far as it could be saved.
#[derive(Clone, Debug)]
pub struct Salvaged {
    /// What to begin a new store with.
    pub rows: Vec<Row>,
    /// How many changes are among them.
    pub changes: u64,
    /// How many shards were there and had to be left out.
    pub lost: usize,
}

/// Saves what `found` has of a group, given records of it from anywhere. `whole` says that every row of `found` could be
/// read; otherwise, or if anything is left out, the group is marked as one to be refetched. `None` without its Genesis
/// record: then nothing of it can be proved.
pub fn salvage(
    found: &Memory,
    group: GroupId,
    records: &[SignedRecord],
    paused: bool,
    whole: bool,
) -> Option<Salvaged> {
    let genesis = records.iter().find(|record| record.founds() == Some(group))?;
    let mut set = Records::begin(genesis.clone())?;
    for record in records {
        set.place(record.clone());
    }
    let empty = Group::new(set);
    // A chain that nothing proves any more is not read at all: then there are more rows than changes.
    let sound = |shard: &[Row]| {
        let mut memory = Memory::default();
        memory.write(&empty.rows());
        memory.write(shard);
        let stored = shard.iter().filter(|row| row.table == Table::Changes).count() as u64;
        Group::load(&memory, group, genesis.id()).is_ok_and(|group| group.changes() == stored)
    };
    let (mut kept, mut changes, mut lost) = (empty.rows(), 0, 0);
    for epoch in empty.epochs() {
        let shard = shard_rows(found, group, &epoch);
        if sound(&shard) {
            changes += shard.iter().filter(|row| row.table == Table::Changes).count() as u64;
            kept.extend(shard);
        } else {
            lost += 1;
        }
    }
    let refetching = !whole || lost > 0;
    let row = GroupRow { version: LAYOUT, genesis: genesis.id(), paused, refetching };
    kept.push(Row::put_layout(Table::Groups, key::group(group), &row));
    Some(Salvaged { rows: kept, changes, lost })
}

/// The changes of a shard, with what proves them.
fn shard_rows(found: &Memory, group: GroupId, epoch: &EpochId) -> Vec<Row> {
    let prefix = key::epoch(group, *epoch);
    let of = |table| {
        let Ok(rows) = found.rows(table, &prefix);
        rows.into_iter().map(move |(key, value)| Row::put(table, key, value))
    };
    [Table::Changes, Table::Marks, Table::Covers].into_iter().flat_map(of).collect()
}

/// The records that `found` has of a group and that can be read.
pub fn records(found: &Memory, group: GroupId) -> Vec<SignedRecord> {
    let Ok(rows) = found.rows(Table::Records, &key::group(group));
    rows.iter().filter_map(|(_, value)| SignedRecord::decode(value).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Note;
    use crate::id::Incarnation;
    use crate::shard::root::ShardName;
    use crate::value::Value;
    use crate::vectors::scene;

    /// A group in which two nodes wrote, one of them more than the 64 changes after which a signature is kept.
    fn stored() -> Memory {
        let mut group = Group::new(scene::records());
        let mut memory = Memory::default();
        memory.write(&group.rows());
        for nth in 0..70 {
            let secret = if nth % 10 == 9 { scene::operator() } else { scene::founder() };
            let puts = [(format!("config/a keys.k{nth}"), Value::Int(nth))].into();
            let life = Incarnation([if nth % 10 == 9 { 2 } else { 1 }; 16]);
            let written = group.write(&secret, ShardName::Desired, puts, &Note::default(), life).unwrap();
            memory.write(&written.taken.rows);
            group.flush();
        }
        memory
    }

    #[test]
    fn what_is_whole_is_saved_whole() {
        let found = stored();
        let saved = salvage(&found, scene::group(), &records(&found, scene::group()), false, true).unwrap();
        assert_eq!(saved.lost, 0);
        assert!(saved.changes > 0);
        let mut memory = Memory::default();
        memory.write(&saved.rows);
        let load = |memory: &Memory| Group::load(memory, scene::group(), scene::genesis().id()).unwrap();
        assert_eq!(load(&memory).digest(&[]), load(&found).digest(&[]));
    }

    /// A flipped bit in any row of a shard is seen, and the shard left out or, where the row has no say, saved as it was.
    #[test]
    fn nothing_damaged_is_believed() {
        let found = stored();
        let whole = Group::load(&found, scene::group(), scene::genesis().id()).unwrap().digest(&[]);
        let mut seen = 0;
        for table in [Table::Records, Table::Changes, Table::Marks, Table::Covers] {
            let Ok(rows) = found.rows(table, &key::group(scene::group()));
            for (row, value) in rows {
                for at in [0, value.len() / 2, value.len() - 1] {
                    let mut bad = value.clone();
                    bad[at] ^= 1;
                    let mut damaged = found.clone();
                    damaged.write(&[Row::put(table, row.clone(), bad)]);
                    let records = records(&damaged, scene::group());
                    let Some(saved) = salvage(&damaged, scene::group(), &records, false, true) else {
                        seen += 1;
                        continue;
                    };
                    let mut memory = Memory::default();
                    memory.write(&saved.rows);
                    let group = Group::load(&memory, scene::group(), scene::genesis().id()).unwrap();
                    let complete = group.digest(&[]) == whole;
                    assert!(complete || saved.lost > 0 || group.records().len() < 2, "{table:?}");
                    seen += usize::from(!complete);
                }
            }
        }
        assert!(seen > 5, "{seen}");
    }

    #[test]
    fn without_its_genesis_nothing_of_a_group_is_believed() {
        assert!(salvage(&stored(), scene::group(), &[], false, true).is_none());
    }
}
