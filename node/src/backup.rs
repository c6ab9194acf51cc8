//! A backup of a node: the files of its data directory that members cannot send again.
//!
//! ```text
//! DIR/MANIFEST          `larder.backup/1`: node, time, and a checksum of every other file. Written last:
//!                       a directory without it is not a complete backup
//! DIR/store.redb        all rows of the store, as of one moment. Its fingerprint matches no location,
//!                       so a node that starts from it begins new chains
//! DIR/node.key          the node's private key
//! DIR/groups.kept, larder.toml, recovery-GROUP.key, files/, kept/, written/ as in the data directory
//! ```

mod copy_file;
pub mod restore;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use larder_core::id::GroupId;
use larder_core::node::{ClockReading, MonoTime, Node, NodeConfig};
use larder_core::store::{Row, Table};

pub use copy_file::copy_file;

use crate::data_dir::{DataDir, read_text_file, replace_secret_file};
use crate::dto::{BackupFile, BackupGroup, BackupManifest, JsonTime, WithSchema};
use crate::error::{CliError, ExitKind};
use crate::store::Store;
use crate::store::dump::DumpLoader;
use crate::{identity, limits};

/// The format of the backups that this version writes, and the newest that it reads.
pub const BACKUP_FORMAT: u32 = 1;
/// The file that lists all others.
pub const MANIFEST_FILE: &str = "MANIFEST";
/// The value in place of a store's fingerprint. It matches no location.
const BACKUP_FINGERPRINT: &[u8] = b"a backup";

/// Writes a dump of the store to the given writer.
type DumpSource<'a> = &'a mut dyn FnMut(&mut dyn io::Write) -> Result<(), CliError>;

fn io_error(action: &str, path: &Path) -> impl Fn(io::Error) -> CliError {
    let text = format!("cannot {action} {}", path.display());
    move |error| {
        let failure = CliError::failed(format!("{text}: {error}"));
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                failure.with_hint("run this command as the user of the daemon")
            }
            _ => failure,
        }
    }
}

/// True if a backup contains this entry of the data directory. Sockets, damaged stores and temporary files
/// are left out.
fn is_backed_up(file_name: &str) -> bool {
    let is_recovery_key = file_name.starts_with("recovery-") && file_name.ends_with(".key");
    is_recovery_key
        || ["node.key", "store.redb", "groups.kept", "larder.toml", "files", "kept", "written"]
            .contains(&file_name)
}

/// Creates a backup of the node in `dir`, which must be empty or missing. `write_dump` writes a dump of the
/// store. `on_progress` gets the number of bytes received of it.
pub fn create_backup(
    data_dir: &DataDir,
    dir: &Path,
    write_dump: DumpSource<'_>,
    on_progress: &mut dyn FnMut(u64),
) -> Result<BackupManifest, CliError> {
    let secret = read_text_file(&data_dir.key_file()).map_err(io_error("read", &data_dir.key_file()))?;
    let secret = identity::parse_key(&secret)
        .ok_or_else(|| CliError::failed(format!("{} is not a node's key", data_dir.key_file().display())))?;
    copy_file::create_empty_dir(dir)?;
    let mut files = Vec::new();
    for relative_path in list_backup_files(&data_dir.path)? {
        if relative_path != Path::new("store.redb") {
            let source = data_dir.path.join(&relative_path);
            match copy_file(&source, &dir.join(&relative_path), &relative_path, &mut |_| {}) {
                Ok(file) => files.push(file),
                // The daemon runs meanwhile: a file that was just deleted is no error.
                Err(_) if !source.exists() => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    let store_path = dir.join("store.redb");
    let groups = {
        copy_file::create_empty_file(&store_path)?;
        let store = Store::open(&store_path).map_err(|error| error.to_cli_error(&store_path))?;
        let mut loader = DumpLoader::new(&store, on_progress);
        write_dump(&mut loader)?;
        loader.finish().map_err(|error| CliError::failed(format!("cannot copy the store: {error}")))?;
        let fingerprint_row = Row::put(Table::Meta, b"mark".to_vec(), BACKUP_FINGERPRINT.to_vec());
        store.commit([&fingerprint_row]).map_err(|error| CliError::failed(error.to_string()))?;
        backup_groups(&store, secret.clone())?
    };
    files.push(copy_file::describe_file(&store_path, Path::new("store.redb"))?);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let backup = BackupManifest {
        format: BACKUP_FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: secret.node_id().to_string(),
        time: JsonTime(crate::time::wall_clock_seconds()),
        groups,
        files,
    };
    let manifest_json = serde_json::to_string_pretty(&WithSchema::new(&backup))
        .map_err(|error| CliError::failed(error.to_string()))?;
    let manifest_path = dir.join(MANIFEST_FILE);
    replace_secret_file(&manifest_path, format!("{manifest_json}\n").as_bytes())
        .map_err(io_error("write", &manifest_path))?;
    Ok(backup)
}

/// Opens the copied store like a daemon to check it, and lists its groups. Writes nothing.
fn backup_groups(store: &Store, secret: larder_core::id::SecretKey) -> Result<Vec<BackupGroup>, CliError> {
    let config = NodeConfig {
        secret,
        rng_seed: identity::random_seed()?,
        software: String::new(),
        host_name: String::new(),
        store_was_copied: false,
    };
    let now = ClockReading { mono: MonoTime(0), unix_secs: crate::time::wall_clock_seconds() };
    let (mut local_node, _) = Node::open(config, now, store)
        .map_err(|error| CliError::failed(format!("cannot open the copy of the store: {error}")))?;
    let ids: Vec<GroupId> = local_node.groups().map(|state| state.group.id()).collect();
    let mut groups = Vec::new();
    for id in ids {
        let Some(state) = local_node.group_mut(&id) else { continue };
        let (name, changes) = (state.group.name().to_owned(), state.group.shard_states().change_count());
        groups.push(BackupGroup { id: id.to_string(), name, digest: state.digest().to_string(), changes });
    }
    Ok(groups)
}

/// Lists the files of a data directory that belong into a backup, as relative paths. Leaves out everything
/// that is neither a file nor a directory.
fn list_backup_files(root: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        for entry in fs::read_dir(&path).map_err(io_error("read", &path))? {
            let entry = entry.map_err(io_error("read", &path))?;
            let name = entry.file_name();
            if folder.as_os_str().is_empty() && !name.to_str().is_some_and(is_backed_up) {
                continue;
            }
            let file_type = entry.file_type().map_err(io_error("read", &path))?;
            let relative_path = folder.join(name);
            if file_type.is_dir() {
                folders.push(relative_path);
            } else if file_type.is_file() {
                files.push(relative_path);
            }
        }
    }
    Ok(files)
}

/// Reads the manifest of a backup. Fails if it is missing, damaged, too new, or lists a path outside of a
/// data directory.
pub fn read_manifest(dir: &Path) -> Result<BackupManifest, CliError> {
    use io::Read;
    let path = dir.join(MANIFEST_FILE);
    let mut text = String::new();
    let result = fs::File::open(&path)
        .and_then(|file| file.take(limits::MAX_BACKUP_MANIFEST_BYTES).read_to_string(&mut text));
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CliError::not_found(format!(
                "{} is not a complete backup: it has no {MANIFEST_FILE}",
                dir.display()
            ))
            .with_hint("create one with `larder backup DIR`; an interrupted backup has no manifest"));
        }
        other => other.map_err(io_error("read", &path))?,
    };
    let damaged = |why: &str| CliError::failed(format!("{} is damaged: {why}", path.display()));
    #[derive(serde::Deserialize)]
    struct ManifestHeader {
        format: u32,
    }
    let header: ManifestHeader = serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
    if header.format > BACKUP_FORMAT {
        return Err(CliError::failed(format!("a newer version of Larder wrote {}", dir.display()))
            .with_hint("restore it with that version"));
    }
    let backup: BackupManifest = serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
    for file in &backup.files {
        safe_relative_path(&file.path).ok_or_else(|| {
            damaged(&format!("`{}` is not a file of a data directory", file.path.escape_default()))
        })?;
    }
    Ok(backup)
}

/// Returns the path if it stays inside the data directory and belongs into a backup.
fn safe_relative_path(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    let mut parts = path.components();
    let first = match parts.next()? {
        Component::Normal(top) => top.to_str()?,
        _ => return None,
    };
    (is_backed_up(first) && parts.all(|part| matches!(part, Component::Normal(_)))).then_some(path)
}

/// Compares a copied file with its entry in the manifest.
fn verify_file(expected: &BackupFile, actual: &BackupFile) -> Result<(), CliError> {
    if (expected.bytes, &expected.blake3) == (actual.bytes, &actual.blake3) {
        return Ok(());
    }
    Err(CliError::new(
        ExitKind::Failed,
        "damaged",
        format!(
            "`{}` of the backup is damaged: it differs from its entry in {MANIFEST_FILE}",
            expected.path.escape_default()
        ),
    )
    .with_hint("nothing was changed; use another backup"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_outside_the_data_directory_are_refused() {
        for path in ["node.key", "files/a/b", "recovery-00.key", "kept/x"] {
            assert!(safe_relative_path(path).is_some(), "{path}");
        }
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "files/../../x",
            "files/./../x",
            "larder.sock",
            "other",
            "store.redb.damaged-1",
        ] {
            assert!(safe_relative_path(path).is_none(), "{path}");
        }
    }
}
