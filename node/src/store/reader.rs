//! Readers of a store that the writer thread writes to. They see durable rows only, and never delay the
//! writer.

use std::sync::{Arc, Weak};

use larder_core::store::{RowReader, StoredRow, Table};
use redb::{Database, ReadableDatabase};

use super::{ReadTable, Store, StoreError, StoreSnapshot, open_table};

/// Reads a store while it is open. A reader does not keep the store open: the daemon closes a store that
/// failed, and readers then return nothing.
#[derive(Clone, Debug, Default)]
pub struct StoreReader(Weak<Database>);

impl Store {
    /// Returns a reader that other threads can use.
    pub fn reader(&self) -> StoreReader {
        StoreReader(Arc::downgrade(&self.database))
    }
}

/// One table, as it was when the reader was created.
#[derive(Debug)]
pub struct TableReader(ReadTable);

impl TableReader {
    /// Returns the value of `key`; `None` if there is none, or if it cannot be read.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        // The writer soon meets the same disk error, and reports it.
        Some(self.0.get(key).ok()??.value().to_vec())
    }
}

impl StoreReader {
    /// Opens a table; `None` if the table was never written, if the store is closed, or if it cannot be read.
    pub fn open_table(&self, table: Table) -> Option<TableReader> {
        open_table(&self.0.upgrade()?.begin_read().ok()?, table).ok()?.map(TableReader)
    }

    /// Reads at most `limit` rows of `table` whose key begins with `prefix`, from the key `from` on, in order
    /// of key. Returns `None` if the store is closed.
    pub fn read_page(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Option<Vec<StoredRow>>, StoreError> {
        let Some(database) = self.0.upgrade() else { return Ok(None) };
        let mut rows = Vec::new();
        StoreSnapshot(database.begin_read()?).scan_from(table, from.max(prefix), &mut |key, value| {
            let is_wanted = rows.len() < limit && key.starts_with(prefix);
            if is_wanted {
                rows.push((key.to_vec(), value.to_vec()));
            }
            is_wanted
        })?;
        Ok(Some(rows))
    }

    /// Calls `on_row` with the rows of `table` whose key begins with `prefix`, last row first, until it
    /// returns false. Returns false if the store is closed.
    pub fn scan_backwards(
        &self,
        table: Table,
        prefix: &[u8],
        on_row: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool, StoreError> {
        let Some(database) = self.0.upgrade() else { return Ok(false) };
        let read = database.begin_read()?;
        let Some(table) = open_table(&read, table)? else { return Ok(true) };
        // In the tables that are read by prefix, at most 64 bytes follow the prefix.
        let upper_bound = [prefix, &[u8::MAX; 64]].concat();
        let mut rows = table.range::<&[u8]>(prefix..=upper_bound.as_slice())?;
        while let Some(row) = rows.next_back() {
            let (key, value) = row?;
            if !on_row(key.value(), value.value()) {
                break;
            }
        }
        Ok(true)
    }
}
