//! The state of resources on nodes.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// The response of `status`: `larder.status/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// The group that the report is about.
    pub group: GroupRef,
    /// The number of (resource, node) pairs in each state.
    pub summary: StatusSummary,
    /// The number of unresolved conflicts.
    pub conflicts: usize,
    /// The warnings about the group.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The resources, in order of name.
    pub resources: Vec<ResourceStatus>,
}

impl HasSchema for StatusReport {
    const SCHEMA: &'static str = "larder.status/1";
}

/// A group's id and name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupRef {
    /// The group's id.
    pub id: String,
    /// The group's name.
    pub name: String,
}

word_enum! {
    /// The state of a resource on a node.
    pub enum NodeResourceState {
        /// The host has the desired state.
        Applied = "applied",
        /// The node has not reported on the newest change of the resource.
        Pending = "pending",
        /// The resource is in conflict, and the node keeps what it applied before.
        Held = "held",
        /// The node tried to apply the resource and failed.
        Failed = "failed",
        /// The resource was changed on the host after the node applied it.
        Drifted = "drifted",
        /// The node did not try: its policy forbids it, or a field is missing.
        Blocked = "blocked",
        /// An operator paused the resource on the node.
        Paused = "paused",
        /// The resource no longer applies to the node and was left as it was.
        Released = "released",
        /// The node's version does not know the kind or a field.
        Unsupported = "unsupported",
    }
}

/// The number of (resource, node) pairs in each state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusSummary {
    /// The number of pairs in state `applied`.
    pub applied: usize,
    /// The number of pairs in state `pending`.
    pub pending: usize,
    /// The number of pairs in state `held`.
    pub held: usize,
    /// The number of pairs in state `failed`.
    pub failed: usize,
    /// The number of pairs in state `drifted`.
    pub drifted: usize,
    /// The number of pairs in state `blocked`.
    pub blocked: usize,
    /// The number of pairs in state `paused`.
    pub paused: usize,
    /// The number of pairs in state `unsupported`.
    pub unsupported: usize,
}

impl StatusSummary {
    /// The counter of a state; `None` for a state that is not counted.
    pub fn counter_mut(&mut self, state: &NodeResourceState) -> Option<&mut usize> {
        Some(match state {
            NodeResourceState::Applied => &mut self.applied,
            NodeResourceState::Pending => &mut self.pending,
            NodeResourceState::Held => &mut self.held,
            NodeResourceState::Failed => &mut self.failed,
            NodeResourceState::Drifted => &mut self.drifted,
            NodeResourceState::Blocked => &mut self.blocked,
            NodeResourceState::Paused => &mut self.paused,
            NodeResourceState::Unsupported => &mut self.unsupported,
            NodeResourceState::Released | NodeResourceState::Unknown(_) => return None,
        })
    }

    /// The counts that are not zero.
    pub fn counts(&self) -> Vec<(NodeResourceState, usize)> {
        let all = [
            (NodeResourceState::Applied, self.applied),
            (NodeResourceState::Pending, self.pending),
            (NodeResourceState::Held, self.held),
            (NodeResourceState::Failed, self.failed),
            (NodeResourceState::Drifted, self.drifted),
            (NodeResourceState::Blocked, self.blocked),
            (NodeResourceState::Paused, self.paused),
            (NodeResourceState::Unsupported, self.unsupported),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// One resource with its state on each node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// The resource, as `<kind>/<name>`.
    pub resource: String,
    /// True if nodes are to remove the resource.
    pub removed: bool,
    /// The nodes that the resource applies to.
    pub nodes: Vec<NodeResourceStatus>,
}

/// The state of a resource on one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeResourceStatus {
    /// The node's id.
    pub id: String,
    /// The node's alias.
    pub alias: Option<String>,
    /// The state of the resource.
    pub state: NodeResourceState,
    /// The newest change of the resource that the node had applied or tried.
    pub change: Option<String>,
    /// The time since which the state holds, by the node's clock.
    pub since: Option<JsonTime>,
    /// The reason for the state.
    pub reason: String,
}
