//! The store: the machine's tables in one redb file.
//!
//! One table a [`Table`], bytes to bytes; keys and values are laid out in [`larder_core::store`]. The file is read once,
//! at the start; from then on only the writer thread touches it.

mod writer;

use std::path::Path;

use larder_core::store::{Row, Rows, Table};
use redb::{Database, ReadableDatabase, TableDefinition, TableError};

pub use writer::{Batch, Outcome, Writer};

use crate::failure::Failure;
use crate::limits;

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

/// Why the store cannot be read. The disk's fault, or that of whoever wrote into the file.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct ReadError(Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

impl Store {
    /// Opens the store, or makes it where there is none.
    ///
    /// A file that cannot be opened is never replaced: a node does not start empty in place of damaged.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let database = Database::builder().set_cache_size(limits::STORE_CACHE).create(path);
        match database {
            Ok(database) => Ok(Self { database }),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                Err(Failure::failed(format!("another daemon uses {}", path.display()))
                    .hint("stop it first, or name another data directory with --data"))
            }
            Err(error) => Err(damaged(path, &error.to_string())),
        }
    }

    /// One value.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let read = self.database.begin_read()?;
        match read.open_table(definition(table)) {
            Ok(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes rows durable, all or none.
    pub fn commit<'a>(&self, rows: impl IntoIterator<Item = &'a Row>) -> Result<(), ReadError> {
        let write = self.database.begin_write()?;
        for row in rows {
            let mut table = write.open_table(definition(row.table))?;
            match &row.value {
                Some(value) => drop(table.insert(row.key.as_slice(), value.as_slice())?),
                None => drop(table.remove(row.key.as_slice())?),
            }
        }
        write.commit()?;
        Ok(())
    }
}

/// What is said of a store that cannot be used.
pub fn damaged(path: &Path, what: &str) -> Failure {
    Failure::failed(format!("the store {} cannot be used: {what}", path.display())).hint(
        "nothing was changed; check the disk, then restore the file from a backup, or move it away and join the group \
         again: the other members have everything that was replicated",
    )
}

impl Rows for Store {
    type Error = ReadError;

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), ReadError> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(definition(table)) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
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
