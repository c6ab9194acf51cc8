//! Opening a store that may be damaged. What is damaged is set aside, never changed and never believed; what proves
//! itself goes on, and members have the rest.
//!
//! ```text
//! store.redb opens, every page's checksum is right ------------------------------> it is the store
//! store.redb is damaged, empty or gone, and a Genesis record is known ------------> store.redb.damaged-N, and
//!                                                                                   a new store of what was saved
//! store.redb is damaged, and of no group anything is known -----------------------> an error; nothing is touched
//! store.redb is not there, or empty, and there never was a group -----------------> a new store
//! ```

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use larder_core::id::{GroupId, SecretKey};
use larder_core::store::salvage::{SALVAGED_TABLES, salvage_all};
use larder_core::store::{MemoryStore, Row, Table};

use super::{MembershipBackup, Store, StoreOpenError};
use crate::data_dir::DataDir;
use crate::error::CliError;

/// What was found damaged, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// What was wrong.
    pub reason: String,
    /// Where the damaged file is now, if there was one.
    pub moved_to: Option<PathBuf>,
    /// Groups that go on, each with how many changes were saved and whether anything is missing.
    pub groups: Vec<(GroupId, u64, bool)>,
}

/// Opens a node's store; if it is damaged, sets it aside and begins a new one of what could be saved.
pub fn open_or_recover(
    data_dir: &DataDir,
    node_secret: &SecretKey,
) -> Result<(Store, Option<RecoveryReport>), CliError> {
    let path = data_dir.store_file();
    let backup = MembershipBackup::new(data_dir.membership_backup_file()).read();
    let len = fs::metadata(&path).map(|meta| meta.len()).ok();
    if !backup.is_empty() && len.unwrap_or(0) == 0 {
        let reason = if len.is_some() { "the file is empty" } else { "the file is gone" };
        return replace_damaged(data_dir, reason, node_secret).map(|(store, report)| (store, Some(report)));
    }
    if len.unwrap_or(0) == 0 {
        // Made aside: a crash must not leave half a store, which would be taken for a damaged one ever after.
        let staging_file = path.with_extension("new");
        let created =
            write_new_store(&staging_file, &[]).and_then(|()| rename_and_sync(&staging_file, &path));
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

/// Sets a damaged store aside, and begins a new one of what could be saved.
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
        CliError::failed(format!("a new store cannot be made in place of the damaged one: {error}"))
            .with_hint("nothing is lost by this: free or repair the disk, and start the daemon again")
    };
    // The new store is whole before it takes its place, and a crash in between leaves the damaged one where it was.
    let staging_file = path.with_extension("new");
    write_new_store(&staging_file, &rows).map_err(|error| cannot_create(&error))?;
    let moved_to =
        if file_exists { Some(move_damaged(&path).map_err(|error| cannot_create(&error))?) } else { None };
    rename_and_sync(&staging_file, &path).map_err(|error| cannot_create(&error))?;
    let store = Store::open(&path).map_err(|error| error.to_cli_error(&path))?;
    Ok((store, RecoveryReport { reason: reason.to_owned(), moved_to, groups }))
}

fn write_new_store(path: &Path, rows: &[Row]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let store = Store::open(path).map_err(io::Error::other)?;
    store.commit(rows).map_err(io::Error::other)
}

/// Gives the damaged file the first free name; a second one to it is made before the first goes.
fn move_damaged(path: &Path) -> io::Result<PathBuf> {
    for nth in 1.. {
        let target = PathBuf::from(format!("{}.damaged-{nth}", path.display()));
        match fs::hard_link(path, &target) {
            Ok(()) => return Ok(target),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no name is free"))
}

fn rename_and_sync(staging_file: &Path, path: &Path) -> io::Result<()> {
    fs::rename(staging_file, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads whatever can be read of a damaged file, in a copy of it; true if nothing kept any table from being read.
/// Nothing of it is proved by that.
fn read_damaged(path: &Path) -> (MemoryStore, bool) {
    let copy = path.with_extension("salvage");
    let mut readable = MemoryStore::default();
    let is_complete = fs::copy(path, &copy).is_ok()
        && without_panic_output(|| scan_copy(&copy, &mut readable)).unwrap_or(false);
    // The copy has no further use; a later one takes its place if it cannot be removed now.
    drop(fs::remove_file(&copy));
    (readable, is_complete)
}

fn scan_copy(copy: &Path, readable: &mut MemoryStore) -> bool {
    let Ok(store) = Store::open_unchecked(copy) else { return false };
    let mut is_complete = true;
    for table in SALVAGED_TABLES {
        // What lies behind a page that cannot be read is reached from the other end.
        for from_end in [false, true] {
            let mut rows = Vec::new();
            let mut on_row =
                |key: &[u8], value: &[u8]| rows.push(Row::put(table, key.to_vec(), value.to_vec()));
            let scan = catch_unwind(AssertUnwindSafe(|| store.scan_table(table, from_end, &mut on_row)));
            readable.write(&rows);
            if matches!(scan, Ok(Ok(()))) {
                break;
            }
            // The journal is made whole from the rest.
            is_complete &= table == Table::Journal;
        }
    }
    // What the library does when it lets go of a damaged file may be a panic too.
    is_complete & catch_unwind(AssertUnwindSafe(|| drop(store))).is_ok()
}

/// Runs what may panic on damaged pages; `None` if it did. Only while a daemon starts, so that nobody else's panic is
/// kept from being told.
fn without_panic_output<T>(action: impl FnOnce() -> T) -> Option<T> {
    let old_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(action));
    std::panic::set_hook(old_hook);
    outcome.ok()
}
