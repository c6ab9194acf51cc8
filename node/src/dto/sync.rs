//! Who has what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// A node as it is named in passing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRef {
    /// Its whole id.
    pub id: String,
    /// What it is called.
    pub alias: Option<String>,
}

/// `larder.heads/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupHeads {
    /// The group's whole id.
    pub group: String,
    /// Those of the desired state: what `apply --base` takes.
    pub heads: Vec<String>,
    /// Those of what each node observed.
    pub observed: BTreeMap<String, Vec<String>>,
    /// Covers every shard and record: equal means that two nodes have the same.
    pub digest: String,
}

impl HasSchema for GroupHeads {
    const SCHEMA: &'static str = "larder.heads/1";
}

/// `larder.sync/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SyncReport {
    /// True while this node is paused.
    pub paused: bool,
    /// The other members.
    pub peers: Vec<PeerSync>,
}

impl HasSchema for SyncReport {
    const SCHEMA: &'static str = "larder.sync/1";
}

/// How the synchronisation with a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerSyncState {
    /// Both have the same.
    InSync,
    /// They are exchanging changes.
    Syncing,
    /// It is up, but only reached through other members.
    Indirect,
    /// It cannot be reached.
    Away,
}

impl PeerSyncState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in-sync",
            Self::Syncing => "syncing",
            Self::Indirect => "indirect",
            Self::Away => "away",
        }
    }
}

/// One other member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerSync {
    /// Its whole id.
    pub id: String,
    /// What it is called.
    pub alias: Option<String>,
    /// Whether its copy and this node's agree.
    pub state: PeerSyncState,
    /// Changes here that it lacks.
    pub ahead: Option<u64>,
    /// Changes there that are missing here.
    pub behind: Option<u64>,
    /// When it was heard last.
    pub contact: Option<JsonTime>,
}
