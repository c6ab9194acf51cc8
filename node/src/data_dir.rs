//! The data directory of a node: its paths, and functions that read and write small files durably.
//!
//! ```text
//! DATA/node.key              the node's private key (0600)
//! DATA/node.key.next         the new key while `rotate` runs (0600)
//! DATA/larder.toml           the settings file, if there is one
//! DATA/store.redb            records, changes, and all other state that must survive a crash
//! DATA/groups.kept           a second copy of the membership records, used if the store is lost
//! DATA/store.redb.damaged-N  a damaged store, unchanged
//! DATA/larder.sock           the socket of the local API
//! DATA/recovery-GROUP.key    the recovery key of a group that this node created (0600)
//! DATA/files/                the root of providers, unless roots are named
//! DATA/kept/                 contents that Larder replaced or removed but had not written
//! DATA/written/              what Larder wrote last at each path
//! DATA/before-restore-N/     the content of the directory before a backup was restored
//! ```

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// The paths of a node's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// The data directory.
    pub path: PathBuf,
    /// The socket of the local API.
    pub socket: PathBuf,
}

impl DataDir {
    /// Returns the paths for these options; a missing option takes its default.
    pub fn new(data: Option<PathBuf>, socket: Option<PathBuf>) -> Self {
        let data = data.unwrap_or_else(default_data_dir);
        let data = std::path::absolute(&data).unwrap_or(data);
        let socket = socket.unwrap_or_else(|| data.join("larder.sock"));
        Self { path: data, socket }
    }

    /// The file with the node's private key.
    pub fn key_file(&self) -> PathBuf {
        self.path.join("node.key")
    }

    /// The file with the new key while `rotate` runs.
    pub fn next_key_file(&self) -> PathBuf {
        self.path.join("node.key.next")
    }

    /// The file of the store.
    pub fn store_file(&self) -> PathBuf {
        self.path.join("store.redb")
    }

    /// The second copy of the membership records, used if the store is lost.
    pub fn membership_backup_file(&self) -> PathBuf {
        self.path.join("groups.kept")
    }

    /// The settings file that is read unless another one is named.
    pub fn settings_file(&self) -> PathBuf {
        self.path.join("larder.toml")
    }

    /// The root of providers, unless roots are named.
    pub fn files_dir(&self) -> PathBuf {
        self.path.join("files")
    }

    /// The directory for contents that Larder replaced or removed but had not written.
    pub fn kept_dir(&self) -> PathBuf {
        self.path.join("kept")
    }

    /// The directory for the records of what Larder wrote last at each path.
    pub fn written_dir(&self) -> PathBuf {
        self.path.join("written")
    }

    /// The file with the recovery key of a group that this node created.
    pub fn recovery_key_file(&self, group: &str) -> PathBuf {
        self.path.join(format!("recovery-{group}.key"))
    }

    /// Creates the data directory with mode 0700.
    pub fn create(&self) -> Result<(), CliError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(|error| {
            CliError::failed(format!("cannot create the data directory {}: {error}", self.path.display()))
                .with_hint("name another directory with --data DIR or LARDER_DATA")
        })
    }
}

/// Returns the system's directory for root, and a directory below the home directory for other users.
fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/larder");
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    base.or_else(home).unwrap_or_else(|| PathBuf::from(".")).join("larder")
}

/// Creates a file with mode 0600, completely or not at all. Fails if the file exists.
pub fn create_secret_file(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let staging_file = stage_secret_file(path, content.as_ref())?;
    // A hard link, unlike a rename, never replaces a file.
    fs::hard_link(&staging_file, path)?;
    fs::remove_file(&staging_file)?;
    sync_parent_dir(path)
}

/// Writes a file with mode 0600, completely or not at all. Replaces a file that exists.
pub fn replace_secret_file(path: &Path, content: &[u8]) -> io::Result<()> {
    rename_durably(&stage_secret_file(path, content)?, path)
}

/// Writes a durable file next to `path` and returns its path. Replaces one that an interrupted write left
/// behind.
fn stage_secret_file(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let staging_file = path.with_extension("new");
    remove_file_if_present(&staging_file)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staging_file)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(staging_file)
}

/// Removes a file. A missing file is no error.
pub fn remove_file_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Renames a durable file, and makes the new name durable.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent_dir(to)
}

/// Makes the names in the parent directory of `path` durable.
pub fn sync_parent_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a text file of at most [`crate::limits::MAX_FILE_BYTES`].
pub fn read_text_file(path: &Path) -> io::Result<String> {
    read_text(fs::File::open(path)?)
}

/// Reads text of at most [`crate::limits::MAX_FILE_BYTES`] to its end.
pub fn read_text(reader: impl Read) -> io::Result<String> {
    String::from_utf8(read_bytes(reader)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the input is not UTF-8 text"))
}

/// Reads at most [`crate::limits::MAX_FILE_BYTES`] to the end. A source without end, such as a device, is an
/// error.
pub fn read_bytes(reader: impl Read) -> io::Result<Vec<u8>> {
    let limit = crate::limits::MAX_FILE_BYTES;
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the input is longer than {limit} bytes"),
        ));
    }
    Ok(bytes)
}
