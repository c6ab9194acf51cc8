//! The results of reverts, and tags.

use serde::{Deserialize, Serialize};

use super::{FieldDiff, HasSchema, JsonTime, NodeRef};

/// The effect of `undo`, `revert` or `restore`: `larder.back/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevertResult {
    /// The change that was written; `None` for a dry run, or if nothing differed.
    pub change: Option<String>,
    /// The changes that were reverted; for a restore, the heads of the restored state.
    pub sources: Vec<String>,
    /// The fields that differ afterwards, in order of resource and field.
    pub edits: Vec<FieldDiff>,
}

impl HasSchema for RevertResult {
    const SCHEMA: &'static str = "larder.back/1";
}

/// The response of `tag`: `larder.tags/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TagList {
    /// The tags, in order of name.
    pub tags: Vec<TagEntry>,
}

impl HasSchema for TagList {
    const SCHEMA: &'static str = "larder.tags/1";
}

/// One tag: a name for a point of the history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TagEntry {
    /// The tag's name, for `--at`.
    pub name: String,
    /// The heads at the tagged point.
    pub heads: Vec<String>,
    /// The change that made the tag.
    pub change: String,
    /// The node that wrote the change.
    pub node: Option<NodeRef>,
    /// The user on that node.
    pub user: String,
    /// The time of the change, by the clock of its author.
    pub time: JsonTime,
    /// The operator's reason.
    pub message: String,
}
