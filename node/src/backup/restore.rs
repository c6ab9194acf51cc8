//! Restores a backup.
//!
//! All files are copied and checked before the data directory changes. Then its content is moved into a
//! subdirectory, and the copies are moved into place: the store first and the key last, because a daemon that
//! finds a store without a key does not start. An interruption loses nothing, and the restore can be
//! repeated.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::copy_file::{copy_file, create_dir};
use super::{io_error, is_backed_up, read_manifest, verify_file};
use crate::data_dir::{DataDir, rename_durably, sync_parent_dir};
use crate::dto::{BackupManifest, RestoreResult};
use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::store::Store;

/// The subdirectory of the data directory for the copies until they are complete.
const STAGING_DIR: &str = "restoring";
/// The prefix of the subdirectory for the replaced content; a number follows.
const REPLACED_DIR_PREFIX: &str = "before-restore-";

/// Restores the backup in `dir` to the data directory. Replaces existing content only with `force`.
/// `on_progress` gets the number of copied bytes.
pub fn restore_backup(
    data_dir: &DataDir,
    dir: &Path,
    force: bool,
    on_progress: &mut dyn FnMut(u64),
) -> Result<RestoreResult, CliError> {
    let backup = read_manifest(dir)?;
    data_dir.create()?;
    let existing = list_entries(&data_dir.path)?;
    if !existing.is_empty() && !force {
        return Err(CliError::new(
            ExitKind::Refused,
            "exists",
            format!("{} is not empty", data_dir.path.display()),
        )
        .with_hint(
            "--force moves its content into a subdirectory; or name another directory with --data DIR",
        ));
    }
    let store = data_dir.store_file();
    if store.exists() && Store::is_in_use(&store) {
        return Err(daemon_running_error(&data_dir.path));
    }
    let staging_dir = stage_files(data_dir, dir, &backup, on_progress)?;
    let moved_to = (!existing.is_empty()).then(|| move_existing(&data_dir.path, &existing)).transpose()?;
    move_into_data_dir(&staging_dir, &data_dir.path)?;
    Ok(RestoreResult {
        data: data_dir.path.display().to_string(),
        moved_to: moved_to.map(|path| path.display().to_string()),
        backup,
    })
}

/// Returns the error for a data directory that a daemon uses.
pub fn daemon_running_error(path: &Path) -> CliError {
    CliError::new(ExitKind::Refused, "running", format!("a daemon uses {}", path.display()))
        .with_hint("stop the daemon, repeat the command, and start the daemon again")
}

/// Lists the content of the data directory, without sockets and the copies of an interrupted restore.
fn list_entries(path: &Path) -> Result<Vec<OsString>, CliError> {
    use std::os::unix::fs::FileTypeExt;
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error("read", path))? {
        let entry = entry.map_err(io_error("read", path))?;
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if !is_socket && entry.file_name() != STAGING_DIR {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

/// Copies all files into the staging directory, and checks the copies.
fn stage_files(
    data_dir: &DataDir,
    dir: &Path,
    backup: &BackupManifest,
    on_progress: &mut dyn FnMut(u64),
) -> Result<PathBuf, CliError> {
    let staging_dir = data_dir.path.join(STAGING_DIR);
    let clear_staging = || match fs::remove_dir_all(&staging_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("clear", &staging_dir)(error)),
        _ => Ok(()),
    };
    clear_staging()?;
    create_dir(&staging_dir).map_err(io_error("create", &staging_dir))?;
    let owner = fs::metadata(&data_dir.path).map_err(io_error("read", &data_dir.path))?;
    let mut copied = 0;
    let mut copy_one = |file: &crate::dto::BackupFile| {
        let (source, target) = (dir.join(&file.path), staging_dir.join(&file.path));
        let mut on_bytes = |bytes| {
            copied += bytes;
            on_progress(copied);
        };
        verify_file(file, &copy_file(&source, &target, Path::new(&file.path), &mut on_bytes)?)?;
        let mode = u32::from_str_radix(&file.mode, 8).unwrap_or(0o600) & 0o777;
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))
            .map_err(io_error("protect", &target))?;
        give_to_owner(&staging_dir, Path::new(&file.path), &owner);
        Ok(())
    };
    let result = backup.files.iter().try_for_each(&mut copy_one);
    result.inspect_err(|_: &CliError| drop(clear_staging()))?;
    Ok(staging_dir)
}

/// Gives a file and its parent directories to the owner of the data directory. This succeeds for root only;
/// for other users the owner is right already.
fn give_to_owner(staging_dir: &Path, file: &Path, owner: &fs::Metadata) {
    for path in file.ancestors() {
        drop(std::os::unix::fs::lchown(staging_dir.join(path), Some(owner.uid()), Some(owner.gid())));
    }
}

fn move_existing(data_path: &Path, existing: &[OsString]) -> Result<PathBuf, CliError> {
    for nth in 1..=limits::MAX_RESTORE_BACKUPS {
        let target_dir = data_path.join(format!("{REPLACED_DIR_PREFIX}{nth}"));
        match fs::create_dir(&target_dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(io_error("create", &target_dir)(error)),
        }
        fs::set_permissions(&target_dir, fs::Permissions::from_mode(0o700))
            .map_err(io_error("protect", &target_dir))?;
        // Directories of earlier restores stay in place.
        for name in existing.iter().filter(|name| !name.to_string_lossy().starts_with(REPLACED_DIR_PREFIX)) {
            let source = data_path.join(name);
            fs::rename(&source, target_dir.join(name)).map_err(io_error("move", &source))?;
        }
        sync_parent_dir(&target_dir).map_err(io_error("write", data_path))?;
        return Ok(target_dir);
    }
    Err(CliError::failed(format!("{} holds the replaced data of too many restores", data_path.display()))
        .with_hint(format!("delete the directories {REPLACED_DIR_PREFIX}N that you no longer need")))
}

fn move_into_data_dir(staging_dir: &Path, data_path: &Path) -> Result<(), CliError> {
    let mut names: Vec<OsString> = list_entries(staging_dir)?
        .into_iter()
        .filter(|name| name.to_str().is_some_and(is_backed_up))
        .collect();
    names.sort_by_key(|name| match name.to_str() {
        Some("store.redb") => 0,
        Some("node.key") => 2,
        _ => 1,
    });
    for name in names {
        let target = data_path.join(&name);
        rename_durably(&staging_dir.join(&name), &target).map_err(io_error("write", &target))?;
    }
    // An empty directory that cannot be removed does no harm.
    drop(fs::remove_dir(staging_dir));
    Ok(())
}
