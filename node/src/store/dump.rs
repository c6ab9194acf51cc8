//! A dump: all rows of a store as a stream of bytes, from which another store is filled.
//!
//! ```text
//! dump = row* | end
//! row  = index of the table in Table::ALL, u8 | key length u32 | value length u32 | key | value
//! end  = 255 u8 | number of rows u64                                         (all big-endian)
//! ```

use std::io::{self, Write};

use larder_core::store::{Row, RowReader, Table};
use redb::ReadTransaction;

use super::{Store, StoreError, open_table};
use crate::limits;

/// The byte in place of a table's index that marks the end of the dump.
const END_MARKER: u8 = u8::MAX;
const ROW_HEADER_BYTES: usize = 9;
const END_BYTES: usize = 9;

/// The durable rows of a store at one moment. The writer continues meanwhile.
#[derive(Debug)]
pub struct StoreSnapshot(pub(super) ReadTransaction);

impl StoreSnapshot {
    /// Passes the dump to `on_chunk` in chunks of about [`limits::DUMP_CHUNK_BYTES`]. Stops at the first
    /// error of `on_chunk`.
    pub fn write_dump(&self, on_chunk: &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let damaged = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
        let (mut chunk, mut row_count) = (Vec::new(), 0u64);
        for (table_index, table) in Table::ALL.into_iter().enumerate() {
            let Some(rows) = open_table(&self.0, table).map_err(|error| damaged(&error))? else { continue };
            for row in rows.range::<&[u8]>(..).map_err(|error| damaged(&StoreError::from(error)))? {
                let (key, value) = row.map_err(|error| damaged(&StoreError::from(error)))?;
                append_row(&mut chunk, table_index, key.value(), value.value())?;
                row_count += 1;
                if chunk.len() >= limits::DUMP_CHUNK_BYTES {
                    on_chunk(std::mem::take(&mut chunk))?;
                }
            }
        }
        chunk.push(END_MARKER);
        chunk.extend(row_count.to_be_bytes());
        on_chunk(chunk)
    }
}

impl RowReader for StoreSnapshot {
    type Error = StoreError;

    fn scan_from(
        &self,
        table: Table,
        from: &[u8],
        on_row: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let Some(table) = open_table(&self.0, table)? else { return Ok(()) };
        for row in table.range::<&[u8]>(from..)? {
            let (key, value) = row?;
            if !on_row(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }
}

fn append_row(chunk: &mut Vec<u8>, table_index: usize, key: &[u8], value: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::other("a row of the store is too long for a dump");
    chunk.push(u8::try_from(table_index).map_err(too_long)?);
    chunk.extend(u32::try_from(key.len()).map_err(too_long)?.to_be_bytes());
    chunk.extend(u32::try_from(value.len()).map_err(too_long)?.to_be_bytes());
    chunk.extend(key);
    chunk.extend(value);
    Ok(())
}

/// Reads a dump and fills a store with its rows.
pub struct DumpLoader<'a> {
    store: &'a Store,
    /// Called with the number of bytes received so far.
    on_progress: &'a mut dyn FnMut(u64),
    bytes_received: u64,
    unparsed: Vec<u8>,
    uncommitted_rows: Vec<Row>,
    uncommitted_bytes: usize,
    row_count: u64,
    has_ended: bool,
}

impl<'a> DumpLoader<'a> {
    /// Starts to fill an empty store.
    pub fn new(store: &'a Store, on_progress: &'a mut dyn FnMut(u64)) -> Self {
        let (buffer, rows) = (Vec::new(), Vec::new());
        Self {
            store,
            on_progress,
            bytes_received: 0,
            unparsed: buffer,
            uncommitted_rows: rows,
            uncommitted_bytes: 0,
            row_count: 0,
            has_ended: false,
        }
    }

    /// Commits the last rows. Returns an error unless the whole dump was received.
    pub fn finish(mut self) -> io::Result<()> {
        self.commit_rows()?;
        if self.has_ended && self.unparsed.is_empty() {
            Ok(())
        } else {
            Err(io::Error::other("the dump is incomplete"))
        }
    }

    /// Moves complete rows out of the buffer.
    fn parse_rows(&mut self) -> io::Result<()> {
        let mut rest = self.unparsed.as_slice();
        let (mut rows, mut end) = (Vec::new(), None);
        while end.is_none()
            && let Some((item, after)) = parse_item(rest)?
        {
            rest = after;
            match item {
                DumpItem::Row(row) => rows.push(row),
                DumpItem::End(count) => end = Some(count),
            }
        }
        if self.has_ended && !(rows.is_empty() && end.is_none()) {
            return Err(io::Error::other("the dump continues after its end"));
        }
        // The remainder of a long row moves only once, however many chunks it arrives in.
        let consumed = self.unparsed.len() - rest.len();
        self.unparsed.drain(..consumed);
        self.row_count += rows.len() as u64;
        self.uncommitted_rows.extend(rows);
        if let Some(count) = end {
            if count != self.row_count {
                return Err(io::Error::other(format!("the dump has {} of {count} rows", self.row_count)));
            }
            self.has_ended = true;
        }
        Ok(())
    }

    fn commit_rows(&mut self) -> io::Result<()> {
        self.uncommitted_bytes = 0;
        self.store.commit(&std::mem::take(&mut self.uncommitted_rows)).map_err(io::Error::other)
    }
}

enum DumpItem {
    Row(Row),
    End(u64),
}

/// Decodes the first item, and returns the remaining bytes too. Returns `None` if the item is incomplete.
fn parse_item(bytes: &[u8]) -> io::Result<Option<(DumpItem, &[u8])>> {
    let Some(&table_index) = bytes.first() else { return Ok(None) };
    if table_index == END_MARKER {
        let Some((end, rest)) = bytes.split_at_checked(END_BYTES) else { return Ok(None) };
        let count = end.get(1..).and_then(|count| count.try_into().ok()).map_or(0, u64::from_be_bytes);
        return Ok(Some((DumpItem::End(count), rest)));
    }
    let table = Table::ALL.get(usize::from(table_index)).copied();
    let table =
        table.ok_or_else(|| io::Error::other("the dump has a table that this version does not know"))?;
    let Some((header, rest)) = bytes.split_at_checked(ROW_HEADER_BYTES) else { return Ok(None) };
    let read_length = |offset: usize| {
        let bytes = header.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| u32::from_be_bytes(bytes) as usize)
    };
    let Some((key, rest)) = rest.split_at_checked(read_length(1)) else { return Ok(None) };
    let Some((value, rest)) = rest.split_at_checked(read_length(5)) else { return Ok(None) };
    Ok(Some((DumpItem::Row(Row::put(table, key.to_vec(), value.to_vec())), rest)))
}

impl Write for DumpLoader<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unparsed.extend(bytes);
        self.bytes_received += bytes.len() as u64;
        self.uncommitted_bytes += bytes.len();
        self.parse_rows()?;
        if self.uncommitted_bytes > limits::LOAD_COMMIT_BYTES {
            self.commit_rows()?;
        }
        (self.on_progress)(self.bytes_received);
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

    fn sample_store() -> Store {
        let store = Store::open_backend(InMemoryBackend::new()).unwrap();
        let row = |nth: u16| {
            let table = Table::ALL[usize::from(nth) % Table::ALL.len()];
            Row::put(table, nth.to_be_bytes().to_vec(), vec![7; usize::from(nth) * 3])
        };
        store.commit(&(0..200).map(row).collect::<Vec<_>>()).unwrap();
        store
    }

    fn dump_bytes(store: &Store) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut out = |piece: Vec<u8>| {
            bytes.extend(piece);
            Ok(())
        };
        store.snapshot().unwrap().write_dump(&mut out).unwrap();
        bytes
    }

    #[test]
    fn a_dump_loads_completely_in_chunks_of_any_size() {
        let source = sample_store();
        let bytes = dump_bytes(&source);
        for size in [1, 7, 1000, bytes.len()] {
            let target = Store::open_backend(InMemoryBackend::new()).unwrap();
            let mut seen = 0;
            let mut progress = |taken| seen = taken;
            let mut loader = DumpLoader::new(&target, &mut progress);
            for piece in bytes.chunks(size) {
                loader.write_all(piece).unwrap();
            }
            loader.finish().unwrap();
            assert_eq!(seen, bytes.len() as u64);
            for table in Table::ALL {
                assert_eq!(
                    source.read_rows(table, &[]).unwrap(),
                    target.read_rows(table, &[]).unwrap(),
                    "{table:?}"
                );
            }
        }
    }

    #[test]
    fn a_truncated_or_corrupt_dump_is_an_error() {
        let bytes = dump_bytes(&sample_store());
        let load = |bytes: &[u8]| {
            let target = Store::open_backend(InMemoryBackend::new()).unwrap();
            let mut progress = |_| {};
            let mut loader = DumpLoader::new(&target, &mut progress);
            loader.write_all(bytes).and_then(|()| loader.finish())
        };
        for len in (0..bytes.len()).step_by(97) {
            assert!(load(&bytes[..len]).is_err(), "{len}");
        }
        assert!(load(&[99, 0, 0]).is_err());
        assert!(load(&[bytes.as_slice(), b"x"].concat()).is_err());
        let mut corrupted = bytes.clone();
        *corrupted.last_mut().unwrap() ^= 1;
        assert!(load(&corrupted).is_err());
        assert!(load(&bytes).is_ok());
    }

    #[test]
    fn a_snapshot_does_not_see_later_commits() {
        let store = sample_store();
        let snapshot = store.snapshot().unwrap();
        let dump_before = dump_bytes(&store);
        store.commit(&[Row::put(Table::Meta, b"new".to_vec(), vec![1])]).unwrap();
        let mut bytes = Vec::new();
        let mut out = |piece: Vec<u8>| {
            bytes.extend(piece);
            Ok(())
        };
        snapshot.write_dump(&mut out).unwrap();
        assert!(bytes == dump_before && dump_bytes(&store) != dump_before);
    }
}
