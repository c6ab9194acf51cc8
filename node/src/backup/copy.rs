//! Copying files with their checksums; whatever is written is on the disk when these return.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::cannot;
use crate::failure::{Exit, Failure};
use crate::view::BackupFile;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Makes a folder for its owner alone; one that is there must be empty.
pub(super) fn make_empty(dir: &Path) -> Result<(), Failure> {
    make_folder(dir).map_err(cannot("make", dir))?;
    match fs::read_dir(dir).map_err(cannot("read", dir))?.next() {
        None => fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(cannot("protect", dir)),
        Some(_) => Err(Failure::new(Exit::Refused, "exists", format!("{} is not empty", dir.display()))
            .hint("a backup goes into a directory of its own, as one named after the day")),
    }
}

/// Makes a folder, and those above it, for its owner alone.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes an empty file for its owner alone.
pub(super) fn touch(path: &Path) -> Result<(), Failure> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(cannot("write", path))
}

/// Copies a file, makes the folders that it needs, and says what was copied. `path` is what it is called in the backup;
/// `progress` is told the length of every piece.
pub fn copy(
    from: &Path,
    to: &Path,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<BackupFile, Failure> {
    if let Some(folder) = to.parent() {
        make_folder(folder).map_err(cannot("make", folder))?;
    }
    let mut source = File::open(from).map_err(cannot("read", from))?;
    let mode = source.metadata().map_err(cannot("read", from))?.permissions().mode() & 0o777;
    let mut target =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(cannot("write", to))?;
    let (bytes, hash) = pump(&mut source, &mut target, progress).map_err(cannot("copy", from))?;
    let whole = target.set_permissions(fs::Permissions::from_mode(mode)).and_then(|()| target.sync_all());
    whole.map_err(cannot("write", to))?;
    named(path, bytes, mode, hash)
}

/// What a file holds.
pub(super) fn describe(file: &Path, path: &Path) -> Result<BackupFile, Failure> {
    let mut source = File::open(file).map_err(cannot("read", file))?;
    let mode = source.metadata().map_err(cannot("read", file))?.permissions().mode() & 0o777;
    let (bytes, hash) = pump(&mut source, &mut io::sink(), &mut |_| {}).map_err(cannot("read", file))?;
    named(path, bytes, mode, hash)
}

fn named(path: &Path, bytes: u64, mode: u32, hash: blake3::Hash) -> Result<BackupFile, Failure> {
    let path = path.to_str().ok_or_else(|| {
        Failure::failed(format!("the name of {} is not UTF-8 text, and cannot be listed", path.display()))
    })?;
    let (path, mode, blake3) = (path.to_owned(), format!("{mode:04o}"), hash.to_hex().to_string());
    Ok(BackupFile { path, bytes, mode, blake3 })
}

fn pump(
    from: &mut impl Read,
    to: &mut impl Write,
    progress: &mut dyn FnMut(u64),
) -> io::Result<(u64, blake3::Hash)> {
    let (mut hasher, mut length, mut piece) = (blake3::Hasher::new(), 0, vec![0; PIECE]);
    loop {
        let read = from.read(&mut piece)?;
        let Some(new) = piece.get(..read).filter(|new| !new.is_empty()) else { break };
        hasher.update(new);
        to.write_all(new)?;
        length += new.len() as u64;
        progress(new.len() as u64);
    }
    Ok((length, hasher.finalize()))
}

/// Writes a new file for its owner alone, and what leads to it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_folder(path)
}

/// Makes durable that a file is called so.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
