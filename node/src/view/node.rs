//! Nodes.

use std::collections::BTreeMap;

use larder_core::machine::NodeView;
use serde::{Deserialize, Serialize};

use super::{Time, View};

/// `larder.nodes/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nodes {
    /// This node first.
    pub nodes: Vec<NodeRow>,
    /// What an operator should know about them.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl View for Nodes {
    const SCHEMA: &'static str = "larder.nodes/1";
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeRow {
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
    pub heard: Option<Time>,
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
    pub ended: Option<Ended>,
}

/// Who ended a membership.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The whole id of the node that did; `None` if it was done with the recovery key.
    pub by: Option<String>,
    /// The user there.
    pub user: String,
    /// When, by that node's clock.
    pub time: Time,
    /// Why, in that operator's words.
    pub message: String,
}

impl From<NodeView> for NodeRow {
    fn from(view: NodeView) -> Self {
        Self {
            id: view.id.to_string(),
            alias: view.alias,
            alias_twice: view.alias_twice,
            is_self: view.is_self,
            role: view.role.map(|role| role.to_string()),
            state: view.state.word().to_owned(),
            heard: view.heard.map(Time),
            addrs: view.addresses,
            labels: view.labels,
            version: view.software,
            host: view.host,
            behind: view.behind,
            failed: view.failed,
            forked: view.forked,
            ended: view.ended.map(|ended| Ended {
                by: ended.by.map(|by| by.to_string()),
                user: ended.remark.user,
                time: Time(ended.remark.time),
                message: ended.remark.words,
            }),
        }
    }
}

/// `larder.ping/1`: one answer of a neighbour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ping {
    /// Who answered.
    pub id: String,
    /// What it is called.
    pub alias: Option<String>,
    /// After how many milliseconds.
    pub ms: f64,
}

impl View for Ping {
    const SCHEMA: &'static str = "larder.ping/1";
}

/// `larder.replace/1`: what this node took over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replaced {
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

impl View for Replaced {
    const SCHEMA: &'static str = "larder.replace/1";
}
