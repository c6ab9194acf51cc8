//! Backups: what one holds, and what became of one. And what became of a node's key.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// `larder.backup/1`: what is in a backup. It is its file `MANIFEST_FILE` too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// The layout of the backup.
    pub format: u32,
    /// The version of Larder that wrote it.
    pub version: String,
    /// The whole id of the node it is of.
    pub node: String,
    /// When it was made, by this machine's clock.
    pub time: JsonTime,
    /// The groups that the node was in.
    pub groups: Vec<BackupGroup>,
    /// Every other file of it.
    pub files: Vec<BackupFile>,
}

impl HasSchema for BackupManifest {
    const SCHEMA: &'static str = "larder.backup/1";
}

/// One group in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupGroup {
    /// Its whole id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What `heads` printed there then.
    pub digest: String,
    /// How many changes it held.
    pub changes: u64,
}

/// One file in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its path in the backup, and in the data directory.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its mode, in octal.
    pub mode: String,
    /// The BLAKE3 hash of its contents, in hex.
    pub blake3: String,
}

/// `larder.restore-backup/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreResult {
    /// The data directory that was filled.
    pub data: String,
    /// Where everything is that was in it; `None` if nothing was.
    pub moved_to: Option<String>,
    /// What was put in place.
    pub backup: BackupManifest,
}

impl HasSchema for RestoreResult {
    const SCHEMA: &'static str = "larder.restore-backup/1";
}

/// `larder.rotate/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RotateResult {
    /// The whole id that the node had.
    pub old: String,
    /// The one that it has now.
    pub new: String,
    /// The names of the groups that were told.
    pub groups: Vec<String>,
}

impl HasSchema for RotateResult {
    const SCHEMA: &'static str = "larder.rotate/1";
}
