//! Who asks to be let in, and what is kept aside.

use serde::{Deserialize, Serialize};

use super::sync::NodeRef;
use super::{HasSchema, JsonTime};

/// `larder.pending/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingList {
    /// Machines that ask to be let in, by id.
    pub pending: Vec<PendingNode>,
}

impl HasSchema for PendingList {
    const SCHEMA: &'static str = "larder.pending/1";
}

/// A machine that asks to be let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingNode {
    /// Its whole id.
    pub id: String,
    /// What it would like to be called.
    pub alias: String,
    /// The labels it would like.
    pub labels: Vec<(String, String)>,
    /// Since when; `None` where it came by a code.
    pub since: Option<JsonTime>,
    /// What its screen must show, where it came without a code.
    pub digits: Option<String>,
    /// Who issued its code and cannot be reached, where it came by one.
    pub waiting_for: Option<String>,
    /// Where it listens.
    pub addrs: Vec<String>,
}

/// `larder.asking/1`: how this node's own asking stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairingStatus {
    /// True while it asks.
    pub is_active: bool,
    /// The members that heard it.
    pub peers: Vec<PairingPeerEntry>,
    /// The group that let it in.
    pub joined: Option<super::JoinedGroup>,
    /// Stands for all of that: who has seen it waits for something else.
    pub version: String,
}

impl HasSchema for PairingStatus {
    const SCHEMA: &'static str = "larder.asking/1";
}

/// A member that shows to its operator that this node asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairingPeerEntry {
    /// Its whole id.
    pub id: String,
    /// What its screen must show.
    pub digits: String,
    /// True if an operator there said no.
    pub denied: bool,
}

/// `larder.quarantine/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuarantineList {
    /// Valid changes that are not part of the document, oldest first.
    pub changes: Vec<QuarantinedChange>,
}

impl HasSchema for QuarantineList {
    const SCHEMA: &'static str = "larder.quarantine/1";
}

/// A valid change that is not part of the document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuarantinedChange {
    /// Its whole id.
    pub id: String,
    /// The shard it belongs to.
    pub shard: String,
    /// Who wrote it.
    pub node: NodeRef,
    /// The user there.
    pub user: String,
    /// When, by that node's clock.
    pub time: JsonTime,
    /// Why, in that operator's words.
    pub message: String,
    /// `quarantine`: here alone; `aside`: members keep it and pass it on.
    pub state: String,
    /// Why it is not part of the document.
    pub reason: String,
    /// Who could bring it in, and how.
    pub readmit_hint: String,
    /// What it puts where: `<kind>/<name> <field>` and the value.
    pub puts: Vec<(String, Option<super::JsonValue>)>,
}
