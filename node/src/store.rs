//! The store: the machine's tables in one redb file.
//!
//! One table a [`Table`], bytes to bytes; keys and values are laid out in [`larder_core::store`]. The file is read once,
//! at the start; from then on only the writer thread writes to it, and [`StoreReader`]s read what is durable.

mod deferred_backend;
pub mod dump;
pub mod membership_backup;
mod reader;
pub mod recover;
mod writer;

use std::fs::{File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use larder_core::store::{Row, RowReader, Table};
use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase, StorageError, TableDefinition,
    TableError,
};

pub use redb::StorageBackend;

pub use dump::StoreSnapshot;
pub use membership_backup::MembershipBackup;
pub use reader::{StoreReader, TableReader};
pub use writer::{CommitOutcome, StoreWriter, WriteBatch};

use crate::error::CliError;
use crate::limits;
use deferred_backend::DeferredBackend;

fn table_definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// A table that is read.
type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A table as it is to a reader; none if nothing was ever written to it.
fn open_table(read: &ReadTransaction, table: Table) -> Result<Option<ReadTable>, StoreError> {
    match read.open_table(table_definition(table)) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    database: Arc<Database>,
}

/// Why the store cannot be read. The disk's fault, or that of whoever wrote into the file.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct StoreError(Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The caller's fault: one daemon a data directory.
    #[error("another daemon uses it")]
    InUse,
    /// The disk's fault, or that of whoever wrote into the file: it is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The system's fault: the file may be well, and cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

impl StoreOpenError {
    /// What is said of it.
    pub fn to_cli_error(&self, path: &Path) -> CliError {
        match self {
            Self::InUse => CliError::failed(format!("another daemon uses {}", path.display()))
                .with_hint("stop it first, or name another data directory with --data"),
            Self::Damaged(reason) => damaged_store_error(path, reason),
            Self::Unreachable(reason) => {
                CliError::failed(format!("the store {} cannot be used: {reason}", path.display())).with_hint(
                    "nothing was changed; the data directory must be there, writable, and have room",
                )
            }
        }
    }
}

impl From<DatabaseError> for StoreOpenError {
    fn from(error: DatabaseError) -> Self {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            DatabaseError::Storage(StorageError::Io(error))
                if !matches!(error.kind(), InvalidData | UnexpectedEof) =>
            {
                Self::Unreachable(error.to_string())
            }
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl Store {
    /// Opens the store, or makes it where there is none. The checksum of every page is looked at first: what is not as
    /// it was written is an error, and never replaced here (see [`recover`]).
    pub fn open(path: &Path) -> Result<Self, StoreOpenError> {
        Self::open_file(path, true)
    }

    /// Opens a store without looking whether it is damaged. Reading it may fail or panic, and what is read may be wrong.
    fn open_unchecked(path: &Path) -> Result<Self, StoreOpenError> {
        Self::open_file(path, false)
    }

    fn open_file(path: &Path, check_integrity: bool) -> Result<Self, StoreOpenError> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| StoreOpenError::Unreachable(error.to_string()))?;
        Self::open_or_create(FileBackend::new(file)?, check_integrity)
    }

    /// True if a daemon has the store open.
    pub fn is_in_use(path: &Path) -> bool {
        // Whoever has it open for writing holds a lock on the whole file. To ask for it changes nothing.
        File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Opens the store on any storage, or makes it where that is empty: on a disk that tests can break, for one.
    pub fn open_backend(storage: impl StorageBackend) -> Result<Self, StoreOpenError> {
        Self::open_or_create(storage, true)
    }

    fn open_or_create(storage: impl StorageBackend, check_integrity: bool) -> Result<Self, StoreOpenError> {
        let mut builder = Database::builder();
        builder.set_cache_size(limits::STORE_CACHE_BYTES).set_check_integrity_on_open(check_integrity);
        let unreachable = |error: std::io::Error| StoreOpenError::Unreachable(error.to_string());
        let backend = DeferredBackend::new(storage).map_err(unreachable)?;
        // Its own checks find damage; where they do not foresee it, it panics.
        let opened = catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend.clone())));
        let opened = opened.map_err(|_| StoreOpenError::Damaged("its pages make no sense".to_owned()))?;
        let database = Arc::new(opened?);
        backend.flush().map_err(unreachable)?;
        Ok(Self { database })
    }

    /// One value.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read()?;
        let Some(table) = open_table(&read, table)? else { return Ok(None) };
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    /// The store as it is now, to be read while writing goes on.
    pub fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        Ok(StoreSnapshot(self.database.begin_read()?))
    }

    /// Calls `each` with every row of a table, from either end, up to the first that cannot be read.
    fn scan_table(
        &self,
        table: Table,
        backwards: bool,
        on_row: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        let read = self.database.begin_read()?;
        let Some(table) = open_table(&read, table)? else { return Ok(()) };
        let mut rows = table.range::<&[u8]>(..)?;
        while let Some(row) = if backwards { rows.next_back() } else { rows.next() } {
            let (key, value) = row?;
            on_row(key.value(), value.value());
        }
        Ok(())
    }

    /// Makes rows durable, all or none.
    pub fn commit<'a>(&self, rows: impl IntoIterator<Item = &'a Row>) -> Result<(), StoreError> {
        let rows: Vec<&Row> = rows.into_iter().collect();
        let mut write = self.database.begin_write()?;
        // Otherwise a commit that rotted cannot be told from one that was torn by a crash, and would be undone in silence
        // although it was acknowledged.
        write.set_two_phase_commit(true);
        // Table by table: to open one for every row would take longer than to write it.
        for table in Table::ALL {
            let mut table_rows = rows.iter().filter(|row| row.table == table).peekable();
            if table_rows.peek().is_none() {
                continue;
            }
            let mut table_writer = write.open_table(table_definition(table))?;
            for row in table_rows {
                match &row.value {
                    Some(value) => drop(table_writer.insert(row.key.as_slice(), value.as_slice())?),
                    None => drop(table_writer.remove(row.key.as_slice())?),
                }
            }
        }
        write.commit()?;
        Ok(())
    }
}

/// What is said of a store that cannot be used.
pub fn damaged_store_error(path: &Path, reason: &str) -> CliError {
    CliError::failed(format!("the store {} is damaged: {reason}", path.display())).with_hint(
        "nothing was changed; check the disk, then restore the file from a backup, or begin anew in an empty data directory \
         and join the groups again: the other members have everything that was replicated",
    )
}

impl RowReader for Store {
    type Error = StoreError;

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        on_row: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        self.snapshot()?.scan(table, prefix, from, on_row)
    }
}
