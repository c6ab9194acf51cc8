//! How resources stand on the nodes.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// `larder.status/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// Which group.
    pub group: GroupRef,
    /// How many (resource, node) pairs stand how.
    pub summary: StatusSummary,
    /// How many conflicts there are.
    pub conflicts: usize,
    /// What an operator should know besides.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// In order of name.
    pub resources: Vec<ResourceStatus>,
}

impl HasSchema for StatusReport {
    const SCHEMA: &'static str = "larder.status/1";
}

/// A group's id and name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupRef {
    /// Its whole id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusSummary {
    /// As wanted.
    pub applied: usize,
    /// Not reported yet.
    pub pending: usize,
    /// In conflict, left as they are.
    pub held: usize,
    /// Tried without success.
    pub failed: usize,
    /// Changed by somebody else.
    pub drifted: usize,
    /// Not tried: policy, or a missing field.
    pub blocked: usize,
    /// Left alone for a while.
    pub paused: usize,
    /// Not understood there.
    pub unsupported: usize,
}

impl StatusSummary {
    /// The counter of a state; `None` of those that are not counted.
    pub fn counter_mut(&mut self, state: &str) -> Option<&mut usize> {
        Some(match state {
            "applied" => &mut self.applied,
            "pending" => &mut self.pending,
            "held" => &mut self.held,
            "failed" => &mut self.failed,
            "drifted" => &mut self.drifted,
            "blocked" => &mut self.blocked,
            "paused" => &mut self.paused,
            "unsupported" => &mut self.unsupported,
            _ => return None,
        })
    }

    /// The counts that are not zero, with their words.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        let all = [
            ("applied", self.applied),
            ("pending", self.pending),
            ("held", self.held),
            ("failed", self.failed),
            ("drifted", self.drifted),
            ("blocked", self.blocked),
            ("paused", self.paused),
            ("unsupported", self.unsupported),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// One resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// `<kind>/<name>`.
    pub resource: String,
    /// True if it is to be removed.
    pub removed: bool,
    /// The nodes it is meant for.
    pub nodes: Vec<NodeResourceStatus>,
}

/// How a resource stands on one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeResourceStatus {
    /// The node's whole id.
    pub id: String,
    /// What it is called.
    pub alias: Option<String>,
    /// `applied`, `pending`, ...
    pub state: String,
    /// The newest change of the resource that the node had seen.
    pub change: Option<String>,
    /// Since when, by the node's clock.
    pub since: Option<JsonTime>,
    /// Why.
    pub reason: String,
}
