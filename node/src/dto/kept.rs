//! Contents that Larder replaced or removed on this host but had not written.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// `larder.kept/1`: the kept contents, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptList {
    /// The kept contents.
    pub kept: Vec<KeptVersion>,
    /// The number of bytes that are kept at most. The oldest contents are dropped first.
    pub max_bytes: u64,
    /// The longest time for which contents are kept, in seconds.
    pub max_seconds: i64,
}

impl HasSchema for KeptList {
    const SCHEMA: &'static str = "larder.kept/1";
}

/// One kept version of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptVersion {
    /// The id, as hexadecimal digits.
    pub id: String,
    /// The path of the file, with symbolic links resolved.
    pub path: String,
    /// The time when the contents were replaced or removed.
    pub time: JsonTime,
    /// The reason why they were kept.
    pub reason: String,
    /// The resource that replaced or removed them, with its group.
    pub resource: String,
    /// The number of bytes.
    pub size: u64,
    /// The mode of the file, in octal digits.
    pub mode: String,
}

/// `larder.kept-contents/1`: one kept version with its contents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptContents {
    /// The version that was kept.
    #[serde(flatten)]
    pub version: KeptVersion,
    /// The contents in base64.
    pub base64: String,
}

impl HasSchema for KeptContents {
    const SCHEMA: &'static str = "larder.kept-contents/1";
}

/// `larder.kept-restored/1`: the result of putting contents back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoredKept {
    /// The id of the contents.
    pub id: String,
    /// The path to which they were written.
    pub path: String,
    /// The id of the contents that stood there and are kept now, if any.
    pub replaced: Option<String>,
}

impl HasSchema for RestoredKept {
    const SCHEMA: &'static str = "larder.kept-restored/1";
}
