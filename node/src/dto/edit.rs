//! A resource on its way into an editor.

use serde::{Deserialize, Serialize};

use super::HasSchema;

/// `larder.edit/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EditBuffer {
    /// `<kind>/<name>`.
    pub resource: String,
    /// True if it is there; else the manifest is a template.
    pub exists: bool,
    /// The manifest.
    pub manifest: String,
    /// The heads of the desired state that it was read at.
    pub heads: Vec<String>,
    /// Stands for exactly this state of the resource; empty if nobody ever wrote to it.
    pub revision: String,
}

impl HasSchema for EditBuffer {
    const SCHEMA: &'static str = "larder.edit/1";
}
