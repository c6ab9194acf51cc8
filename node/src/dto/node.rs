//! Nodes and their roles.

use std::collections::BTreeMap;

use larder_core::node::NodeInfo;
use larder_core::record::Role;
use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// The response of `nodes`: `larder.nodes/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeList {
    /// The nodes, this node first.
    pub nodes: Vec<NodeEntry>,
    /// The warnings about the group and its nodes.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl HasSchema for NodeList {
    const SCHEMA: &'static str = "larder.nodes/1";
}

/// One member, former member or discovered node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeEntry {
    /// The node's id.
    pub id: String,
    /// The node's alias.
    pub alias: Option<String>,
    /// True if another member has the same alias.
    pub alias_twice: bool,
    /// True for the node that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// The node's role; `None` for a node that is not a member.
    pub role: Option<MemberRole>,
    /// The state of the node.
    pub state: NodeState,
    /// The time at which the node was last heard.
    #[serde(rename = "heard")]
    pub last_heard: Option<JsonTime>,
    /// The addresses at which the node listens.
    pub addrs: Vec<String>,
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// The software that the node runs, with its version.
    pub version: String,
    /// The name of the node's host.
    pub host: String,
    /// The number of changes that the node lacks, if it is known.
    pub behind: Option<u64>,
    /// The number of resources that failed on the node.
    pub failed: u64,
    /// True if the node's history forked: its data directory was copied or restored.
    #[serde(default)]
    pub forked: bool,
    /// The end of the membership of a former member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<MembershipEnd>,
}

word_enum! {
    /// The state of a node.
    pub enum NodeState {
        /// This node, or a member that is reachable.
        Up = "up",
        /// A member that is not reachable.
        Away = "away",
        /// A former member that left.
        Left = "left",
        /// A former member that was removed.
        Removed = "removed",
        /// A node that asks to join.
        Pending = "pending",
        /// A node on the LAN that is not a member.
        Seen = "seen",
    }
}

impl From<larder_core::node::NodeState> for NodeState {
    fn from(state: larder_core::node::NodeState) -> Self {
        match state {
            larder_core::node::NodeState::Up => Self::Up,
            larder_core::node::NodeState::Away => Self::Away,
            larder_core::node::NodeState::Left => Self::Left,
            larder_core::node::NodeState::Removed => Self::Removed,
            larder_core::node::NodeState::Pending => Self::Pending,
            larder_core::node::NodeState::Seen => Self::Seen,
        }
    }
}

word_enum! {
    /// The role of a member.
    pub enum MemberRole {
        /// Changes the membership and the desired state.
        Admin = "admin",
        /// Changes the desired state.
        Operator = "operator",
        /// Applies the desired state and reports its own.
        Node = "node",
        /// Reads the group, and applies nothing.
        Reader = "reader",
    }
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        role.to_string().into()
    }
}

/// The end of a membership.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MembershipEnd {
    /// The id of the node that revoked the grant; `None` for the recovery key.
    pub revoked_by: Option<String>,
    /// The user on that node.
    pub user: String,
    /// The time of the revocation, by the clock of that node.
    pub time: JsonTime,
    /// The operator's reason.
    pub message: String,
}

impl From<NodeInfo> for NodeEntry {
    fn from(info: NodeInfo) -> Self {
        Self {
            id: info.id.to_string(),
            alias: info.alias,
            alias_twice: info.is_alias_ambiguous,
            is_self: info.is_self,
            role: info.role.map(MemberRole::from),
            state: info.state.into(),
            last_heard: info.last_heard.map(JsonTime),
            addrs: info.addresses,
            labels: info.labels,
            version: info.software,
            host: info.host,
            behind: info.missing_changes,
            failed: info.failed_resources,
            forked: info.is_forked,
            ended: info.membership_end.map(|ended| MembershipEnd {
                revoked_by: ended.signer.map(|by| by.to_string()),
                user: ended.note.user,
                time: JsonTime(ended.note.time),
                message: ended.note.message,
            }),
        }
    }
}

/// The response of `ping`: `larder.ping/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PingResult {
    /// The id of the member that answered.
    pub id: String,
    /// The alias of the member.
    pub alias: Option<String>,
    /// The round trip in milliseconds.
    pub ms: f64,
}

impl HasSchema for PingResult {
    const SCHEMA: &'static str = "larder.ping/1";
}

/// The result of `replace`: `larder.replace/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplaceResult {
    /// The id of the replaced node.
    pub old: String,
    /// True if the replaced node is still a member.
    pub is_member: bool,
    /// The alias that this node took over.
    pub alias: Option<String>,
    /// The labels that this node took over.
    pub labels: BTreeMap<String, String>,
    /// The resources that named the replaced node by its id and now name this node.
    pub resources: Vec<String>,
    /// The change that was written; `None` if nothing differed.
    pub change: Option<String>,
}

impl HasSchema for ReplaceResult {
    const SCHEMA: &'static str = "larder.replace/1";
}
