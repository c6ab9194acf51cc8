//! Resources, as they are wanted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime, JsonValue};

/// `larder.list/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceList {
    /// In order of name.
    pub resources: Vec<ResourceEntry>,
    /// The heads that `--at` stands for, none if nothing was written by then; left out of the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ResourceList {
    const SCHEMA: &'static str = "larder.list/1";
}

/// One resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceEntry {
    /// `<kind>/<name>`.
    pub resource: String,
    /// How many fields are set.
    pub fields: usize,
    /// Whom it is meant for; `None` for all.
    pub select: Option<String>,
    /// How many conflicts it has.
    pub conflicts: usize,
    /// Its path, if it has one.
    pub path: Option<String>,
}

/// `larder.get/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceValues {
    /// `<kind>/<name>`.
    pub resource: String,
    /// The fields that are set, by path. Where one is in conflict, the winner.
    pub fields: BTreeMap<String, JsonValue>,
    /// The fields in conflict.
    pub conflicted: Vec<String>,
    /// The heads that `--at` stands for, none if nothing was written by then; left out of the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ResourceValues {
    const SCHEMA: &'static str = "larder.get/1";
}

/// `larder.export/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportedManifest {
    /// The manifest.
    pub manifest: String,
    /// `RESOURCE FIELD` of every field in conflict: the winner was written.
    pub conflicted: Vec<String>,
    /// The heads that `--at` stands for, none if nothing was written by then; left out of the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ExportedManifest {
    const SCHEMA: &'static str = "larder.export/1";
}

/// `larder.write/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WriteResult {
    /// The change; `None` if nothing differed and nothing was written.
    pub change: Option<String>,
}

impl HasSchema for WriteResult {
    const SCHEMA: &'static str = "larder.write/1";
}

/// `larder.conflicts/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConflictList {
    /// In order of resource and field.
    pub conflicts: Vec<ConflictEntry>,
    /// The heads that `--at` stands for, none if nothing was written by then; left out of the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ConflictList {
    const SCHEMA: &'static str = "larder.conflicts/1";
}

/// One conflict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConflictEntry {
    /// Stands for exactly these values.
    pub id: String,
    /// `value`, `edit/remove`, `removed-author`; `claim`, whose values are the resources that want one path;
    /// `review`, whose values are the fields that each side wrote, and which is no clash.
    pub kind: String,
    /// `<kind>/<name>`.
    pub resource: String,
    /// The field; empty of a `review`.
    pub field: String,
    /// What all sides started from, if that was one value.
    pub base: Option<JsonValue>,
    /// The nodes that keep what they run because of it.
    pub held_on: Vec<super::sync::NodeRef>,
    /// The sides.
    pub values: Vec<ConflictSide>,
}

/// One side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConflictSide {
    /// `A`, `B`, ...
    pub tag: String,
    /// The value; `None` where that side unset the field.
    pub value: Option<JsonValue>,
    /// The change that wrote it.
    pub change: String,
    /// The node that wrote it.
    pub node: Option<super::sync::NodeRef>,
    /// The user there.
    pub user: String,
    /// When, by that node's clock.
    pub time: JsonTime,
    /// True of the side that `get` prints.
    pub winner: bool,
}
