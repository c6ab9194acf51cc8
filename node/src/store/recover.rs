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

use larder_core::id::{GroupId, Secret};
use larder_core::store::salvage::{READ, salvage_all};
use larder_core::store::{Memory, Row, Table};

use super::{OpenError, Roster, Store};
use crate::failure::Failure;
use crate::place::Place;

/// What was found damaged, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What was wrong.
    pub why: String,
    /// Where the damaged file is now, if there was one.
    pub aside: Option<PathBuf>,
    /// Groups that go on, each with how many changes were saved and whether anything is missing.
    pub groups: Vec<(GroupId, u64, bool)>,
}

/// Opens a node's store; if it is damaged, sets it aside and begins a new one of what could be saved.
pub fn open(place: &Place, me: &Secret) -> Result<(Store, Option<Loss>), Failure> {
    let path = place.store();
    let roster = Roster::at(place.roster()).read();
    let len = fs::metadata(&path).map(|meta| meta.len()).ok();
    if !roster.is_empty() && len.unwrap_or(0) == 0 {
        let why = if len.is_some() { "the file is empty" } else { "the file is gone" };
        return begin_anew(place, why, me).map(|(store, loss)| (store, Some(loss)));
    }
    if len.unwrap_or(0) == 0 {
        // Made aside: a crash must not leave half a store, which would be taken for a damaged one ever after.
        let staged = path.with_extension("new");
        let made = write_new(&staged, &[]).and_then(|()| put_in_place(&staged, &path));
        made.map_err(|error| OpenError::Unreachable(error.to_string()).failure(&path))?;
    }
    match Store::open(&path) {
        Ok(store) => Ok((store, None)),
        Err(OpenError::Damaged(why)) => begin_anew(place, &why, me).map(|(store, loss)| (store, Some(loss))),
        Err(error) => Err(error.failure(&path)),
    }
}

/// Sets a damaged store aside, and begins a new one of what could be saved.
pub fn begin_anew(place: &Place, why: &str, me: &Secret) -> Result<(Store, Loss), Failure> {
    let path = place.store();
    let there = fs::metadata(&path).is_ok_and(|meta| meta.len() > 0);
    let (found, whole) = if there { read_all(&path) } else { (Memory::default(), false) };
    let saved = salvage_all(&found, &Roster::at(place.roster()).read(), whole, me);
    if saved.is_empty() {
        return Err(OpenError::Damaged(why.to_owned()).failure(&path));
    }
    let groups = saved.iter().map(|(group, saved)| (*group, saved.changes, saved.lacking)).collect();
    let rows: Vec<Row> = saved.into_values().flat_map(|saved| saved.rows).collect();
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("a new store cannot be made in place of the damaged one: {error}"))
            .hint("nothing is lost by this: free or repair the disk, and start the daemon again")
    };
    // The new store is whole before it takes its place, and a crash in between leaves the damaged one where it was.
    let staged = path.with_extension("new");
    write_new(&staged, &rows).map_err(|error| cannot(&error))?;
    let aside = if there { Some(set_aside(&path).map_err(|error| cannot(&error))?) } else { None };
    put_in_place(&staged, &path).map_err(|error| cannot(&error))?;
    let store = Store::open(&path).map_err(|error| error.failure(&path))?;
    Ok((store, Loss { why: why.to_owned(), aside, groups }))
}

fn write_new(path: &Path, rows: &[Row]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let store = Store::open(path).map_err(io::Error::other)?;
    store.commit(rows).map_err(io::Error::other)
}

/// Gives the damaged file the first free name; a second one to it is made before the first goes.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for nth in 1.. {
        let aside = PathBuf::from(format!("{}.damaged-{nth}", path.display()));
        match fs::hard_link(path, &aside) {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no name is free"))
}

fn put_in_place(staged: &Path, path: &Path) -> io::Result<()> {
    fs::rename(staged, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads whatever can be read of a damaged file, in a copy of it; true if nothing kept any table from being read.
/// Nothing of it is proved by that.
fn read_all(path: &Path) -> (Memory, bool) {
    let copy = path.with_extension("salvage");
    let mut found = Memory::default();
    let whole = fs::copy(path, &copy).is_ok() && quietly(|| read_copy(&copy, &mut found)).unwrap_or(false);
    // The copy has no further use; a later one takes its place if it cannot be removed now.
    drop(fs::remove_file(&copy));
    (found, whole)
}

fn read_copy(copy: &Path, found: &mut Memory) -> bool {
    let Ok(store) = Store::open_unchecked(copy) else { return false };
    let mut whole = true;
    for table in READ {
        // What lies behind a page that cannot be read is reached from the other end.
        for from_end in [false, true] {
            let mut rows = Vec::new();
            let mut each =
                |key: &[u8], value: &[u8]| rows.push(Row::put(table, key.to_vec(), value.to_vec()));
            let read = catch_unwind(AssertUnwindSafe(|| store.read_table(table, from_end, &mut each)));
            found.write(&rows);
            if matches!(read, Ok(Ok(()))) {
                break;
            }
            // The journal is made whole from the rest.
            whole &= table == Table::Journal;
        }
    }
    // What the library does when it lets go of a damaged file may be a panic too.
    whole & catch_unwind(AssertUnwindSafe(|| drop(store))).is_ok()
}

/// Runs what may panic on damaged pages; `None` if it did. Only while a daemon starts, so that nobody else's panic is
/// kept from being told.
fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    std::panic::set_hook(told);
    outcome.ok()
}
