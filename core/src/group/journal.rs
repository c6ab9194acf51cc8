//! The journal: the order in which records and changes came to count on this node. `watch --since` resumes
//! from it.
//!
//! The document says which change depends on which, and that is the same on every node. It does not say when
//! this node received a change. The journal does: it has a small row for every change that becomes accepted
//! or is retracted, and for every record that members begin or cease to pass on. Each row is in the store
//! batch that makes the rest durable:
//!
//! ```text
//! 1 + Genesis    2 + grant    3 + change a    4 + change b    5 - change b    6 + change b
//! ```
//!
//! Rows are only added. At any number, the changes that count by the rows up to it include all their
//! ancestors. Nothing is decided by the journal: if rows are lost or damaged, the node adds rows that make
//! the journal agree with its records and changes. So a store without a journal gets one when it is opened.

use std::collections::{BTreeMap, BTreeSet};

use super::membership_records::MembershipRecords;
use super::shard_state::ShardState;
use super::shard_states::ShardStates;
use crate::id::{ChangeId, GroupId, HistoryEntryId, RecordId, ShardId};
use crate::shard::Shard;
use crate::store::{JournalRow, LAYOUT_VERSION, LoadError, Row, RowReader, Table, decode_versioned, key};

/// What the node has to know to continue the journal. The rows are not kept in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// The number of the newest row; 0 if there is none.
    last_number: u64,
    /// The records that count by the journal.
    counting_records: BTreeSet<RecordId>,
    /// The set of changes that count by the journal, for each shard.
    change_sets: BTreeMap<ShardId, ChangeSetHash>,
    /// The number of rows about each subject that ever ceased to count.
    repeat_counts: BTreeMap<HistoryEntryId, u32>,
}

/// A hash of a set of changes. Different sets do not have the same hash by accident, not even if bits are
/// flipped.
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

/// The products of the quarters of an id, added. A wrong bit changes the sum by an amount that looks random,
/// so no other wrong bit makes up for it.
fn mix_id(id: &ChangeId) -> u128 {
    let (halves, _) = id.0.as_chunks::<16>();
    let product = |half: u128| (half >> 64) * (half & u128::from(u64::MAX));
    halves.iter().fold(0, |sum, half| sum.wrapping_add(product(u128::from_be_bytes(*half))))
}

impl Journal {
    /// Adds a row: `subject` counts from now on, or no longer.
    pub(super) fn append(&mut self, group: GroupId, subject: HistoryEntryId, is_accepted: bool) -> Row {
        let previous_occurrence =
            self.repeat_counts.get(&subject).copied().unwrap_or(u32::from(!is_accepted));
        let occurrence = previous_occurrence.saturating_add(1);
        self.apply_row(self.last_number.saturating_add(1), subject, is_accepted, occurrence);
        let row = JournalRow { version: LAYOUT_VERSION, subject, is_accepted, occurrence };
        Row::put_encoded(Table::Journal, key::journal(group, self.last_number), &row)
    }

    /// Adds a row for each change that no longer counts.
    pub(super) fn append_retractions(
        &mut self,
        group: GroupId,
        shard_id: ShardId,
        ids: Vec<ChangeId>,
    ) -> Vec<Row> {
        ids.into_iter().map(|id| self.append(group, HistoryEntryId::Change { shard_id, id }, false)).collect()
    }

    fn apply_row(&mut self, number: u64, subject: HistoryEntryId, is_accepted: bool, occurrence: u32) {
        self.last_number = self.last_number.max(number);
        if occurrence > 1 {
            self.repeat_counts.insert(subject, occurrence);
        }
        match (subject, is_accepted) {
            (HistoryEntryId::Change { shard_id, id }, true) => {
                self.change_sets.entry(shard_id).or_default().add(&id)
            }
            (HistoryEntryId::Change { shard_id, id }, false) => {
                self.change_sets.entry(shard_id).or_default().remove(&id)
            }
            (HistoryEntryId::Record(id), true) => drop(self.counting_records.insert(id)),
            (HistoryEntryId::Record(id), false) => drop(self.counting_records.remove(&id)),
        }
    }
}

impl Journal {
    /// Adds rows for the records that count since the last row, and for those that no longer do.
    pub(super) fn append_records(&mut self, membership: &MembershipRecords, rows: &mut Vec<Row>) {
        let (group, offered) = (membership.group(), membership.offered_ids());
        if self.counting_records == *offered {
            return;
        }
        let no_longer: Vec<RecordId> = self.counting_records.difference(offered).copied().collect();
        let newly: BTreeSet<RecordId> = offered.difference(&self.counting_records).copied().collect();
        for id in no_longer {
            rows.push(self.append(group, HistoryEntryId::Record(id), false));
        }
        let records = membership.records();
        let genesis = Some(records.genesis()).filter(|id| newly.contains(id));
        for id in genesis.into_iter().chain(records.in_insertion_order(&newly)) {
            rows.push(self.append(group, HistoryEntryId::Record(id), true));
        }
    }

    /// Loads the journal of a group. Adds to `repair_rows` the removal of rows that cannot be read.
    pub(super) fn load<R: RowReader>(
        store: &R,
        group: GroupId,
        repair_rows: &mut Vec<Row>,
    ) -> Result<Self, LoadError> {
        let mut journal = Self::default();
        scan_journal(store, group, &mut |row_key, parsed| match parsed {
            Some((number, row)) => journal.apply_row(number, row.subject, row.is_accepted, row.occurrence),
            None => repair_rows.push(Row::remove(Table::Journal, row_key.to_vec())),
        })?;
        Ok(journal)
    }

    /// True if the journal has no row.
    pub(super) fn is_empty(&self) -> bool {
        self.last_number == 0
    }

    /// Compares the journal with the accepted changes, and adds the rows that make them agree.
    pub(super) fn repair<R: RowReader>(
        &mut self,
        store: &R,
        group: GroupId,
        shards: &ShardStates,
        repair_rows: &mut Vec<Row>,
    ) -> Result<(), LoadError> {
        if self.agrees_with(shards) {
            return Ok(());
        }
        let counting = read_counting_changes(store, group)?;
        let set_hash = |ids: &BTreeSet<ChangeId>| ChangeSetHash::from_ids(ids.iter().copied());
        self.change_sets = counting.iter().map(|(shard_id, ids)| (*shard_id, set_hash(ids))).collect();
        for (shard_id, ids) in &counting {
            let shard = shards.get(shard_id).map(ShardState::shard);
            if shard.is_some_and(|shard| shard.document().fault().is_some()) {
                continue;
            }
            let is_retracted = |id: &&ChangeId| shard.is_none_or(|shard| !shard.graph().contains(id));
            let missing = ids.iter().filter(is_retracted).copied().collect();
            repair_rows.extend(self.append_retractions(group, *shard_id, missing));
        }
        for state in shards.iter() {
            let shard_id = state.shard_id();
            let recorded = counting.get(&shard_id);
            let is_unrecorded = |id: &ChangeId| recorded.is_none_or(|recorded| !recorded.contains(id));
            for id in change_ids(state.shard()).filter(is_unrecorded) {
                repair_rows.push(self.append(group, HistoryEntryId::Change { shard_id, id }, true));
            }
        }
        Ok(())
    }

    /// True if the accepted changes of every shard are those that count by the journal.
    fn agrees_with(&self, shards: &ShardStates) -> bool {
        let recorded_set = |shard_id: &ShardId| self.change_sets.get(shard_id).copied().unwrap_or_default();
        let is_recorded_right = |state: &ShardState| {
            recorded_set(&state.shard_id()) == ChangeSetHash::from_ids(change_ids(state.shard()))
        };
        let is_lost = |(shard_id, set_hash): (&ShardId, &ChangeSetHash)| {
            set_hash.count > 0 && shards.get(shard_id).is_none()
        };
        !self.change_sets.iter().any(is_lost) && shards.iter().all(is_recorded_right)
    }
}

/// The changes of each shard that count by the rows of the journal.
fn read_counting_changes<R: RowReader>(
    store: &R,
    group: GroupId,
) -> Result<BTreeMap<ShardId, BTreeSet<ChangeId>>, LoadError> {
    let mut counting: BTreeMap<ShardId, BTreeSet<ChangeId>> = BTreeMap::new();
    scan_journal(store, group, &mut |_, parsed| {
        let Some((_, row)) = parsed else { return };
        let HistoryEntryId::Change { shard_id, id } = row.subject else { return };
        let ids = counting.entry(shard_id).or_default();
        match row.is_accepted {
            true => ids.insert(id),
            false => ids.remove(&id),
        };
    })?;
    Ok(counting)
}

/// The ids of the changes that a shard holds.
fn change_ids(shard: &Shard) -> impl Iterator<Item = ChangeId> {
    shard.graph().iter().map(|entry| entry.id)
}

/// The number and content of a row.
type NumberedRow = (u64, JournalRow);

/// Calls `on_row` with the key of every row of a journal, in order, and with the row if it can be read.
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
