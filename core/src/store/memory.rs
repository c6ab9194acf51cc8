//! A store in memory, for the simulator and for tests.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::{Row, RowReader, Table};

/// Rows in memory, by table and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl MemoryStore {
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

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        on_row: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Infallible> {
        let from = (table, from.unwrap_or(prefix).max(prefix).to_vec());
        let rows = self.0.range(from..);
        for ((_, key), value) in
            rows.take_while(|((row_table, key), _)| *row_table == table && key.starts_with(prefix))
        {
            on_row(key, value);
        }
        Ok(())
    }
}
