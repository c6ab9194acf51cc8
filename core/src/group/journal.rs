//! The journal: in which order this node came to count what it holds. Whoever follows a group reads it, and goes on after
//! whatever it read last.
//!
//! The document says what was built on what, which is the same on every node, and not when this one came to know of it.
//! That is written down here, a small row for every change let in or taken out of the document and for every record that
//! members pass on, in the batch that makes the rest of it durable:
//!
//! ```text
//! 1 + Genesis    2 + grant    3 + change a    4 + change b    5 - change b    6 + change b
//! ```
//!
//! Rows are only ever added. At any number, what counts by the rows up to it is closed under ancestors. Nothing is decided
//! by the journal: a lost or damaged one is brought in line with what is there by further rows, so every store of an
//! earlier version, which has none, gets one when it is opened.

use std::collections::{BTreeMap, BTreeSet};

use super::{Group, LoadError};
use crate::id::{ChangeId, EpochId, GroupId, RecordId};
use crate::shard::Shard;
use crate::store::{JournalRow, LAYOUT, Row, Rows, Table, Told, key, versioned};

/// What has to be known to go on with a journal. The rows themselves are not kept in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// The newest row.
    last: u64,
    /// The records that count by it: few, where changes are many.
    records: BTreeSet<RecordId>,
    /// Of each shard, what counts by it.
    tallies: BTreeMap<EpochId, Tally>,
    /// How many rows there are about what was ever taken back.
    again: BTreeMap<Told, u32>,
}

/// Stands for a set of changes: two that are not equal do not have the same by accident, not even where bits are flipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: u128,
}

impl Tally {
    fn of(ids: impl Iterator<Item = ChangeId>) -> Self {
        let mut tally = Self::default();
        ids.for_each(|id| tally.add(&id));
        tally
    }

    fn add(&mut self, id: &ChangeId) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(weight(id));
    }

    fn take(&mut self, id: &ChangeId) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(weight(id));
    }
}

/// Half of every half of an id times the other half, which looks like chance: whatever bit of it is wrong moves the sum by
/// an amount that no other wrong bit undoes.
fn weight(id: &ChangeId) -> u128 {
    let (halves, _) = id.0.as_chunks::<16>();
    let product = |half: u128| (half >> 64) * (half & u128::from(u64::MAX));
    halves.iter().fold(0, |sum, half| sum.wrapping_add(product(u128::from_be_bytes(*half))))
}

impl Journal {
    /// Adds a row.
    pub(super) fn note(&mut self, group: GroupId, told: Told, counts: bool) -> Row {
        let before = self.again.get(&told).copied().unwrap_or(u32::from(!counts));
        let times = before.saturating_add(1);
        self.apply(self.last.saturating_add(1), told, counts, times);
        let row = JournalRow { version: LAYOUT, told, counts, times };
        Row::put_layout(Table::Journal, key::journal(group, self.last), &row)
    }

    /// Adds rows that say that changes do not count any more.
    pub(super) fn take_back(&mut self, group: GroupId, epoch: EpochId, ids: Vec<ChangeId>) -> Vec<Row> {
        ids.into_iter().map(|id| self.note(group, Told::Change { epoch, id }, false)).collect()
    }

    fn apply(&mut self, number: u64, told: Told, counts: bool, times: u32) {
        self.last = self.last.max(number);
        if times > 1 {
            self.again.insert(told, times);
        }
        match (told, counts) {
            (Told::Change { epoch, id }, true) => self.tallies.entry(epoch).or_default().add(&id),
            (Told::Change { epoch, id }, false) => self.tallies.entry(epoch).or_default().take(&id),
            (Told::Record(id), true) => drop(self.records.insert(id)),
            (Told::Record(id), false) => drop(self.records.remove(&id)),
        }
    }
}

impl Group {
    /// Writes down which records count since the last time, or do no longer.
    pub(super) fn note_records(&mut self, rows: &mut Vec<Row>) {
        if self.journal.records == self.offered {
            return;
        }
        let gone: BTreeSet<RecordId> = self.journal.records.difference(&self.offered).copied().collect();
        let new: BTreeSet<RecordId> = self.offered.difference(&self.journal.records).copied().collect();
        for id in gone {
            rows.push(self.journal.note(self.id, Told::Record(id), false));
        }
        let genesis = Some(self.records.genesis()).filter(|id| new.contains(id));
        for id in genesis.into_iter().chain(self.records.in_order(&new)) {
            rows.push(self.journal.note(self.id, Told::Record(id), true));
        }
    }

    /// Reads the journal, and adds what is missing in it. The shards are there already.
    pub(super) fn load_journal<R: Rows>(&mut self, store: &R) -> Result<(), LoadError> {
        let mut spoiled = Vec::new();
        let mut journal = Journal::default();
        read(store, self.id, &mut |row_key, read| match read {
            Some((number, row)) => journal.apply(number, row.told, row.counts, row.times),
            None => spoiled.push(Row::remove(Table::Journal, row_key.to_vec())),
        })?;
        self.journal = journal;
        self.mended.extend(spoiled);
        if self.journal.last == 0 {
            let mut rows = Vec::new();
            self.find_offered();
            self.note_records(&mut rows);
            self.mended.extend(rows);
        }
        self.mend_journal(store)
    }

    /// Compares what counts by the journal with what is in the shards, and adds what makes them agree.
    fn mend_journal<R: Rows>(&mut self, store: &R) -> Result<(), LoadError> {
        let told =
            |shard: &Shard| self.journal.tallies.get(&shard.root().epoch()).copied().unwrap_or_default();
        let is_right = |shard: &Shard| told(shard) == Tally::of(ids(shard));
        let is_there = |epoch: &EpochId| self.shards.contains_key(epoch);
        let gone = self.journal.tallies.iter().any(|(epoch, tally)| tally.count > 0 && !is_there(epoch));
        if !gone && self.shards.values().all(is_right) {
            return Ok(());
        }
        let mut counting: BTreeMap<EpochId, BTreeSet<ChangeId>> = BTreeMap::new();
        read(store, self.id, &mut |_, read| match read.map(|(_, row)| (row.told, row.counts)) {
            Some((Told::Change { epoch, id }, true)) => drop(counting.entry(epoch).or_default().insert(id)),
            Some((Told::Change { epoch, id }, false)) => drop(counting.entry(epoch).or_default().remove(&id)),
            _ => {}
        })?;
        self.journal.tallies =
            counting.iter().map(|(epoch, ids)| (*epoch, Tally::of(ids.iter().copied()))).collect();
        for (epoch, ids) in &counting {
            let shard = self.shards.get(epoch);
            if shard.is_some_and(|shard| shard.document().isolated().is_some()) {
                continue;
            }
            let is_gone = |id: &&ChangeId| shard.is_none_or(|shard| !shard.graph().contains(id));
            let gone = ids.iter().filter(is_gone).copied().collect();
            self.mended.extend(self.journal.take_back(self.id, *epoch, gone));
        }
        for shard in self.shards.values() {
            let epoch = shard.root().epoch();
            let known = counting.get(&epoch);
            let is_new = |id: &ChangeId| known.is_none_or(|known| !known.contains(id));
            for id in ids(shard).filter(is_new) {
                self.mended.push(self.journal.note(self.id, Told::Change { epoch, id }, true));
            }
        }
        Ok(())
    }
}

/// The ids of the changes that a shard holds.
fn ids(shard: &Shard) -> impl Iterator<Item = ChangeId> {
    shard.graph().iter().map(|entry| entry.id)
}

/// A row with its number.
type Numbered = (u64, JournalRow);

/// Calls `each` with the key of every row of a journal, in order, and with what it says if it can be read.
fn read<R: Rows>(
    store: &R,
    group: GroupId,
    each: &mut dyn FnMut(&[u8], Option<Numbered>),
) -> Result<(), LoadError> {
    let mut newer = None;
    let mut row = |row_key: &[u8], value: &[u8]| {
        let number = key::number(row_key).filter(|number| (1..u64::MAX).contains(number));
        match versioned::<JournalRow>(Table::Journal, value) {
            Ok(row) => each(row_key, number.map(|number| (number, row))),
            Err(error @ LoadError::Newer { .. }) => newer = Some(error),
            Err(_) => each(row_key, None),
        }
    };
    store
        .scan(Table::Journal, &key::group(group), None, &mut row)
        .map_err(|error| LoadError::Read(error.to_string()))?;
    newer.map_or(Ok(()), Err)
}
