//! Contents that Larder did not write, kept before it replaced or removed them.
//!
//! ```text
//! kept/ID        the contents
//! kept/ID.json   where they stood, when and why they were replaced
//! ```
//!
//! The id is a hash of the path and the contents: two versions never share a name, and keeping one again
//! renews its time. An entry counts once its second file is there.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use larder_core::id::hash16;
use serde::{Deserialize, Serialize};

use super::crash_point::crash_point;
use crate::data_dir::{read_bytes, remove_file_if_present, replace_secret_file};
use crate::limits;

/// The kept contents of this host.
#[derive(Debug)]
pub struct KeptFiles {
    dir: PathBuf,
    entries: Mutex<BTreeMap<String, KeptEntry>>,
}

/// One kept version of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEntry {
    /// The id, as hexadecimal digits.
    pub id: String,
    /// The path of the file, with symbolic links resolved.
    pub path: String,
    /// The time when the contents were replaced, in seconds since 1970.
    pub time: i64,
    /// The reason why the contents were replaced.
    pub reason: String,
    /// The resource that replaced them, with its group.
    pub resource: String,
    /// The number of bytes.
    pub size: u64,
    /// The mode of the file.
    pub mode: u32,
}

impl KeptFiles {
    /// Opens the directory. An entry that cannot be read is left out; its file stays.
    pub fn open(dir: &Path) -> Self {
        let entries = list_files(dir, "json").into_iter().filter_map(|path| {
            let entry: KeptEntry = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            dir.join(&entry.id).is_file().then(|| (entry.id.clone(), entry))
        });
        Self { dir: dir.to_owned(), entries: Mutex::new(entries.collect()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, KeptEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all entries, newest first.
    pub fn list(&self) -> Vec<KeptEntry> {
        let mut entries: Vec<KeptEntry> = self.lock().values().cloned().collect();
        entries.sort_by(|a, b| (b.time, &a.path, &a.id).cmp(&(a.time, &b.path, &b.id)));
        entries
    }

    /// Returns the entries whose id begins with `prefix`.
    pub fn find(&self, prefix: &str) -> Vec<KeptEntry> {
        self.lock().values().filter(|entry| entry.id.starts_with(prefix)).cloned().collect()
    }

    /// Reads the contents of an entry.
    pub fn read(&self, entry: &KeptEntry) -> io::Result<Vec<u8>> {
        read_bytes(fs::File::open(self.dir.join(&entry.id))?)
    }

    /// Keeps contents, and returns their id when they are on the disk. `entry` describes them; its id and
    /// size are set here.
    pub(super) fn keep(&self, mut entry: KeptEntry, contents: &[u8]) -> io::Result<String> {
        let id: String = HEXLOWER.encode(&hash16("larder 1 kept", &[entry.path.as_bytes(), contents]));
        entry.id = id.chars().take(limits::KEPT_ID_HEX_DIGITS).collect();
        entry.size = contents.len() as u64;
        let mut entries = self.lock();
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        crash_point();
        if !entries.contains_key(&entry.id) {
            replace_secret_file(&self.dir.join(&entry.id), contents)?;
        }
        crash_point();
        replace_secret_file(&self.entry_file(&entry.id), &serde_json::to_vec(&entry)?)?;
        crash_point();
        let id = entry.id.clone();
        entries.insert(id.clone(), entry);
        self.drop_oldest(&mut entries, &id)?;
        Ok(id)
    }

    /// Drops the oldest entries until the others are within the limits. The entry `newest` stays.
    fn drop_oldest(&self, entries: &mut BTreeMap<String, KeptEntry>, newest: &str) -> io::Result<()> {
        let stored_size = |entry: &KeptEntry| entry.size.max(limits::MIN_KEPT_ENTRY_BYTES);
        let mut total: u64 = entries.values().map(stored_size).sum();
        let now = entries.get(newest).map_or(0, |entry| entry.time);
        loop {
            let others = entries.values().filter(|entry| entry.id != newest);
            let Some(oldest) = others.min_by_key(|entry| (entry.time, &entry.id)).cloned() else {
                return Ok(());
            };
            let is_too_old = now.saturating_sub(oldest.time) > limits::MAX_KEPT_SECONDS;
            if total <= limits::MAX_KEPT_BYTES && !is_too_old {
                return Ok(());
            }
            tracing::warn!(
                id = oldest.id,
                path = oldest.path,
                "dropped kept contents: {}",
                if is_too_old { "too old" } else { "too many bytes are kept" }
            );
            remove_file_if_present(&self.entry_file(&oldest.id))?;
            remove_file_if_present(&self.dir.join(&oldest.id))?;
            total -= stored_size(&oldest);
            entries.remove(&oldest.id);
        }
    }

    fn entry_file(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

/// Lists the files of a directory with this extension; none if the directory is missing.
pub(super) fn list_files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}
