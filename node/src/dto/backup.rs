//! The results of `backup`, `restore-backup` and `rotate`.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// The manifest of a backup: `larder.backup/1`, and the backup's file `MANIFEST_FILE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// The version of the backup's layout.
    pub format: u32,
    /// The version of Larder that made the backup.
    pub version: String,
    /// The id of the node.
    pub node: String,
    /// The time of the backup, by the host's clock.
    pub time: JsonTime,
    /// The groups of the node.
    pub groups: Vec<BackupGroup>,
    /// Every other file of the backup.
    pub files: Vec<BackupFile>,
}

impl HasSchema for BackupManifest {
    const SCHEMA: &'static str = "larder.backup/1";
}

/// One group in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupGroup {
    /// The group's id.
    pub id: String,
    /// The group's name.
    pub name: String,
    /// The digest of the group, as `heads` shows it.
    pub digest: String,
    /// The number of changes.
    pub changes: u64,
}

/// One file in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// The path in the backup and in the data directory.
    pub path: String,
    /// The length in bytes.
    pub bytes: u64,
    /// The file mode, in octal.
    pub mode: String,
    /// The BLAKE3 hash of the content, in hex.
    pub blake3: String,
}

/// The result of `restore-backup`: `larder.restore-backup/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreResult {
    /// The data directory that was filled.
    pub data: String,
    /// The directory to which the former content was moved, if there was any.
    pub moved_to: Option<String>,
    /// The manifest of the restored backup.
    pub backup: BackupManifest,
}

impl HasSchema for RestoreResult {
    const SCHEMA: &'static str = "larder.restore-backup/1";
}

/// The result of `rotate`: `larder.rotate/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RotateResult {
    /// The node id before the rotation.
    pub old: String,
    /// The node id after the rotation.
    pub new: String,
    /// The names of the groups in which the node was rotated.
    pub groups: Vec<String>,
}

impl HasSchema for RotateResult {
    const SCHEMA: &'static str = "larder.rotate/1";
}
