//! A resource that an operator edits.

use serde::{Deserialize, Serialize};

use super::HasSchema;

/// A resource as text for an editor: `larder.edit/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EditBuffer {
    /// The resource, as `<kind>/<name>`.
    pub resource: String,
    /// True if the resource exists. Otherwise the manifest is a template.
    pub exists: bool,
    /// The manifest, as TOML.
    pub manifest: String,
    /// The heads of the desired state from which the manifest was made.
    pub heads: Vec<String>,
    /// The revision of the resource; empty for a resource that was never written.
    pub revision: String,
}

impl HasSchema for EditBuffer {
    const SCHEMA: &'static str = "larder.edit/1";
}
