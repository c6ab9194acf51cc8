//! What nodes run against what is wanted.

use serde::{Deserialize, Serialize};

use super::{FieldDiff, HasSchema};

/// `larder.nodediff/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeDiffReport {
    /// In order of name; those that every node runs as wanted are left out.
    pub resources: Vec<ResourceDrift>,
}

impl HasSchema for NodeDiffReport {
    const SCHEMA: &'static str = "larder.nodediff/1";
}

/// One resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceDrift {
    /// `<kind>/<name>`.
    pub resource: String,
    /// Its newest change.
    pub newest_change: Option<String>,
    /// The nodes that do not run it as wanted.
    pub nodes: Vec<NodeDrift>,
}

/// One node that runs something else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeDrift {
    /// The node's whole id.
    pub id: String,
    /// What it is called.
    pub alias: Option<String>,
    /// How it stands there: `pending`, `failed`, `held`, ...
    pub state: String,
    /// Why.
    pub reason: String,
    /// The newest change of the resource that was in what the node applied last; `None` if it never applied
    /// it.
    pub applied: Option<String>,
    /// False if the node knew of more than that change, and this one cannot tell of what: then `edits` may be
    /// too many.
    pub exact: bool,
    /// What leads from what it applied to what is wanted.
    pub edits: Vec<FieldDiff>,
}
