//! A store in memory: what the simulator and the tests keep rows in.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::{Row, Rows, Table};

/// Rows in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Memory {
    /// Writes a batch.
    pub fn write(&mut self, rows: &[Row]) {
        for row in rows {
            let place = (row.table, row.key.clone());
            match &row.value {
                Some(value) => self.0.insert(place, value.clone()),
                None => self.0.remove(&place),
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

impl Rows for Memory {
    type Error = Infallible;

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Infallible> {
        let from = (table, from.unwrap_or(prefix).max(prefix).to_vec());
        let rows = self.0.range(from..);
        for ((_, key), value) in rows.take_while(|((of, key), _)| *of == table && key.starts_with(prefix)) {
            each(key, value);
        }
        Ok(())
    }
}
