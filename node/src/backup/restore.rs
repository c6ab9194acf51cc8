//! Putting a backup in place.
//!
//! Everything is copied and checked before anything is touched. Then what was in the data directory is moved into a
//! folder in it, and the copies take their places: the store first and the key last, for a daemon that finds a store
//! without a key does not start. Whatever stops this in between, nothing is lost, and it can be done again.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::copy::{copy, make_folder, sync_folder};
use super::{belongs, cannot, read, verify};
use crate::failure::{Exit, Failure};
use crate::limits;
use crate::place::Place;
use crate::store::Store;
use crate::view::{Backup, Restored};

/// Where copies wait until all are there.
const STAGED: &str = "restoring";
/// Where what was there goes; a number follows.
const ASIDE: &str = "before-restore-";

/// Puts the backup in `dir` in place of what is in the data directory; with `force`, even if that is something.
/// `progress` is told how many bytes were copied.
pub fn restore(
    place: &Place,
    dir: &Path,
    force: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, Failure> {
    let backup = read(dir)?;
    place.make()?;
    let there = entries(&place.data)?;
    if !there.is_empty() && !force {
        return Err(Failure::new(Exit::Refused, "exists", format!("{} is not empty", place.data.display()))
            .hint("--force moves what is in it into a folder there; or name another directory with --data"));
    }
    let store = place.store();
    if store.exists() && Store::is_in_use(&store) {
        return Err(in_use(&place.data));
    }
    let staged = stage(place, dir, &backup, progress)?;
    let aside = (!there.is_empty()).then(|| set_aside(&place.data, &there)).transpose()?;
    put_in_place(&staged, &place.data)?;
    Ok(Restored {
        data: place.data.display().to_string(),
        aside: aside.map(|path| path.display().to_string()),
        backup,
    })
}

/// Said where a daemon runs.
pub fn in_use(data: &Path) -> Failure {
    Failure::new(Exit::Refused, "running", format!("a daemon runs with {}", data.display()))
        .hint("stop it, restore, and start it again")
}

/// What is in the data directory, but for a door that nobody answers at and copies of an earlier try.
fn entries(data: &Path) -> Result<Vec<OsString>, Failure> {
    use std::os::unix::fs::FileTypeExt;
    let mut found = Vec::new();
    for entry in fs::read_dir(data).map_err(cannot("read", data))? {
        let entry = entry.map_err(cannot("read", data))?;
        let is_door = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if !is_door && entry.file_name() != STAGED {
            found.push(entry.file_name());
        }
    }
    Ok(found)
}

/// Copies all files beside where they will be, and checks the copies.
fn stage(
    place: &Place,
    dir: &Path,
    backup: &Backup,
    progress: &mut dyn FnMut(u64),
) -> Result<PathBuf, Failure> {
    let staged = place.data.join(STAGED);
    let clear = || match fs::remove_dir_all(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("clear", &staged)(error)),
        _ => Ok(()),
    };
    clear()?;
    make_folder(&staged).map_err(cannot("make", &staged))?;
    let owner = fs::metadata(&place.data).map_err(cannot("read", &place.data))?;
    let mut copied = 0;
    let mut one = |file: &crate::view::BackupFile| {
        let (from, to) = (dir.join(&file.path), staged.join(&file.path));
        let mut moved = |bytes| {
            copied += bytes;
            progress(copied);
        };
        verify(file, &copy(&from, &to, Path::new(&file.path), &mut moved)?)?;
        let mode = u32::from_str_radix(&file.mode, 8).unwrap_or(0o600) & 0o777;
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).map_err(cannot("protect", &to))?;
        give(&staged, Path::new(&file.path), &owner);
        Ok(())
    };
    let done = backup.files.iter().try_for_each(&mut one);
    done.inspect_err(|_: &Failure| drop(clear()))?;
    Ok(staged)
}

/// Gives a file, and the folders that it is in, to whom the data directory belongs. Only root can; a daemon of anybody
/// else is theirs already.
fn give(staged: &Path, file: &Path, owner: &fs::Metadata) {
    for path in file.ancestors() {
        drop(std::os::unix::fs::lchown(staged.join(path), Some(owner.uid()), Some(owner.gid())));
    }
}

fn set_aside(data: &Path, there: &[OsString]) -> Result<PathBuf, Failure> {
    for nth in 1..=limits::ASIDES {
        let aside = data.join(format!("{ASIDE}{nth}"));
        match fs::create_dir(&aside) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(cannot("make", &aside)(error)),
        }
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o700)).map_err(cannot("protect", &aside))?;
        // What was moved by earlier restores stays where it is.
        for name in there.iter().filter(|name| !name.to_string_lossy().starts_with(ASIDE)) {
            let from = data.join(name);
            fs::rename(&from, aside.join(name)).map_err(cannot("move", &from))?;
        }
        sync_folder(&aside).map_err(cannot("write", data))?;
        return Ok(aside);
    }
    Err(Failure::failed(format!("{} holds the data of too many restores", data.display()))
        .hint(format!("delete those {ASIDE}N that you do not want any more")))
}

fn put_in_place(staged: &Path, data: &Path) -> Result<(), Failure> {
    let mut names: Vec<OsString> =
        entries(staged)?.into_iter().filter(|name| name.to_str().is_some_and(belongs)).collect();
    names.sort_by_key(|name| match name.to_str() {
        Some("store.redb") => 0,
        Some("node.key") => 2,
        _ => 1,
    });
    for name in names {
        let to = data.join(&name);
        fs::rename(staged.join(&name), &to).map_err(cannot("write", &to))?;
        sync_folder(&to).map_err(cannot("write", data))?;
    }
    // An empty folder is in nobody's way.
    drop(fs::remove_dir(staged));
    Ok(())
}
