//! Where a node keeps its things.
//!
//! ```text
//! DATA/node.key              the node's key (0600): whoever has it is this node
//! DATA/node.key.next         the key that takes its place, while it does (0600)
//! DATA/larder.toml           settings, if there are any
//! DATA/store.redb            records, changes, and everything else that must outlive a crash
//! DATA/groups.kept           membership records once more, to come back with if the store is lost
//! DATA/store.redb.damaged-N  a store that was found damaged, as it was
//! DATA/larder.sock           the local door
//! DATA/recovery-GROUP.key    a founded group's recovery key (0600): to be moved off the machine
//! DATA/files/                where providers write, unless roots are named
//! DATA/previous/             what stood there before Larder wrote for the first time
//! DATA/before-restore-N/     what was here before a backup was put in its place
//! ```

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// The paths of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// The data directory.
    pub path: PathBuf,
    /// The local door.
    pub socket: PathBuf,
}

impl DataDir {
    /// The paths for these flags; those of the system where there are none.
    pub fn new(data: Option<PathBuf>, socket: Option<PathBuf>) -> Self {
        let data = data.unwrap_or_else(default_data_dir);
        let data = std::path::absolute(&data).unwrap_or(data);
        let socket = socket.unwrap_or_else(|| data.join("larder.sock"));
        Self { path: data, socket }
    }

    /// The node's key.
    pub fn key_file(&self) -> PathBuf {
        self.path.join("node.key")
    }

    /// The key that takes its place, while it does.
    pub fn next_key_file(&self) -> PathBuf {
        self.path.join("node.key.next")
    }

    /// The store.
    pub fn store_file(&self) -> PathBuf {
        self.path.join("store.redb")
    }

    /// What a node comes back with if its store is lost.
    pub fn membership_backup_file(&self) -> PathBuf {
        self.path.join("groups.kept")
    }

    /// Settings that are read without being named.
    pub fn settings_file(&self) -> PathBuf {
        self.path.join("larder.toml")
    }

    /// Where providers write unless roots are named.
    pub fn files_dir(&self) -> PathBuf {
        self.path.join("files")
    }

    /// What stood where Larder wrote for the first time.
    pub fn previous_dir(&self) -> PathBuf {
        self.path.join("previous")
    }

    /// A founded group's recovery key.
    pub fn recovery_key_file(&self, group: &str) -> PathBuf {
        self.path.join(format!("recovery-{group}.key"))
    }

    /// Makes the data directory, for its owner alone.
    pub fn create(&self) -> Result<(), CliError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(|error| {
            CliError::failed(format!("cannot make the data directory {}: {error}", self.path.display()))
                .with_hint("name another with --data DIR or LARDER_DATA")
        })
    }
}

/// Of root, the system's; of anybody else, their own.
fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/larder");
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    base.or_else(home).unwrap_or_else(|| PathBuf::from(".")).join("larder")
}

/// Writes a file that only its owner may read, all or nothing. Refuses to replace one.
pub fn create_secret_file(path: &Path, text: &str) -> io::Result<()> {
    let staged = path.with_extension("new");
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::hard_link(&staged, path)?;
    fs::remove_file(&staged)?;
    match path.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a text file, up to [`crate::limits::MAX_FILE_BYTES`].
pub fn read_text_file(path: &Path) -> io::Result<String> {
    read_text(fs::File::open(path)?)
}

/// Reads a text to its end, which must come before [`crate::limits::MAX_FILE_BYTES`].
pub fn read_text(reader: impl Read) -> io::Result<String> {
    String::from_utf8(read_bytes(reader)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// The same of any bytes. What has no end, as a device, is too long.
pub fn read_bytes(reader: impl Read) -> io::Result<Vec<u8>> {
    let limit = crate::limits::MAX_FILE_BYTES;
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
    }
    Ok(bytes)
}
