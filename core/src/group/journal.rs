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

use super::Group;
use crate::id::{ChangeId, GroupId, RecordId, ShardId};
use crate::shard::Shard;
use crate::store::{
    JournalRow, JournalSubject, LAYOUT_VERSION, LoadError, Row, RowReader, Table, decode_versioned, key,
};

/// What has to be known to go on with a journal. The rows themselves are not kept in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// The newest row.
    last_number: u64,
    /// The records that count by it: few, where changes are many.
    counting_records: BTreeSet<RecordId>,
    /// Of each shard, what counts by it.
    change_sets: BTreeMap<ShardId, ChangeSetHash>,
    /// How many rows there are about what was ever taken back.
    repeat_counts: BTreeMap<JournalSubject, u32>,
}

/// Stands for a set of changes: two that are not equal do not have the same by accident, not even where bits are flipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ChangeSetHash {
    count: u64,
    hash_sum: u128,
}

impl ChangeSetHash {
    fn from_ids(ids: impl Iterator<Item = ChangeId>) -> Self {
        let mut set_hash = Self::default();
        ids.for_each(|id| set_hash.add(&id));
        set_hash
    }

    fn add(&mut self, id: &ChangeId) {
        self.count = self.count.wrapping_add(1);
        self.hash_sum = self.hash_sum.wrapping_add(mix_id(id));
    }

    fn remove(&mut self, id: &ChangeId) {
        self.count = self.count.wrapping_sub(1);
        self.hash_sum = self.hash_sum.wrapping_sub(mix_id(id));
    }
}

/// Half of every half of an id times the other half, which looks like chance: whatever bit of it is wrong moves the sum by
/// an amount that no other wrong bit undoes.
fn mix_id(id: &ChangeId) -> u128 {
    let (halves, _) = id.0.as_chunks::<16>();
    let product = |half: u128| (half >> 64) * (half & u128::from(u64::MAX));
    halves.iter().fold(0, |sum, half| sum.wrapping_add(product(u128::from_be_bytes(*half))))
}

impl Journal {
    /// Adds a row.
    pub(super) fn append(&mut self, group: GroupId, subject: JournalSubject, is_accepted: bool) -> Row {
        let previous_occurrence =
            self.repeat_counts.get(&subject).copied().unwrap_or(u32::from(!is_accepted));
        let occurrence = previous_occurrence.saturating_add(1);
        self.apply_row(self.last_number.saturating_add(1), subject, is_accepted, occurrence);
        let row = JournalRow { version: LAYOUT_VERSION, subject, is_accepted, occurrence };
        Row::put_encoded(Table::Journal, key::journal(group, self.last_number), &row)
    }

    /// Adds rows that say that changes do not count any more.
    pub(super) fn append_retractions(
        &mut self,
        group: GroupId,
        shard_id: ShardId,
        ids: Vec<ChangeId>,
    ) -> Vec<Row> {
        ids.into_iter().map(|id| self.append(group, JournalSubject::Change { shard_id, id }, false)).collect()
    }

    fn apply_row(&mut self, number: u64, subject: JournalSubject, is_accepted: bool, occurrence: u32) {
        self.last_number = self.last_number.max(number);
        if occurrence > 1 {
            self.repeat_counts.insert(subject, occurrence);
        }
        match (subject, is_accepted) {
            (JournalSubject::Change { shard_id, id }, true) => {
                self.change_sets.entry(shard_id).or_default().add(&id)
            }
            (JournalSubject::Change { shard_id, id }, false) => {
                self.change_sets.entry(shard_id).or_default().remove(&id)
            }
            (JournalSubject::Record(id), true) => drop(self.counting_records.insert(id)),
            (JournalSubject::Record(id), false) => drop(self.counting_records.remove(&id)),
        }
    }
}

impl Group {
    /// Writes down which records count since the last time, or do no longer.
    pub(super) fn journal_records(&mut self, rows: &mut Vec<Row>) {
        if self.journal.counting_records == self.offered_records {
            return;
        }
        let no_longer_offered: BTreeSet<RecordId> =
            self.journal.counting_records.difference(&self.offered_records).copied().collect();
        let newly_offered: BTreeSet<RecordId> =
            self.offered_records.difference(&self.journal.counting_records).copied().collect();
        for id in no_longer_offered {
            rows.push(self.journal.append(self.id, JournalSubject::Record(id), false));
        }
        let genesis = Some(self.records.genesis()).filter(|id| newly_offered.contains(id));
        for id in genesis.into_iter().chain(self.records.in_insertion_order(&newly_offered)) {
            rows.push(self.journal.append(self.id, JournalSubject::Record(id), true));
        }
    }

    /// Reads the journal, and adds what is missing in it. The shards are there already.
    pub(super) fn load_journal<R: RowReader>(&mut self, store: &R) -> Result<(), LoadError> {
        let mut removals = Vec::new();
        let mut journal = Journal::default();
        scan_journal(store, self.id, &mut |row_key, parsed| match parsed {
            Some((number, row)) => journal.apply_row(number, row.subject, row.is_accepted, row.occurrence),
            None => removals.push(Row::remove(Table::Journal, row_key.to_vec())),
        })?;
        self.journal = journal;
        self.repair_rows.extend(removals);
        if self.journal.last_number == 0 {
            let mut rows = Vec::new();
            self.update_offered_records();
            self.journal_records(&mut rows);
            self.repair_rows.extend(rows);
        }
        self.repair_journal(store)
    }

    /// Compares what counts by the journal with what is in the shards, and adds what makes them agree.
    fn repair_journal<R: RowReader>(&mut self, store: &R) -> Result<(), LoadError> {
        let recorded_set = |shard: &Shard| {
            self.journal.change_sets.get(&shard.root().shard_id()).copied().unwrap_or_default()
        };
        let is_recorded_right =
            |shard: &Shard| recorded_set(shard) == ChangeSetHash::from_ids(change_ids(shard));
        let has_shard = |shard_id: &ShardId| self.shards.contains_key(shard_id);
        let has_lost_shard = self
            .journal
            .change_sets
            .iter()
            .any(|(shard_id, set_hash)| set_hash.count > 0 && !has_shard(shard_id));
        if !has_lost_shard && self.shards.values().all(is_recorded_right) {
            return Ok(());
        }
        let mut counting: BTreeMap<ShardId, BTreeSet<ChangeId>> = BTreeMap::new();
        scan_journal(store, self.id, &mut |_, parsed| match parsed
            .map(|(_, row)| (row.subject, row.is_accepted))
        {
            Some((JournalSubject::Change { shard_id, id }, true)) => {
                counting.entry(shard_id).or_default().insert(id);
            }
            Some((JournalSubject::Change { shard_id, id }, false)) => {
                counting.entry(shard_id).or_default().remove(&id);
            }
            _ => {}
        })?;
        self.journal.change_sets = counting
            .iter()
            .map(|(shard_id, ids)| (*shard_id, ChangeSetHash::from_ids(ids.iter().copied())))
            .collect();
        for (shard_id, ids) in &counting {
            let shard = self.shards.get(shard_id);
            if shard.is_some_and(|shard| shard.document().fault().is_some()) {
                continue;
            }
            let is_retracted = |id: &&ChangeId| shard.is_none_or(|shard| !shard.graph().contains(id));
            let missing = ids.iter().filter(is_retracted).copied().collect();
            self.repair_rows.extend(self.journal.append_retractions(self.id, *shard_id, missing));
        }
        for shard in self.shards.values() {
            let shard_id = shard.root().shard_id();
            let recorded = counting.get(&shard_id);
            let is_unrecorded = |id: &ChangeId| recorded.is_none_or(|recorded| !recorded.contains(id));
            for id in change_ids(shard).filter(is_unrecorded) {
                self.repair_rows.push(self.journal.append(
                    self.id,
                    JournalSubject::Change { shard_id, id },
                    true,
                ));
            }
        }
        Ok(())
    }
}

/// The ids of the changes that a shard holds.
fn change_ids(shard: &Shard) -> impl Iterator<Item = ChangeId> {
    shard.graph().iter().map(|entry| entry.id)
}

/// A row with its number.
type NumberedRow = (u64, JournalRow);

/// Calls `each` with the key of every row of a journal, in order, and with what it says if it can be read.
fn scan_journal<R: RowReader>(
    store: &R,
    group: GroupId,
    on_row: &mut dyn FnMut(&[u8], Option<NumberedRow>),
) -> Result<(), LoadError> {
    let mut newer_error = None;
    let mut visit_row = |row_key: &[u8], value: &[u8]| {
        let number = key::journal_number(row_key).filter(|number| (1..u64::MAX).contains(number));
        match decode_versioned::<JournalRow>(Table::Journal, value) {
            Ok(row) => on_row(row_key, number.map(|number| (number, row))),
            Err(error @ LoadError::Newer { .. }) => newer_error = Some(error),
            Err(_) => on_row(row_key, None),
        }
    };
    store
        .scan(Table::Journal, &key::for_group(group), None, &mut visit_row)
        .map_err(|error| LoadError::Read(error.to_string()))?;
    newer_error.map_or(Ok(()), Err)
}
