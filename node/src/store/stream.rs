//! All rows of a store on their way into another one.
//!
//! ```text
//! stream = row* | end
//! row    = place of the table in Table::ALL, u8 | key length u32 | value length u32 | key | value
//! end    = 255 u8 | number of rows u64                                       (all big-endian)
//! ```

use std::io::{self, Write};

use larder_core::store::{Row, Rows, Table};
use redb::ReadTransaction;

use super::{ReadError, Store, open};
use crate::limits;

/// Stands where a row's table would, at the end.
const END: u8 = u8::MAX;
const ROW_HEAD: usize = 9;
const END_LEN: usize = 9;

/// A store as it was at one moment; writing goes on beside it.
#[derive(Debug)]
pub struct Snapshot(pub(super) ReadTransaction);

impl Snapshot {
    /// Writes the stream to `out` in pieces of about [`limits::PIECE_BYTES`]; stops where `out` takes no more.
    pub fn stream(&self, out: &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let damaged = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
        let (mut piece, mut count) = (Vec::new(), 0u64);
        for (place, table) in Table::ALL.into_iter().enumerate() {
            let Some(rows) = open(&self.0, table).map_err(|error| damaged(&error))? else { continue };
            for row in rows.range::<&[u8]>(..).map_err(|error| damaged(&ReadError::from(error)))? {
                let (key, value) = row.map_err(|error| damaged(&ReadError::from(error)))?;
                put_row(&mut piece, place, key.value(), value.value())?;
                count += 1;
                if piece.len() >= limits::PIECE_BYTES {
                    out(std::mem::take(&mut piece))?;
                }
            }
        }
        piece.push(END);
        piece.extend(count.to_be_bytes());
        out(piece)
    }
}

impl Rows for Snapshot {
    type Error = ReadError;

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), ReadError> {
        let Some(table) = open(&self.0, table)? else { return Ok(()) };
        let from = from.unwrap_or(prefix).max(prefix);
        for row in table.range::<&[u8]>(from..)? {
            let (key, value) = row?;
            if !key.value().starts_with(prefix) {
                break;
            }
            each(key.value(), value.value());
        }
        Ok(())
    }
}

fn put_row(piece: &mut Vec<u8>, place: usize, key: &[u8], value: &[u8]) -> io::Result<()> {
    let long = |_| io::Error::other("a row that is longer than any");
    piece.push(u8::try_from(place).map_err(long)?);
    piece.extend(u32::try_from(key.len()).map_err(long)?.to_be_bytes());
    piece.extend(u32::try_from(value.len()).map_err(long)?.to_be_bytes());
    piece.extend(key);
    piece.extend(value);
    Ok(())
}

/// Takes a stream in, and fills a store with it.
pub struct Filling<'a> {
    store: &'a Store,
    /// Called with the bytes taken in so far.
    progress: &'a mut dyn FnMut(u64),
    taken: u64,
    buffer: Vec<u8>,
    rows: Vec<Row>,
    waiting: usize,
    count: u64,
    ended: bool,
}

impl<'a> Filling<'a> {
    /// Begins with an empty store.
    pub fn new(store: &'a Store, progress: &'a mut dyn FnMut(u64)) -> Self {
        let (buffer, rows) = (Vec::new(), Vec::new());
        Self { store, progress, taken: 0, buffer, rows, waiting: 0, count: 0, ended: false }
    }

    /// Ends it: an error unless the whole stream was there.
    pub fn finish(mut self) -> io::Result<()> {
        self.commit()?;
        if self.ended && self.buffer.is_empty() { Ok(()) } else { Err(io::Error::other("it broke off")) }
    }

    /// Takes whole rows out of the buffer.
    fn take(&mut self) -> io::Result<()> {
        let mut rest = self.buffer.as_slice();
        let (mut rows, mut end) = (Vec::new(), None);
        while end.is_none()
            && let Some((step, after)) = next(rest)?
        {
            rest = after;
            match step {
                Step::Row(row) => rows.push(row),
                Step::End(count) => end = Some(count),
            }
        }
        if self.ended && !(rows.is_empty() && end.is_none()) {
            return Err(io::Error::other("it goes on after its end"));
        }
        // A long row comes in many pieces, and is moved only once.
        let used = self.buffer.len() - rest.len();
        self.buffer.drain(..used);
        self.count += rows.len() as u64;
        self.rows.extend(rows);
        if let Some(count) = end {
            if count != self.count {
                return Err(io::Error::other(format!("{} rows came of {count}", self.count)));
            }
            self.ended = true;
        }
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        self.waiting = 0;
        self.store.commit(&std::mem::take(&mut self.rows)).map_err(io::Error::other)
    }
}

enum Step {
    Row(Row),
    End(u64),
}

/// What the bytes begin with, and the rest of them; nothing if more has to come.
fn next(bytes: &[u8]) -> io::Result<Option<(Step, &[u8])>> {
    let Some(&place) = bytes.first() else { return Ok(None) };
    if place == END {
        let Some((end, rest)) = bytes.split_at_checked(END_LEN) else { return Ok(None) };
        let count = end.get(1..).and_then(|count| count.try_into().ok()).map_or(0, u64::from_be_bytes);
        return Ok(Some((Step::End(count), rest)));
    }
    let table = Table::ALL.get(usize::from(place)).copied();
    let table = table.ok_or_else(|| io::Error::other("a table that this version does not know"))?;
    let Some((head, rest)) = bytes.split_at_checked(ROW_HEAD) else { return Ok(None) };
    let length = |at: usize| {
        let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| u32::from_be_bytes(bytes) as usize)
    };
    let Some((key, rest)) = rest.split_at_checked(length(1)) else { return Ok(None) };
    let Some((value, rest)) = rest.split_at_checked(length(5)) else { return Ok(None) };
    Ok(Some((Step::Row(Row::put(table, key.to_vec(), value.to_vec())), rest)))
}

impl Write for Filling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend(bytes);
        self.taken += bytes.len() as u64;
        self.waiting += bytes.len();
        self.take()?;
        if self.waiting > limits::FILL_BYTES {
            self.commit()?;
        }
        (self.progress)(self.taken);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    fn filled() -> Store {
        let store = Store::on(InMemoryBackend::new()).unwrap();
        let row = |nth: u16| {
            let table = Table::ALL[usize::from(nth) % Table::ALL.len()];
            Row::put(table, nth.to_be_bytes().to_vec(), vec![7; usize::from(nth) * 3])
        };
        store.commit(&(0..200).map(row).collect::<Vec<_>>()).unwrap();
        store
    }

    fn streamed(store: &Store) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut out = |piece: Vec<u8>| {
            bytes.extend(piece);
            Ok(())
        };
        store.snapshot().unwrap().stream(&mut out).unwrap();
        bytes
    }

    #[test]
    fn a_store_comes_over_whole_however_the_stream_is_cut() {
        let from = filled();
        let bytes = streamed(&from);
        for size in [1, 7, 1000, bytes.len()] {
            let to = Store::on(InMemoryBackend::new()).unwrap();
            let mut seen = 0;
            let mut progress = |taken| seen = taken;
            let mut filling = Filling::new(&to, &mut progress);
            for piece in bytes.chunks(size) {
                filling.write_all(piece).unwrap();
            }
            filling.finish().unwrap();
            assert_eq!(seen, bytes.len() as u64);
            for table in Table::ALL {
                assert_eq!(from.rows(table, &[]).unwrap(), to.rows(table, &[]).unwrap(), "{table:?}");
            }
        }
    }

    #[test]
    fn a_stream_that_is_cut_short_or_not_one_is_an_error() {
        let bytes = streamed(&filled());
        let taken = |bytes: &[u8]| {
            let to = Store::on(InMemoryBackend::new()).unwrap();
            let mut progress = |_| {};
            let mut filling = Filling::new(&to, &mut progress);
            filling.write_all(bytes).and_then(|()| filling.finish())
        };
        for len in (0..bytes.len()).step_by(97) {
            assert!(taken(&bytes[..len]).is_err(), "{len}");
        }
        assert!(taken(&[99, 0, 0]).is_err());
        assert!(taken(&[bytes.as_slice(), b"x"].concat()).is_err());
        let mut wrong = bytes.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(taken(&wrong).is_err());
        assert!(taken(&bytes).is_ok());
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let store = filled();
        let snapshot = store.snapshot().unwrap();
        let before = streamed(&store);
        store.commit(&[Row::put(Table::Meta, b"new".to_vec(), vec![1])]).unwrap();
        let mut bytes = Vec::new();
        let mut out = |piece: Vec<u8>| {
            bytes.extend(piece);
            Ok(())
        };
        snapshot.stream(&mut out).unwrap();
        assert!(bytes == before && streamed(&store) != before);
    }
}
