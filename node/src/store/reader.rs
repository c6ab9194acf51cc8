//! Reading a store that is being written: what a reader sees is durable, and it keeps nobody from writing.

use std::sync::{Arc, Weak};

use larder_core::store::{StoredRow, Table};
use redb::{Database, ReadableDatabase};

use super::{ReadTable, Store, StoreError, open_table};

/// A way to read a store for as long as it is open. It does not keep it open: a store that failed is closed by whoever
/// writes to it, and from then on nothing is read here.
#[derive(Clone, Debug, Default)]
pub struct StoreReader(Weak<Database>);

impl Store {
    /// A way to read it from elsewhere.
    pub fn reader(&self) -> StoreReader {
        StoreReader(Arc::downgrade(&self.database))
    }
}

/// One table as it was when it was asked for.
#[derive(Debug)]
pub struct TableReader(ReadTable);

impl TableReader {
    /// One value; `None` too if it cannot be read.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        // Whoever writes finds out soon enough that the disk fails, and tells.
        Some(self.0.get(key).ok()??.value().to_vec())
    }
}

impl StoreReader {
    /// One table; `None` if nothing was ever written to it, if the store is closed, or if it cannot be read.
    pub fn open_table(&self, table: Table) -> Option<TableReader> {
        open_table(&self.0.upgrade()?.begin_read().ok()?, table).ok()?.map(TableReader)
    }

    /// The rows of `table` whose key begins with `prefix`, from `from` on, in order of key, `most` at the most. `None` if
    /// the store is closed.
    pub fn read_page(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Option<Vec<StoredRow>>, StoreError> {
        let Some(database) = self.0.upgrade() else { return Ok(None) };
        let read = database.begin_read()?;
        let Some(table) = open_table(&read, table)? else { return Ok(Some(Vec::new())) };
        let mut rows = Vec::new();
        for row in table.range::<&[u8]>(from.max(prefix)..)?.take(limit) {
            let (key, value) = row?;
            if !key.value().starts_with(prefix) {
                break;
            }
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(Some(rows))
    }

    /// Calls `each` with the rows of `table` whose key begins with `prefix`, the last first, until it answers false. False
    /// if the store is closed.
    pub fn scan_backwards(
        &self,
        table: Table,
        prefix: &[u8],
        on_row: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool, StoreError> {
        let Some(database) = self.0.upgrade() else { return Ok(false) };
        let read = database.begin_read()?;
        let Some(table) = open_table(&read, table)? else { return Ok(true) };
        // Keys go on after a prefix with at most this: no table has longer ones that a prefix is asked of.
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
