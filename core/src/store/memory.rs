//! A store in memory: what the simulator and the tests keep rows in.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::{Row, RowReader, Table};

/// Rows in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl MemoryStore {
    /// Writes a batch.
    pub fn write(&mut self, rows: &[Row]) {
        for row in rows {
            let row_key = (row.table, row.key.clone());
            match &row.value {
                Some(value) => self.0.insert(row_key, value.clone()),
                None => self.0.remove(&row_key),
            };
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
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
