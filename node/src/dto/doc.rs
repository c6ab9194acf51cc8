//! The document as a file, and what is in one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonValue, NodeRef};

/// `larder.doc-export/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocExport {
    /// The file that was written.
    pub file: String,
    /// Its length.
    pub bytes: u64,
}

impl HasSchema for DocExport {
    const SCHEMA: &'static str = "larder.doc-export/1";
}

/// `larder.doc-authors/1`: what the actors of the document stand for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocAuthorList {
    /// In order of shard and actor.
    pub authors: Vec<DocAuthorEntry>,
}

impl HasSchema for DocAuthorList {
    const SCHEMA: &'static str = "larder.doc-authors/1";
}

/// One actor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocAuthorEntry {
    /// The actor, as Automerge writes it.
    pub actor: String,
    /// The node that writes under it; `None` of the one change that every node derives for itself.
    pub node: Option<NodeRef>,
    /// The key of the document's root under which it writes.
    pub shard: String,
    /// How many changes it wrote.
    pub changes: u64,
}

/// `larder.doc-keys/1`: what a foreign document wants, in plain values.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DocKeys {
    /// Key and value of `desired`; `None` where it says that nothing is set.
    pub keys: BTreeMap<String, Option<JsonValue>>,
    /// How many keys were left out, because no field is called so or can hold such a value.
    pub skipped_keys: usize,
}

impl HasSchema for DocKeys {
    const SCHEMA: &'static str = "larder.doc-keys/1";
}
