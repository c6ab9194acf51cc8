//! Points of the journal at which to go on.
//!
//! ```text
//! 3f2a9c1...        after the change or record with that id
//! 3f2a9c1....2      after the second row about it: it was taken back, or came to count again
//! 3f2a9c1...+1      after its first event, of several
//! ```
//!
//! Whoever goes on after an event gives its `id` back as it is. A person gives the first digits of a change.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use larder_core::id::GroupId;
use larder_core::store::{JournalRow, Table, Told, key, layout};

use crate::failure::{Exit, Failure};
use crate::limits;
use crate::store::Reader;

/// Where to begin to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The first row to read.
    pub(super) number: u64,
    /// How many events of it were told already.
    pub(super) told: usize,
    /// The point itself, in full.
    pub(super) id: String,
}

/// What a text names.
#[derive(Debug, PartialEq, Eq)]
struct Point {
    digits: String,
    times: u32,
    part: Option<usize>,
}

/// The id of an event: the `part`th of `parts` that a row tells, from 1 on.
pub(super) fn id(row: &JournalRow, part: usize, parts: usize) -> String {
    let times = if row.times > 1 { format!(".{}", row.times) } else { String::new() };
    let part = if part < parts { format!("+{part}") } else { String::new() };
    format!("{}{times}{part}", row.told.id())
}

impl Point {
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
        is_hex.then(|| Self { digits: digits.to_ascii_lowercase(), times, part })
    }

    fn fits(&self, row: &JournalRow) -> bool {
        let bytes = match &row.told {
            Told::Change { id, .. } => &id.0,
            Told::Record(id) => &id.0,
        };
        let begin = bytes.get(..self.digits.len().div_ceil(2)).unwrap_or(bytes);
        row.times == self.times && HEXLOWER.encode(begin).starts_with(&self.digits)
    }

    fn start(&self, number: u64, row: &JournalRow) -> Start {
        match self.part {
            // How many there are is seen when the row is read.
            Some(part) => Start { number, told: part, id: id(row, part, usize::MAX) },
            None => Start { number: number.saturating_add(1), told: 0, id: id(row, 1, 1) },
        }
    }
}

/// After the row that a text names.
pub(super) fn after(reader: &Reader, group: GroupId, text: &str) -> Result<Start, Failure> {
    let unknown = || {
        Failure::not_found(format!("no change or record `{text}` was told on this node")).hint(
            "see `larder log --all`; without --since, `watch` begins now. After a store was lost or damaged, ids that were told may be gone",
        )
    };
    let point = Point::parse(text.trim()).ok_or_else(unknown)?;
    let mut found: Option<Start> = None;
    let mut ids: BTreeSet<String> = BTreeSet::new();
    scan(reader, group, &mut |number, row| {
        if point.fits(&row) {
            found = Some(point.start(number, &row));
            ids.insert(row.told.id());
        }
        // A whole id is found once, mostly near the end.
        (found.is_none() || point.digits.len() < 64) && ids.len() <= limits::CANDIDATES
    })?;
    match ids.len() {
        0 | 1 => found.ok_or_else(unknown),
        _ => Err(Failure::ambiguous("change", text, &ids.into_iter().collect::<Vec<_>>())),
    }
}

/// After everything that is durable.
pub(super) fn now(reader: &Reader, group: GroupId) -> Result<Start, Failure> {
    let mut last = Start { number: 1, told: 0, id: String::new() };
    scan(reader, group, &mut |number, row| {
        last = Start { number: number.saturating_add(1), told: 0, id: id(&row, 1, 1) };
        false
    })?;
    Ok(last)
}

fn scan(
    reader: &Reader,
    group: GroupId,
    each: &mut dyn FnMut(u64, JournalRow) -> bool,
) -> Result<(), Failure> {
    let mut row = |row_key: &[u8], value: &[u8]| {
        let row = key::number(row_key).zip(layout::<JournalRow>(value));
        row.is_none_or(|(number, row)| each(number, row))
    };
    let closed = || {
        Failure::new(Exit::Failed, "storage", "the store does not work, and so the journal cannot be read")
            .hint("free or repair the disk, and the daemon goes on by itself")
    };
    match reader.backwards(Table::Journal, &key::group(group), &mut row) {
        Ok(true) => Ok(()),
        Ok(false) => Err(closed()),
        Err(error) => Err(Failure { text: format!("the journal cannot be read: {error}"), ..closed() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use larder_core::id::{ChangeId, EpochId};
    use larder_core::store::Row;

    const GROUP: GroupId = GroupId([1; 16]);

    fn told(first: u8) -> Told {
        Told::Change { epoch: EpochId([2; 16]), id: ChangeId([first; 32]) }
    }

    fn store() -> Store {
        let store = Store::on(redb::backends::InMemoryBackend::new()).unwrap();
        let rows = [(0xab, true, 1), (0xac, true, 1), (0xab, false, 2), (0xab, true, 3)];
        let rows: Vec<Row> = (1..)
            .zip(rows)
            .map(|(number, (first, counts, times))| {
                let row = JournalRow { version: 1, told: told(first), counts, times };
                Row::put_layout(Table::Journal, key::journal(GROUP, number), &row)
            })
            .collect();
        store.commit(&rows).unwrap();
        store
    }

    #[test]
    fn an_id_is_found_by_what_it_begins_with_and_each_time_that_it_was_told() {
        let store = store();
        let reader = store.reader();
        let at = |text: &str| after(&reader, GROUP, text).map(|start| (start.number, start.told));
        let whole = "ab".repeat(32);
        for text in ["ab", "AB", "aba", &whole] {
            assert_eq!(at(text), Ok((2, 0)), "{text}");
        }
        assert_eq!(at("ac"), Ok((3, 0)));
        assert_eq!(at("ab.2"), Ok((4, 0)));
        assert_eq!(at(&format!("{whole}.3")), Ok((5, 0)));
        assert_eq!(at("ac+2"), Ok((2, 2)), "inside of a row");
        assert_eq!(at("a").unwrap_err().code, "ambiguous");
        for text in ["", "ad", "ab.4", "xyz", "ab+x", &"a".repeat(65)] {
            assert_eq!(at(text).unwrap_err().exit, Exit::NotFound, "{text}");
        }
        assert_eq!(now(&reader, GROUP).unwrap(), Start { number: 5, told: 0, id: format!("{whole}.3") });
        assert_eq!(now(&reader, GroupId([9; 16])).unwrap().number, 1);
    }

    #[test]
    fn what_is_given_out_is_found_again() {
        let store = store();
        let row = JournalRow { version: 1, told: told(0xab), counts: false, times: 2 };
        for (part, parts, start) in [(1, 1, (4, 0)), (2, 3, (3, 2)), (3, 3, (4, 0))] {
            let id = id(&row, part, parts);
            let found = after(&store.reader(), GROUP, &id).unwrap();
            assert_eq!((found.number, found.told), start, "{id}");
            assert_eq!(found.id, id);
        }
    }

    #[test]
    fn a_store_that_is_closed_is_said_to_be() {
        let reader = store().reader();
        assert_eq!(now(&reader, GROUP).unwrap_err().code, "storage");
    }
}
