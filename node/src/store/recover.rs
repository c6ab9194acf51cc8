//! Opens a store that may be damaged. A damaged file is renamed and never changed. The new store gets the
//! rows that pass verification, and members send the rest.
//!
//! ```text
//! store.redb opens, and the checksum of every page is right -------------> it is used
//! store.redb is damaged, empty or missing, and a Genesis record is known -> it becomes store.redb.damaged-N;
//!                                                                             a new store gets the good rows
//! store.redb is damaged, and no group is known ---------------------------> an error; nothing is changed
//! store.redb is missing or empty, and no group is known ------------------> a new, empty store
//! ```

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use larder_core::id::{GroupId, SecretKey};
use larder_core::store::salvage::{SALVAGED_TABLES, salvage_all};
use larder_core::store::{MemoryStore, Row, Table};

use super::{MembershipBackup, Store, StoreOpenError};
use crate::data_dir::{DataDir, remove_file_if_present, rename_durably};
use crate::error::CliError;

/// The report on a damaged store and its recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The damage that was found.
    pub reason: String,
    /// The new path of the damaged file, if there was a file.
    pub moved_to: Option<PathBuf>,
    /// The recovered groups, each with the number of recovered changes and whether data may be missing.
    pub groups: Vec<(GroupId, u64, bool)>,
}

/// Opens a node's store. If it is damaged, replaces it by a new one with the recovered rows.
pub fn open_or_recover(
    data_dir: &DataDir,
    node_secret: &SecretKey,
) -> Result<(Store, Option<RecoveryReport>), CliError> {
    let path = data_dir.store_file();
    let backup = MembershipBackup::new(data_dir.membership_backup_file()).read();
    let len = fs::metadata(&path).map(|meta| meta.len()).ok();
    if !backup.is_empty() && len.unwrap_or(0) == 0 {
        let reason = if len.is_some() { "the file is empty" } else { "the file is missing" };
        return replace_damaged(data_dir, reason, node_secret).map(|(store, report)| (store, Some(report)));
    }
    if len.unwrap_or(0) == 0 {
        // A crash must not leave an incomplete store.redb: every later start would treat it as damaged.
        let staging_file = path.with_extension("new");
        let created = write_new_store(&staging_file, &[]).and_then(|()| rename_durably(&staging_file, &path));
        created.map_err(|error| StoreOpenError::Unreachable(error.to_string()).to_cli_error(&path))?;
    }
    match Store::open(&path) {
        Ok(store) => Ok((store, None)),
        Err(StoreOpenError::Damaged(reason)) => {
            replace_damaged(data_dir, &reason, node_secret).map(|(store, report)| (store, Some(report)))
        }
        Err(error) => Err(error.to_cli_error(&path)),
    }
}

/// Renames a damaged store, and creates a new one with the recovered rows.
pub fn replace_damaged(
    data_dir: &DataDir,
    reason: &str,
    node_secret: &SecretKey,
) -> Result<(Store, RecoveryReport), CliError> {
    let path = data_dir.store_file();
    let file_exists = fs::metadata(&path).is_ok_and(|meta| meta.len() > 0);
    let (readable, is_complete) =
        if file_exists { read_damaged(&path) } else { (MemoryStore::default(), false) };
    let salvaged = salvage_all(
        &readable,
        &MembershipBackup::new(data_dir.membership_backup_file()).read(),
        is_complete,
        node_secret,
    );
    if salvaged.is_empty() {
        return Err(StoreOpenError::Damaged(reason.to_owned()).to_cli_error(&path));
    }
    let groups =
        salvaged.iter().map(|(group, saved)| (*group, saved.saved_changes, saved.is_incomplete)).collect();
    let rows: Vec<Row> = salvaged.into_values().flat_map(|saved| saved.rows).collect();
    let cannot_create = |error: &dyn std::fmt::Display| {
        CliError::failed(format!("cannot replace the damaged store {} by a new one: {error}", path.display()))
            .with_hint("no data was lost by this: free space or repair the disk, then start the daemon again")
    };
    // The new store is complete before the damaged file is renamed. A crash in between changes nothing.
    let staging_file = path.with_extension("new");
    write_new_store(&staging_file, &rows).map_err(|error| cannot_create(&error))?;
    let moved_to =
        if file_exists { Some(move_damaged(&path).map_err(|error| cannot_create(&error))?) } else { None };
    rename_durably(&staging_file, &path).map_err(|error| cannot_create(&error))?;
    let store = Store::open(&path).map_err(|error| error.to_cli_error(&path))?;
    Ok((store, RecoveryReport { reason: reason.to_owned(), moved_to, groups }))
}

fn write_new_store(path: &Path, rows: &[Row]) -> io::Result<()> {
    remove_file_if_present(path)?;
    let store = Store::open(path).map_err(io::Error::other)?;
    store.commit(rows).map_err(io::Error::other)
}

/// Gives the damaged file the first free name `store.redb.damaged-N` as a second name, and returns it. The
/// new store later takes over the first name.
fn move_damaged(path: &Path) -> io::Result<PathBuf> {
    for nth in 1.. {
        let target = PathBuf::from(format!("{}.damaged-{nth}", path.display()));
        match fs::hard_link(path, &target) {
            Ok(()) => return Ok(target),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("every name for a damaged store is in use"))
}

/// Reads all readable rows of a copy of a damaged file. The flag is true if every table could be read to its
/// end. The rows are not verified.
fn read_damaged(path: &Path) -> (MemoryStore, bool) {
    let copy = path.with_extension("salvage");
    let mut readable = MemoryStore::default();
    let is_complete = fs::copy(path, &copy).is_ok()
        && without_panic_output(|| scan_copy(&copy, &mut readable)).unwrap_or(false);
    // If the copy cannot be removed now, the next recovery overwrites it.
    drop(fs::remove_file(&copy));
    (readable, is_complete)
}

fn scan_copy(copy: &Path, readable: &mut MemoryStore) -> bool {
    let Ok(store) = Store::open_unchecked(copy) else { return false };
    let mut is_complete = true;
    for table in SALVAGED_TABLES {
        // A scan ends at the first unreadable page. A second scan from the other end reads the rows behind
        // it.
        for from_end in [false, true] {
            let mut rows = Vec::new();
            let mut on_row =
                |key: &[u8], value: &[u8]| rows.push(Row::put(table, key.to_vec(), value.to_vec()));
            let scan = catch_unwind(AssertUnwindSafe(|| store.scan_table(table, from_end, &mut on_row)));
            readable.write(&rows);
            if matches!(scan, Ok(Ok(()))) {
                break;
            }
            // Missing journal entries are added when the group is loaded.
            is_complete &= table == Table::Journal;
        }
    }
    // redb may also panic while it closes a damaged file.
    is_complete & catch_unwind(AssertUnwindSafe(|| drop(store))).is_ok()
}

/// Runs an action that may panic on damaged pages, and returns `None` if it did. Suppresses the output of all
/// panics meanwhile, so it is only for the start of a daemon, when no other thread runs.
fn without_panic_output<T>(action: impl FnOnce() -> T) -> Option<T> {
    let old_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(action));
    std::panic::set_hook(old_hook);
    outcome.ok()
}
