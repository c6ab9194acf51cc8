//! What was put back, and the names for points to go back to.

use serde::{Deserialize, Serialize};

use super::{FieldDiff, HasSchema, JsonTime, NodeRef};

/// `larder.back/1`: what `undo`, `revert` and `restore` did, or would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevertResult {
    /// The change that was made; `None` if nothing differed, or if it was only asked.
    pub change: Option<String>,
    /// The changes that were reverted; of a restore, the heads whose state was put back.
    pub sources: Vec<String>,
    /// What differs by it, in order of resource and field.
    pub edits: Vec<FieldDiff>,
}

impl HasSchema for RevertResult {
    const SCHEMA: &'static str = "larder.back/1";
}

/// `larder.tags/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TagList {
    /// In order of name.
    pub tags: Vec<TagEntry>,
}

impl HasSchema for TagList {
    const SCHEMA: &'static str = "larder.tags/1";
}

/// A name for a point of the past.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TagEntry {
    /// Its name: what `--at` takes.
    pub name: String,
    /// The changes that it stands for, with all that they build on.
    pub heads: Vec<String>,
    /// The change that made it.
    pub change: String,
    /// The node that wrote that,
    pub node: Option<NodeRef>,
    /// the user there,
    pub user: String,
    /// when, by that node's clock,
    pub time: JsonTime,
    /// and why.
    pub message: String,
}
