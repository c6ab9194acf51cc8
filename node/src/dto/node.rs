//! Nodes.

use std::collections::BTreeMap;

use larder_core::node::NodeInfo;
use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// `larder.nodes/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeList {
    /// This node first.
    pub nodes: Vec<NodeEntry>,
    /// What an operator should know about them.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl HasSchema for NodeList {
    const SCHEMA: &'static str = "larder.nodes/1";
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its whole id.
    pub id: String,
    /// What it is called.
    pub alias: Option<String>,
    /// True if another member is called the same.
    pub alias_twice: bool,
    /// True of the node that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// Its role; `None` of a node that is no member.
    pub role: Option<String>,
    /// `up`, `away`, `left`, `removed`, `pending` or `seen`.
    pub state: String,
    /// When it was heard last.
    pub heard: Option<JsonTime>,
    /// Where it listens.
    pub addrs: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its software and version.
    pub version: String,
    /// Its host name.
    pub host: String,
    /// How many changes it lacks.
    pub behind: Option<u64>,
    /// How many resources failed there.
    pub failed: u64,
    /// True if its history forked: its data directory was copied, or set back.
    #[serde(default)]
    pub forked: bool,
    /// Of a node that left or was removed: who ended its membership, when and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<MembershipEnd>,
}

/// Who ended a membership.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MembershipEnd {
    /// The whole id of the node that did; `None` if it was done with the recovery key.
    pub revoked_by: Option<String>,
    /// The user there.
    pub user: String,
    /// When, by that node's clock.
    pub time: JsonTime,
    /// Why, in that operator's words.
    pub message: String,
}

impl From<NodeInfo> for NodeEntry {
    fn from(view: NodeInfo) -> Self {
        Self {
            id: view.id.to_string(),
            alias: view.alias,
            alias_twice: view.is_alias_ambiguous,
            is_self: view.is_self,
            role: view.role.map(|role| role.to_string()),
            state: view.state.as_str().to_owned(),
            heard: view.last_heard.map(JsonTime),
            addrs: view.addresses,
            labels: view.labels,
            version: view.software,
            host: view.host,
            behind: view.missing_changes,
            failed: view.failed_resources,
            forked: view.is_forked,
            ended: view.membership_end.map(|ended| MembershipEnd {
                revoked_by: ended.signer.map(|by| by.to_string()),
                user: ended.note.user,
                time: JsonTime(ended.note.time),
                message: ended.note.message,
            }),
        }
    }
}

/// `larder.ping/1`: one answer of a neighbour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PingResult {
    /// Who answered.
    pub id: String,
    /// What it is called.
    pub alias: Option<String>,
    /// After how many milliseconds.
    pub ms: f64,
}

impl HasSchema for PingResult {
    const SCHEMA: &'static str = "larder.ping/1";
}

/// `larder.replace/1`: what this node took over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplaceResult {
    /// The whole id of the node in whose place it stands.
    pub old: String,
    /// True if that one is still a member.
    pub is_member: bool,
    /// What that one was called, and this one is now.
    pub alias: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The resources that named it by its id, and now name this node.
    pub resources: Vec<String>,
    /// The change; `None` if nothing differed.
    pub change: Option<String>,
}

impl HasSchema for ReplaceResult {
    const SCHEMA: &'static str = "larder.replace/1";
}
