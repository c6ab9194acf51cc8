//! Heads, digests and the progress of synchronisation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// A node's id and alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRef {
    /// The node's id.
    pub id: String,
    /// The node's alias.
    pub alias: Option<String>,
}

/// The response of `heads`: `larder.heads/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupHeads {
    /// The group's id.
    pub group: String,
    /// The heads of the desired state, for `apply --base`.
    pub heads: Vec<String>,
    /// The heads of each node's observed state.
    pub observed: BTreeMap<String, Vec<String>>,
    /// The digest of all changes and records. Two nodes with equal digests hold the same.
    pub digest: String,
}

impl HasSchema for GroupHeads {
    const SCHEMA: &'static str = "larder.heads/1";
}

/// The response of `sync`: `larder.sync/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SyncReport {
    /// True while synchronisation is paused on this node.
    pub paused: bool,
    /// The other members.
    pub peers: Vec<PeerSync>,
}

impl HasSchema for SyncReport {
    const SCHEMA: &'static str = "larder.sync/1";
}

word_enum! {
    /// The progress of synchronisation with a member.
    pub enum PeerSyncState {
        /// Both nodes hold the same.
        InSync = "in-sync",
        /// The nodes are exchanging changes.
        Syncing = "syncing",
        /// The member is up, but there is no link with it.
        Indirect = "indirect",
        /// The member cannot be reached.
        Away = "away",
    }
}

/// The synchronisation with one other member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerSync {
    /// The member's id.
    pub id: String,
    /// The member's alias.
    pub alias: Option<String>,
    /// The progress of synchronisation.
    pub state: PeerSyncState,
    /// The number of changes that the member lacks, if it is known.
    pub ahead: Option<u64>,
    /// The number of changes that this node lacks, if it is known.
    pub behind: Option<u64>,
    /// The time at which the member was last heard.
    pub contact: Option<JsonTime>,
}
