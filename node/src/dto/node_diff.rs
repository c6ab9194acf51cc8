//! What nodes have applied, compared with the desired state.

use serde::{Deserialize, Serialize};

use super::{FieldDiff, HasSchema, NodeResourceState};

/// The response of `diff --nodes`: `larder.nodediff/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeDiffReport {
    /// The resources that some node has not applied as desired, in order of name.
    pub resources: Vec<ResourceDrift>,
}

impl HasSchema for NodeDiffReport {
    const SCHEMA: &'static str = "larder.nodediff/1";
}

/// A resource that some node has not applied as desired.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceDrift {
    /// The resource, as `<kind>/<name>`.
    pub resource: String,
    /// The newest change of the resource.
    pub newest_change: Option<String>,
    /// The nodes that have not applied the resource as desired.
    pub nodes: Vec<NodeDrift>,
}

/// A node that has not applied a resource as desired.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeDrift {
    /// The node's id.
    pub id: String,
    /// The node's alias.
    pub alias: Option<String>,
    /// The state of the resource on the node.
    pub state: NodeResourceState,
    /// The reason for the state.
    pub reason: String,
    /// The newest change of the resource in what the node applied last; `None` if it never applied it.
    pub applied: Option<String>,
    /// False if the node applied more than that change and this node cannot tell what. Then `edits` may list
    /// too much.
    pub exact: bool,
    /// The differences between what the node applied and the desired state.
    pub edits: Vec<FieldDiff>,
}
