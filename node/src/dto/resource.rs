//! The resources of the desired state, and their conflicts.

use std::collections::BTreeMap;

use larder_core::resource::conflict;
use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime, JsonValue, NodeRef};

/// The response of `list`: `larder.list/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceList {
    /// The resources, in order of name.
    pub resources: Vec<ResourceEntry>,
    /// The heads at the point that `--at` names; absent for the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ResourceList {
    const SCHEMA: &'static str = "larder.list/1";
}

/// One resource in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceEntry {
    /// The resource, as `<kind>/<name>`.
    pub resource: String,
    /// The number of fields that are set.
    pub fields: usize,
    /// The selector; `None` if the resource applies to all nodes.
    pub select: Option<String>,
    /// The number of conflicts.
    pub conflicts: usize,
    /// The path on the host, if the resource has one.
    pub path: Option<String>,
}

/// The response of `get`: `larder.get/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceValues {
    /// The resource, as `<kind>/<name>`.
    pub resource: String,
    /// The fields that are set, by path. The value of a field in conflict is the winner.
    pub fields: BTreeMap<String, JsonValue>,
    /// The paths of the fields in conflict.
    pub conflicted: Vec<String>,
    /// The heads at the point that `--at` names; absent for the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ResourceValues {
    const SCHEMA: &'static str = "larder.get/1";
}

/// The response of `export`: `larder.export/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportedManifest {
    /// The manifest, as TOML.
    pub manifest: String,
    /// The fields in conflict, as `RESOURCE FIELD`. The manifest has the winner of each.
    pub conflicted: Vec<String>,
    /// The heads at the point that `--at` names; absent for the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ExportedManifest {
    const SCHEMA: &'static str = "larder.export/1";
}

/// The result of a write: `larder.write/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WriteResult {
    /// The change that was written; `None` if nothing differed.
    pub change: Option<String>,
}

impl HasSchema for WriteResult {
    const SCHEMA: &'static str = "larder.write/1";
}

/// The response of `conflicts`: `larder.conflicts/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConflictList {
    /// The conflicts, in order of resource and field.
    pub conflicts: Vec<ConflictEntry>,
    /// The heads at the point that `--at` names; absent for the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ConflictList {
    const SCHEMA: &'static str = "larder.conflicts/1";
}

/// One conflict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConflictEntry {
    /// The hash of the conflict's values, which changes when one of them does.
    pub id: String,
    /// The kind of the conflict.
    pub kind: ConflictKind,
    /// The resource, as `<kind>/<name>`.
    pub resource: String,
    /// The field's path; empty for concurrent edits.
    pub field: String,
    /// The last common value of all sides, if there was exactly one.
    pub base: Option<JsonValue>,
    /// The nodes that hold the resource because of a conflict.
    pub held_on: Vec<NodeRef>,
    /// The sides, in order of tag.
    pub values: Vec<ConflictSide>,
}

word_enum! {
    /// The kind of a conflict.
    pub enum ConflictKind {
        /// Concurrent changes gave one field different values.
        Value = "value",
        /// One side removed the resource, and another edited it.
        EditRemove = "edit/remove",
        /// The value was written by a removed member only.
        RemovedAuthor = "removed-author",
        /// Several resources want the same path. The values are these resources.
        Claim = "claim",
        /// Concurrent edits without a conflict. The values are the fields that each side wrote.
        Review = "review",
    }
}

impl From<conflict::ConflictKind> for ConflictKind {
    fn from(kind: conflict::ConflictKind) -> Self {
        match kind {
            conflict::ConflictKind::Value => Self::Value,
            conflict::ConflictKind::EditRemove => Self::EditRemove,
            conflict::ConflictKind::RemovedAuthor => Self::RemovedAuthor,
            conflict::ConflictKind::Claim => Self::Claim,
        }
    }
}

/// One side of a conflict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConflictSide {
    /// The side's tag: `A`, `B` and so on.
    pub tag: String,
    /// The side's value; `None` if the side unset the field.
    pub value: Option<JsonValue>,
    /// The change that wrote the value.
    pub change: String,
    /// The node that wrote the change.
    pub node: Option<NodeRef>,
    /// The user on that node.
    pub user: String,
    /// The time of the change, by the clock of its author.
    pub time: JsonTime,
    /// True for the side that `get` prints.
    pub winner: bool,
}
