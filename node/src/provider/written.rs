//! What Larder wrote last at each path, and for which resource.
//!
//! A provider saves the record of a path before it writes there, so that after a crash the record covers both
//! the contents before the write and those after it. Each record is a small file named by a hash of the path:
//! providers need it on the disk before they go on, and it must not depend on the store.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use larder_core::codec::checksum;
use larder_core::id::{GroupId, hash16};
use larder_core::resource::ResourceName;
use larder_core::store::{decode_layout, encode_layout};
use serde::{Deserialize, Serialize};

use super::crash_point::crash_point;
use super::kept::list_files;
use super::managed_keys::ManagedKeys;
use super::protected::DirId;
use super::target_file::TargetFile;
use crate::data_dir::{remove_file_if_present, replace_secret_file, sync_parent_dir};

/// The hash context of the digest of written contents.
const CONTENTS_CONTEXT: &str = "larder 1 written contents";
/// The hash context of a record's checksum.
const RECORD_CONTEXT: &str = "larder 1 written record";
/// The versions of a file that a record knows: the one before a write, and the one after it.
const MAX_VERSIONS: usize = 2;

/// A resource of a group, as the owner of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathOwner {
    /// The id of the group.
    pub group: GroupId,
    /// The name of the group, for messages.
    pub group_name: String,
    /// The name of the resource.
    pub resource: ResourceName,
}

impl PathOwner {
    /// True if both are the same resource. Names of groups may change.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.group, &self.resource) == (other.group, &other.resource)
    }
}

impl std::fmt::Display for PathOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of group {}", self.resource, self.group_name)
    }
}

/// Contents that Larder wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WrittenVersion {
    digest: [u8; 32],
    /// True if every byte came from the resource; false if lines of others were in the file.
    is_whole: bool,
}

/// What Larder wrote at one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WrittenRecord {
    /// The resource that has the path now.
    pub(super) owner: Option<PathOwner>,
    /// The path as the resource names it.
    pub(super) path: String,
    /// True if there was no file before Larder wrote one.
    pub(super) is_created: bool,
    /// The keys that a `config` set.
    pub(super) keys: ManagedKeys,
    /// What an operator should know about the last write.
    pub(super) note: String,
    versions: Vec<WrittenVersion>,
}

impl WrittenRecord {
    /// Adds contents that are about to be written.
    pub(super) fn push_version(&mut self, contents: &[u8], is_whole: bool) {
        let digest = checksum(CONTENTS_CONTEXT, contents);
        self.versions.retain(|version| version.digest != digest);
        self.versions.insert(0, WrittenVersion { digest, is_whole });
        self.versions.truncate(MAX_VERSIONS);
    }

    /// True if Larder wrote these contents last; with `needs_whole`, only if every byte was of a resource.
    pub(super) fn has_written(&self, contents: &[u8], needs_whole: bool) -> bool {
        let digest = checksum(CONTENTS_CONTEXT, contents);
        self.versions.iter().any(|version| version.digest == digest && (version.is_whole || !needs_whole))
    }

    /// True if Larder wrote anything at the path.
    pub(super) fn has_versions(&self) -> bool {
        !self.versions.is_empty()
    }
}

/// The name of a record: a hash of the path.
type RecordKey = [u8; 16];

/// The records of this host.
#[derive(Debug)]
pub(super) struct WrittenRecords {
    dir: PathBuf,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    /// The owner of each path that has one.
    owners: BTreeMap<RecordKey, PathOwner>,
    /// The paths by directory and name, as far as this process met them. Two paths may lead to one place.
    positions: BTreeMap<(DirId, OsString), RecordKey>,
}

impl WrittenRecords {
    /// Opens the records. Returns them with the owners and the paths that they name.
    pub(super) fn open(dir: &Path) -> (Self, Vec<(PathOwner, String)>) {
        let mut index = Index::default();
        let mut owned = Vec::new();
        for path in list_files(dir, "record") {
            let Some(key) = path.file_stem().and_then(|name| parse_key(name.as_bytes())) else { continue };
            let record = read_record(&path).ok().flatten();
            if let Some((owner, path)) = record.and_then(|record| Some((record.owner?, record.path))) {
                index.owners.insert(key, owner.clone());
                owned.push((owner, path));
            }
        }
        (Self { dir: dir.to_owned(), index: Mutex::new(index) }, owned)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the path to a resource, unless another resource has it. Then that one is returned.
    pub(super) fn claim(&self, target: &TargetFile, owner: &PathOwner) -> Result<(), PathOwner> {
        let key = key_of(&target.real_path);
        let mut index = self.lock();
        let other_path = target.position().and_then(|position| index.positions.insert(position, key));
        let claimed = [Some(key), other_path].into_iter().flatten().filter_map(|key| index.owners.get(&key));
        if let Some(other) = claimed.clone().find(|found| !found.is_same(owner)) {
            let other = other.clone();
            if let (Some(position), Some(other_path)) = (target.position(), other_path) {
                index.positions.insert(position, other_path);
            }
            return Err(other);
        }
        index.owners.insert(key, owner.clone());
        Ok(())
    }

    /// Takes back a claim after the resource was not written, unless the record names the resource.
    pub(super) fn release_claim(&self, target: &TargetFile) {
        let key = key_of(&target.real_path);
        let owner = read_record(&self.file_of(&key)).ok().flatten().and_then(|record| record.owner);
        match owner {
            Some(owner) => drop(self.lock().owners.insert(key, owner)),
            None => drop(self.lock().owners.remove(&key)),
        }
    }

    /// True if the resource has any path.
    pub(super) fn is_owner(&self, owner: &PathOwner) -> bool {
        self.lock().owners.values().any(|found| found.is_same(owner))
    }

    /// Returns the resource that has the path.
    pub(super) fn owner_of(&self, target: &TargetFile) -> Option<PathOwner> {
        self.lock().owners.get(&key_of(&target.real_path)).cloned()
    }

    /// Reads the record of a path. An empty one says that Larder wrote nothing there.
    pub(super) fn read(&self, target: &TargetFile) -> io::Result<WrittenRecord> {
        let record = read_record(&self.file_of(&key_of(&target.real_path)))?;
        Ok(record.unwrap_or_default())
    }

    /// Saves the record of a path. It is on the disk when this returns.
    pub(super) fn save(&self, target: &TargetFile, record: &WrittenRecord) -> io::Result<()> {
        self.save_key(&key_of(&target.real_path), record)
    }

    fn save_key(&self, key: &RecordKey, record: &WrittenRecord) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let body = encode_layout(record);
        crash_point();
        replace_secret_file(&self.file_of(key), &[&checksum(RECORD_CONTEXT, &body)[..], &body].concat())?;
        crash_point();
        let mut index = self.lock();
        match &record.owner {
            Some(owner) => index.owners.insert(*key, owner.clone()),
            None => index.owners.remove(key),
        };
        Ok(())
    }

    /// Forgets a path: nothing that Larder wrote is there any more.
    pub(super) fn remove(&self, target: &TargetFile) -> io::Result<()> {
        let key = key_of(&target.real_path);
        let file = self.file_of(&key);
        crash_point();
        if file.exists() {
            remove_file_if_present(&file)?;
            sync_parent_dir(&file)?;
        }
        self.lock().owners.remove(&key);
        Ok(())
    }

    /// Takes all paths from a resource, except that of `kept`. What stands there stays as it is.
    pub(super) fn disown(&self, owner: &PathOwner, kept: Option<&TargetFile>) -> io::Result<()> {
        let kept = kept.map(|target| key_of(&target.real_path));
        let keys: Vec<RecordKey> = {
            let index = self.lock();
            let owned =
                index.owners.iter().filter(|(key, found)| found.is_same(owner) && Some(**key) != kept);
            owned.map(|(key, _)| *key).collect()
        };
        for key in keys {
            match read_record(&self.file_of(&key))? {
                Some(record) => {
                    let keys = ManagedKeys::default();
                    self.save_key(&key, &WrittenRecord { owner: None, keys, ..record })?;
                }
                None => drop(self.lock().owners.remove(&key)),
            }
        }
        Ok(())
    }

    fn file_of(&self, key: &RecordKey) -> PathBuf {
        self.dir.join(format!("{}.record", HEXLOWER.encode(key)))
    }
}

fn key_of(real_path: &Path) -> RecordKey {
    hash16("larder 1 written path", &[real_path.as_os_str().as_bytes()])
}

fn parse_key(name: &[u8]) -> Option<RecordKey> {
    HEXLOWER.decode(name).ok()?.try_into().ok()
}

/// Reads a record; `None` if there is none, or if it is damaged. Without a record, everything at the path
/// counts as written by others.
fn read_record(path: &Path) -> io::Result<Option<WrittenRecord>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let Some((sum, body)) = bytes.split_at_checked(32) else { return Ok(None) };
    Ok(Some(body).filter(|body| checksum(RECORD_CONTEXT, body) == sum).and_then(decode_layout))
}
