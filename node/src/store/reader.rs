//! Reading a store that is being written: what a reader sees is durable, and it keeps nobody from writing.

use std::sync::{Arc, Weak};

use larder_core::store::{Stored, Table};
use redb::{Database, ReadableDatabase};

use super::{Opened, ReadError, Store, open};

/// A way to read a store for as long as it is open. It does not keep it open: a store that failed is closed by whoever
/// writes to it, and from then on nothing is read here.
#[derive(Clone, Debug, Default)]
pub struct Reader(Weak<Database>);

impl Store {
    /// A way to read it from elsewhere.
    pub fn reader(&self) -> Reader {
        Reader(Arc::downgrade(&self.database))
    }
}

/// One table as it was when it was asked for.
#[derive(Debug)]
pub struct View(Opened);

impl View {
    /// One value; `None` too if it cannot be read.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        // Whoever writes finds out soon enough that the disk fails, and tells.
        Some(self.0.get(key).ok()??.value().to_vec())
    }
}

impl Reader {
    /// One table; `None` if nothing was ever written to it, if the store is closed, or if it cannot be read.
    pub fn table(&self, table: Table) -> Option<View> {
        open(&self.0.upgrade()?.begin_read().ok()?, table).ok()?.map(View)
    }

    /// The rows of `table` whose key begins with `prefix`, from `from` on, in order of key, `most` at the most. `None` if
    /// the store is closed.
    pub fn page(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        most: usize,
    ) -> Result<Option<Vec<Stored>>, ReadError> {
        let Some(database) = self.0.upgrade() else { return Ok(None) };
        let read = database.begin_read()?;
        let Some(table) = open(&read, table)? else { return Ok(Some(Vec::new())) };
        let mut rows = Vec::new();
        for row in table.range::<&[u8]>(from.max(prefix)..)?.take(most) {
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
    pub fn backwards(
        &self,
        table: Table,
        prefix: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool, ReadError> {
        let Some(database) = self.0.upgrade() else { return Ok(false) };
        let read = database.begin_read()?;
        let Some(table) = open(&read, table)? else { return Ok(true) };
        // Keys go on after a prefix with at most this: no table has longer ones that a prefix is asked of.
        let end = [prefix, &[u8::MAX; 64]].concat();
        let mut rows = table.range::<&[u8]>(prefix..=end.as_slice())?;
        while let Some(row) = rows.next_back() {
            let (key, value) = row?;
            if !each(key.value(), value.value()) {
                break;
            }
        }
        Ok(true)
    }
}
