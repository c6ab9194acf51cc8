//! What nodes run against what is wanted.

use serde::{Deserialize, Serialize};

use super::{EditRow, View};

/// `larder.nodediff/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeDiff {
    /// In order of name; those that every node runs as wanted are left out.
    pub resources: Vec<NodeDiffRow>,
}

impl View for NodeDiff {
    const SCHEMA: &'static str = "larder.nodediff/1";
}

/// One resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeDiffRow {
    /// `<kind>/<name>`.
    pub resource: String,
    /// Its newest change.
    pub wanted: Option<String>,
    /// The nodes that do not run it as wanted.
    pub nodes: Vec<Lag>,
}

/// One node that runs something else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lag {
    /// The node's whole id.
    pub id: String,
    /// What it is called.
    pub alias: Option<String>,
    /// How it stands there: `pending`, `failed`, `held`, ...
    pub state: String,
    /// Why.
    pub reason: String,
    /// The newest change of the resource that was in what the node applied last; `None` if it never applied it.
    pub applied: Option<String>,
    /// False if the node knew of more than that change, and this one cannot tell of what: then `edits` may be too many.
    pub exact: bool,
    /// What leads from what it applied to what is wanted.
    pub edits: Vec<EditRow>,
}
