//! Join requests, pairing, and quarantined changes.

use serde::{Deserialize, Serialize};

use super::sync::NodeRef;
use super::{HasSchema, JoinedGroup, JsonTime, JsonValue};

/// The response of `pending`: `larder.pending/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingList {
    /// The nodes that ask to join, by id.
    pub pending: Vec<PendingNode>,
}

impl HasSchema for PendingList {
    const SCHEMA: &'static str = "larder.pending/1";
}

/// A node that asks to join.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingNode {
    /// The node's id.
    pub id: String,
    /// The alias that the node asks for.
    pub alias: String,
    /// The labels that the node asks for.
    pub labels: Vec<(String, String)>,
    /// The time of the first request of a node without a code; `None` for a node with a code.
    pub since: Option<JsonTime>,
    /// The digits that the screen of a node without a code must show.
    pub digits: Option<String>,
    /// The node that issued the code of a node with one, and that cannot be reached.
    pub waiting_for: Option<String>,
    /// The addresses at which the node listens.
    pub addrs: Vec<String>,
}

/// The state of this node's own join request without a code: `larder.asking/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairingStatus {
    /// True while the request is open.
    pub is_active: bool,
    /// The members that received the request.
    pub peers: Vec<PairingPeerEntry>,
    /// The group that admitted this node.
    pub joined: Option<JoinedGroup>,
    /// A hash of this state, with which a caller waits until the state changes.
    pub version: String,
}

impl HasSchema for PairingStatus {
    const SCHEMA: &'static str = "larder.asking/1";
}

/// A member that shows this node's request to its operator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairingPeerEntry {
    /// The member's id.
    pub id: String,
    /// The digits that the member's screen must show.
    pub digits: String,
    /// True if the member's operator rejected the request.
    pub denied: bool,
}

/// The response of `quarantine list`: `larder.quarantine/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuarantineList {
    /// The unaccepted changes, oldest first.
    pub changes: Vec<QuarantinedChange>,
}

impl HasSchema for QuarantineList {
    const SCHEMA: &'static str = "larder.quarantine/1";
}

/// An unaccepted change: it is valid, but not part of the document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuarantinedChange {
    /// The id of the change.
    pub id: String,
    /// The name of the shard that the change belongs to.
    pub shard: String,
    /// The node that wrote the change.
    pub node: NodeRef,
    /// The user on that node.
    pub user: String,
    /// The time of the change, by the clock of its author.
    pub time: JsonTime,
    /// The operator's reason for the change.
    pub message: String,
    /// The nodes that keep the change.
    pub state: QuarantineState,
    /// The reason why the change is unaccepted.
    pub reason: String,
    /// The advice how to readmit the change.
    pub readmit_hint: String,
    /// The keys that the change puts, each with its value; `None` for unset.
    pub puts: Vec<(String, Option<JsonValue>)>,
}

word_enum! {
    /// The nodes that keep an unaccepted change.
    pub enum QuarantineState {
        /// Only this node keeps the change.
        Quarantine = "quarantine",
        /// Members keep the change and pass it on.
        Replicated = "aside",
    }
}
