//! Copies files and computes their checksums. A copy is durable when these functions return.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::io_error;
use crate::dto::BackupFile;
use crate::error::{CliError, ExitKind};

/// The number of bytes that a copy reads at once.
const COPY_CHUNK_BYTES: usize = 64 << 10;

/// Creates a directory with mode 0700. A directory that exists must be empty.
pub(super) fn create_empty_dir(dir: &Path) -> Result<(), CliError> {
    create_dir(dir).map_err(io_error("create", dir))?;
    match fs::read_dir(dir).map_err(io_error("read", dir))?.next() {
        None => fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(io_error("protect", dir)),
        Some(_) => Err(CliError::new(ExitKind::Refused, "exists", format!("{} is not empty", dir.display()))
            .with_hint("name a new or empty directory for the backup")),
    }
}

/// Creates a directory and its missing parents with mode 0700.
pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates an empty file with mode 0600.
pub(super) fn create_empty_file(path: &Path) -> Result<(), CliError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(io_error("write", path))
}

/// Copies a file, creates missing parent directories, and returns the manifest entry of the copy.
/// `backup_path` is its path in the backup. `on_bytes` gets the length of every chunk.
pub fn copy_file(
    source_path: &Path,
    target_path: &Path,
    backup_path: &Path,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<BackupFile, CliError> {
    if let Some(parent) = target_path.parent() {
        create_dir(parent).map_err(io_error("create", parent))?;
    }
    let mut source = File::open(source_path).map_err(io_error("read", source_path))?;
    let mode = source.metadata().map_err(io_error("read", source_path))?.permissions().mode() & 0o777;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target_path)
        .map_err(io_error("write", target_path))?;
    let (bytes, checksum) =
        copy_and_hash(&mut source, &mut target, on_bytes).map_err(io_error("copy", source_path))?;
    let result = target.set_permissions(fs::Permissions::from_mode(mode)).and_then(|()| target.sync_all());
    result.map_err(io_error("write", target_path))?;
    backup_file(backup_path, bytes, mode, checksum)
}

/// Returns the manifest entry of a file.
pub(super) fn describe_file(file: &Path, backup_path: &Path) -> Result<BackupFile, CliError> {
    let mut source = File::open(file).map_err(io_error("read", file))?;
    let mode = source.metadata().map_err(io_error("read", file))?.permissions().mode() & 0o777;
    let (bytes, hash) =
        copy_and_hash(&mut source, &mut io::sink(), &mut |_| {}).map_err(io_error("read", file))?;
    backup_file(backup_path, bytes, mode, hash)
}

fn backup_file(path: &Path, bytes: u64, mode: u32, checksum: blake3::Hash) -> Result<BackupFile, CliError> {
    let path = path.to_str().ok_or_else(|| {
        CliError::failed(format!("cannot back up {}: its name is not UTF-8 text; rename it", path.display()))
    })?;
    let (path, mode, blake3) = (path.to_owned(), format!("{mode:04o}"), checksum.to_hex().to_string());
    Ok(BackupFile { path, bytes, mode, blake3 })
}

fn copy_and_hash(
    reader: &mut impl Read,
    writer: &mut impl Write,
    on_bytes: &mut dyn FnMut(u64),
) -> io::Result<(u64, blake3::Hash)> {
    let (mut hasher, mut copied, mut buffer) = (blake3::Hasher::new(), 0, vec![0; COPY_CHUNK_BYTES]);
    loop {
        let read = reader.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..read).filter(|new| !new.is_empty()) else { break };
        hasher.update(chunk);
        writer.write_all(chunk)?;
        copied += chunk.len() as u64;
        on_bytes(chunk.len() as u64);
    }
    Ok((copied, hasher.finalize()))
}
