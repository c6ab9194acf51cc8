//! The store: the tables of [`larder_core::store`] in one redb file.
//!
//! Each [`Table`] is one redb table from bytes to bytes; [`larder_core::store`] defines the keys and values.
//! The daemon reads all rows once, at the start. Then only the writer thread writes, and [`StoreReader`]s
//! read durable rows.

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

/// A redb table that is open for reading.
type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Opens a table for reading; `None` if the table was never written.
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

/// The store cannot be read: the disk failed, or another program changed the file.
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
    /// Another daemon has the store open.
    #[error("another daemon uses it")]
    InUse,
    /// The content of the file is damaged: the disk failed, or another program changed the file.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The operating system cannot open or write the file, which may be undamaged.
    #[error("{0}")]
    Unreachable(String),
}

impl StoreOpenError {
    /// Returns the error as the command line shows it.
    pub fn to_cli_error(&self, path: &Path) -> CliError {
        match self {
            Self::InUse => CliError::failed(format!("another daemon uses {}", path.display()))
                .with_hint("stop that daemon, or name another data directory with --data DIR"),
            Self::Damaged(reason) => damaged_store_error(path, reason),
            Self::Unreachable(reason) => CliError::failed(format!(
                "cannot open the store {}: {reason}",
                path.display()
            ))
            .with_hint(
                "nothing was changed; check that the data directory exists, is writable, and has free space",
            ),
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
    /// Opens the store, or creates it if the file is missing. Checks the checksum of every page first. A
    /// damaged store is an error; [`recover`] replaces it.
    pub fn open(path: &Path) -> Result<Self, StoreOpenError> {
        Self::open_file(path, true)
    }

    /// Opens a store without checking its pages. Reading it may fail, panic or return wrong rows.
    fn open_unchecked(path: &Path) -> Result<Self, StoreOpenError> {
        Self::open_file(path, false)
    }

    fn open_file(path: &Path, check_integrity: bool) -> Result<Self, StoreOpenError> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| StoreOpenError::Unreachable(error.to_string()))?;
        Self::open_or_create(FileBackend::new(file)?, check_integrity)
    }

    /// True if another process has the store open.
    pub fn is_in_use(path: &Path) -> bool {
        // A process that has the store open holds a lock on the whole file. Trying to lock it changes
        // nothing.
        File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Opens a store in any storage, or creates it if the storage is empty. Tests use storage that fails on
    /// purpose.
    pub fn open_backend(storage: impl StorageBackend) -> Result<Self, StoreOpenError> {
        Self::open_or_create(storage, true)
    }

    fn open_or_create(storage: impl StorageBackend, check_integrity: bool) -> Result<Self, StoreOpenError> {
        let mut builder = Database::builder();
        builder.set_cache_size(limits::STORE_CACHE_BYTES).set_check_integrity_on_open(check_integrity);
        let unreachable = |error: std::io::Error| StoreOpenError::Unreachable(error.to_string());
        let backend = DeferredBackend::new(storage).map_err(unreachable)?;
        // redb detects most damage, and panics on the rest.
        let opened = catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend.clone())));
        let opened = opened.map_err(|_| StoreOpenError::Damaged("its pages are inconsistent".to_owned()))?;
        let database = Arc::new(opened?);
        backend.flush().map_err(unreachable)?;
        Ok(Self { database })
    }

    /// Returns the value of `key` in a table.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read()?;
        let Some(table) = open_table(&read, table)? else { return Ok(None) };
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    /// Returns a snapshot of the durable rows. Later commits do not change it.
    pub fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        Ok(StoreSnapshot(self.database.begin_read()?))
    }

    /// Calls `on_row` with every row of a table, from either end, up to the first row that cannot be read.
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

    /// Makes all rows durable, or none of them.
    pub fn commit<'a>(&self, rows: impl IntoIterator<Item = &'a Row>) -> Result<(), StoreError> {
        let rows: Vec<&Row> = rows.into_iter().collect();
        let mut write = self.database.begin_write()?;
        // With a one-phase commit, redb cannot tell a commit that the disk corrupted later from one that a
        // crash interrupted. It would silently undo an acknowledged commit.
        write.set_two_phase_commit(true);
        // Opening a table for each row would take longer than writing the row.
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

/// Returns the error for a damaged store from which no group can be recovered.
pub fn damaged_store_error(path: &Path, reason: &str) -> CliError {
    CliError::failed(format!("the store {} is damaged: {reason}", path.display())).with_hint(
        "nothing was changed; check the disk, then restore a backup, or start with an empty data directory \
         and join the groups again: the other members hold everything that was replicated",
    )
}

impl RowReader for Store {
    type Error = StoreError;

    fn scan_from(
        &self,
        table: Table,
        from: &[u8],
        on_row: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.snapshot()?.scan_from(table, from, on_row)
    }
}
