//! A store in memory, for the simulator and for tests.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::{Row, RowReader, Table};

/// Rows in memory, by table and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl MemoryStore {
    /// A copy of all rows that `store` holds.
    pub fn copy_of<R: RowReader>(store: &R) -> Result<Self, R::Error> {
        let mut copied = Self::default();
        for table in Table::ALL {
            store.scan(table, &[], None, &mut |key, value| {
                copied.0.insert((table, key.to_vec()), value.to_vec());
            })?;
        }
        Ok(copied)
    }

    /// Applies a batch of rows.
    pub fn write(&mut self, rows: &[Row]) {
        for row in rows {
            let row_key = (row.table, row.key.clone());
            match &row.value {
                Some(value) => self.0.insert(row_key, value.clone()),
                None => self.0.remove(&row_key),
            };
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl RowReader for MemoryStore {
    type Error = Infallible;

    fn scan_from(
        &self,
        table: Table,
        from: &[u8],
        on_row: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Infallible> {
        let mut rows = self.0.range((table, from.to_vec())..).take_while(|((owner, _), _)| *owner == table);
        let _ = rows.all(|((_, key), value)| on_row(key, value));
        Ok(())
    }
}
