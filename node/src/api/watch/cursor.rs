//! Cursors: points of the journal at which `watch` continues.
//!
//! ```text
//! 3f2a9c1...        after the change or record with that id
//! 3f2a9c1....2      after the second row about it: it was retracted, or accepted again
//! 3f2a9c1...+1      after its first event, of several
//! ```
//!
//! The `id` of an event is a cursor. A person may type a prefix of a change id.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use larder_core::id::{GroupId, HistoryEntryId};
use larder_core::node::{LookupError, NameKind};
use larder_core::store::{JournalRow, Table, decode_layout, key};

use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::store::StoreReader;

/// A position in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The first row to read.
    pub(super) row_number: u64,
    /// The number of events of that row to skip.
    pub(super) events_seen: usize,
    /// The position as text, with the whole id.
    pub(super) event_id: String,
}

/// A parsed cursor.
#[derive(Debug, PartialEq, Eq)]
struct CursorText {
    id_prefix: String,
    occurrence: u32,
    event_number: Option<usize>,
}

/// The id of an event: the one with `event_number`, from 1 on, among `event_count` events of a row.
pub(super) fn event_id(row: &JournalRow, event_number: usize, event_count: usize) -> String {
    let occurrence_suffix = if row.occurrence > 1 { format!(".{}", row.occurrence) } else { String::new() };
    let event_suffix = if event_number < event_count { format!("+{event_number}") } else { String::new() };
    format!("{}{occurrence_suffix}{event_suffix}", row.subject.hex_id())
}

impl CursorText {
    fn parse(text: &str) -> Option<Self> {
        let (rest, part) = match text.split_once('+') {
            Some((rest, part)) => (rest, Some(part.parse().ok()?)),
            None => (text, None),
        };
        let (digits, times) = match rest.split_once('.') {
            Some((digits, times)) => (digits, times.parse().ok()?),
            None => (rest, 1),
        };
        let is_hex = (1..=64).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
        is_hex.then(|| Self { id_prefix: digits.to_ascii_lowercase(), occurrence: times, event_number: part })
    }

    fn matches(&self, row: &JournalRow) -> bool {
        let bytes = match &row.subject {
            HistoryEntryId::Change { id, .. } => &id.0,
            HistoryEntryId::Record(id) => &id.0,
        };
        let begin = bytes.get(..self.id_prefix.len().div_ceil(2)).unwrap_or(bytes);
        row.occurrence == self.occurrence && HEXLOWER.encode(begin).starts_with(&self.id_prefix)
    }

    fn to_cursor(&self, number: u64, row: &JournalRow) -> Cursor {
        match self.event_number {
            // The number of events is known when the row is read.
            Some(part) => {
                Cursor { row_number: number, events_seen: part, event_id: event_id(row, part, usize::MAX) }
            }
            None => {
                Cursor { row_number: number.saturating_add(1), events_seen: 0, event_id: event_id(row, 1, 1) }
            }
        }
    }
}

/// The cursor after the row that a text names.
pub(super) fn cursor_after(reader: &StoreReader, group: GroupId, text: &str) -> Result<Cursor, CliError> {
    let unknown_id = || {
        CliError::not_found(format!("this node has had no event `{text}`")).with_hint(
            "see `larder log --all`; without --since, `watch` starts now. After a store was damaged or \
             restored, earlier ids may be gone",
        )
    };
    let parsed = CursorText::parse(text.trim()).ok_or_else(unknown_id)?;
    let mut cursor: Option<Cursor> = None;
    let mut ids: BTreeSet<String> = BTreeSet::new();
    scan_backwards(reader, group, &mut |number, row| {
        if parsed.matches(&row) {
            cursor = Some(parsed.to_cursor(number, &row));
            ids.insert(row.subject.hex_id());
        }
        // A whole id is unique, and mostly near the end.
        (cursor.is_none() || parsed.id_prefix.len() < 64) && ids.len() <= limits::MAX_CANDIDATES_SHOWN
    })?;
    match ids.len() {
        0 | 1 => cursor.ok_or_else(unknown_id),
        _ => {
            let (kind, candidates) = (NameKind::Change, ids.into_iter().collect());
            Err(LookupError::Ambiguous { kind, text: text.to_owned(), candidates }.into())
        }
    }
}

/// The cursor after the last durable row.
pub(super) fn cursor_at_end(reader: &StoreReader, group: GroupId) -> Result<Cursor, CliError> {
    let mut cursor = Cursor { row_number: 1, events_seen: 0, event_id: String::new() };
    scan_backwards(reader, group, &mut |number, row| {
        cursor =
            Cursor { row_number: number.saturating_add(1), events_seen: 0, event_id: event_id(&row, 1, 1) };
        false
    })?;
    Ok(cursor)
}

fn scan_backwards(
    reader: &StoreReader,
    group: GroupId,
    on_row: &mut dyn FnMut(u64, JournalRow) -> bool,
) -> Result<(), CliError> {
    let mut decode_row = |row_key: &[u8], value: &[u8]| {
        let row = key::journal_number(row_key).zip(decode_layout::<JournalRow>(value));
        row.is_none_or(|(number, row)| on_row(number, row))
    };
    let store_unavailable = || {
        CliError::new(
            ExitKind::Failed,
            "storage",
            "the journal cannot be read, because the store does not work",
        )
        .with_hint("free or repair the disk; the daemon then continues by itself")
    };
    match reader.scan_backwards(Table::Journal, &key::for_group(group), &mut decode_row) {
        Ok(true) => Ok(()),
        Ok(false) => Err(store_unavailable()),
        Err(error) => {
            Err(CliError { text: format!("the journal cannot be read: {error}"), ..store_unavailable() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use larder_core::id::{ChangeId, ShardId};
    use larder_core::store::Row;

    const GROUP: GroupId = GroupId([1; 16]);

    fn subject(first: u8) -> HistoryEntryId {
        HistoryEntryId::Change { shard_id: ShardId([2; 16]), id: ChangeId([first; 32]) }
    }

    fn store_with_journal() -> Store {
        let store = Store::open_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let rows = [(0xab, true, 1), (0xac, true, 1), (0xab, false, 2), (0xab, true, 3)];
        let rows: Vec<Row> = (1..)
            .zip(rows)
            .map(|(number, (first, counts, times))| {
                let row = JournalRow {
                    version: 1,
                    subject: subject(first),
                    is_accepted: counts,
                    occurrence: times,
                };
                Row::put_encoded(Table::Journal, key::journal(GROUP, number), &row)
            })
            .collect();
        store.commit(&rows).unwrap();
        store
    }

    #[test]
    fn a_cursor_is_found_by_id_prefix_and_by_occurrence() {
        let store = store_with_journal();
        let reader = store.reader();
        let cursor = |text: &str| {
            cursor_after(&reader, GROUP, text).map(|start| (start.row_number, start.events_seen))
        };
        let whole = "ab".repeat(32);
        for text in ["ab", "AB", "aba", &whole] {
            assert_eq!(cursor(text), Ok((2, 0)), "{text}");
        }
        assert_eq!(cursor("ac"), Ok((3, 0)));
        assert_eq!(cursor("ab.2"), Ok((4, 0)));
        assert_eq!(cursor(&format!("{whole}.3")), Ok((5, 0)));
        assert_eq!(cursor("ac+2"), Ok((2, 2)), "inside of a row");
        assert_eq!(cursor("a").unwrap_err().code, "ambiguous");
        for text in ["", "ad", "ab.4", "xyz", "ab+x", &"a".repeat(65)] {
            assert_eq!(cursor(text).unwrap_err().exit, ExitKind::NotFound, "{text}");
        }
        assert_eq!(
            cursor_at_end(&reader, GROUP).unwrap(),
            Cursor { row_number: 5, events_seen: 0, event_id: format!("{whole}.3") }
        );
        assert_eq!(cursor_at_end(&reader, GroupId([9; 16])).unwrap().row_number, 1);
    }

    #[test]
    fn a_formatted_event_id_parses_back_to_the_same_cursor() {
        let store = store_with_journal();
        let row = JournalRow { version: 1, subject: subject(0xab), is_accepted: false, occurrence: 2 };
        for (part, parts, start) in [(1, 1, (4, 0)), (2, 3, (3, 2)), (3, 3, (4, 0))] {
            let id = event_id(&row, part, parts);
            let found = cursor_after(&store.reader(), GROUP, &id).unwrap();
            assert_eq!((found.row_number, found.events_seen), start, "{id}");
            assert_eq!(found.event_id, id);
        }
    }

    #[test]
    fn a_closed_store_is_reported_as_a_storage_error() {
        let reader = store_with_journal().reader();
        assert_eq!(cursor_at_end(&reader, GROUP).unwrap_err().code, "storage");
    }
}
