//! The document as an Automerge file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonValue, NodeRef};

/// The result of `doc export`: `larder.doc-export/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocExport {
    /// The file that was written.
    pub file: String,
    /// The length of the file in bytes.
    pub bytes: u64,
}

impl HasSchema for DocExport {
    const SCHEMA: &'static str = "larder.doc-export/1";
}

/// The nodes behind the actors of the document: `larder.doc-authors/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocAuthorList {
    /// The actors, in order of shard and actor.
    pub authors: Vec<DocAuthorEntry>,
}

impl HasSchema for DocAuthorList {
    const SCHEMA: &'static str = "larder.doc-authors/1";
}

/// One actor of the document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocAuthorEntry {
    /// The actor, as Automerge writes it.
    pub actor: String,
    /// The node that writes as this actor; `None` for the actor of the root.
    pub node: Option<NodeRef>,
    /// The shard, which is a key in the root of the document.
    pub shard: String,
    /// The number of changes.
    pub changes: u64,
}

/// The keys and values of a foreign document: `larder.doc-keys/1`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DocKeys {
    /// The keys of `desired` with their values; `None` for a key that is unset.
    pub keys: BTreeMap<String, Option<JsonValue>>,
    /// The number of keys that are no field, or whose value no field can have.
    pub skipped_keys: usize,
}

impl HasSchema for DocKeys {
    const SCHEMA: &'static str = "larder.doc-keys/1";
}
