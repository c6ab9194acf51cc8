//! Groups, and the ways into them.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime};

/// `larder.groups/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupList {
    /// Those this node is in, by name.
    pub groups: Vec<GroupEntry>,
    /// Those it is about to join, by id.
    pub joining: Vec<JoiningGroup>,
}

impl HasSchema for GroupList {
    const SCHEMA: &'static str = "larder.groups/1";
}

/// One group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupEntry {
    /// Its whole id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// This node's role in it.
    pub role: Option<String>,
    /// How many members it has.
    pub members: usize,
    /// How many changes it holds.
    pub changes: u64,
    /// True while syncing is paused.
    pub paused: bool,
    /// `member`, `left`, `removed` or `dissolved`.
    #[serde(default)]
    pub status: String,
}

/// A join under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoiningGroup {
    /// The group's whole id.
    pub id: String,
    /// Whom it waits for, if a member said so.
    pub waiting_for: Option<String>,
}

/// `larder.init/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatedGroup {
    /// The new group.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its recovery key was written.
    pub recovery_key: String,
}

impl HasSchema for CreatedGroup {
    const SCHEMA: &'static str = "larder.init/1";
}

/// `larder.invite/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatedInvite {
    /// The code. Shown once: it is kept nowhere.
    pub code: String,
    /// The invite's id, by which it is listed and revoked.
    pub id: String,
    /// Into which group.
    pub group: String,
    /// With which role.
    pub role: String,
    /// For how many.
    pub uses: u32,
    /// Until when.
    pub expires: JsonTime,
}

impl HasSchema for CreatedInvite {
    const SCHEMA: &'static str = "larder.invite/1";
}

/// `larder.invites/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteList {
    /// The invites made here, oldest first.
    pub invites: Vec<InviteEntry>,
}

impl HasSchema for InviteList {
    const SCHEMA: &'static str = "larder.invites/1";
}

/// One invite.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteEntry {
    /// Its whole id.
    pub id: String,
    /// The role it gives.
    pub role: String,
    /// How often it may be used.
    pub uses: u32,
    /// How often it was, as far as is known here.
    pub used: usize,
    /// When it was made.
    pub created: JsonTime,
    /// When it ends.
    pub expires: JsonTime,
    /// Whether a node can join by it.
    pub state: InviteState,
}

/// Whether a node can join by an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InviteState {
    /// It can.
    Open,
    /// It was used as often as it may be.
    Used,
    /// Its time is over.
    Expired,
    /// An admin revoked it.
    Revoked,
}

impl InviteState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// `larder.join/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinedGroup {
    /// The group's whole id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// With which role.
    pub role: String,
}

impl HasSchema for JoinedGroup {
    const SCHEMA: &'static str = "larder.join/1";
}

/// `larder.paths/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodePaths {
    /// The data directory.
    pub data: String,
    /// The local door.
    pub socket: String,
    /// The node's key.
    pub key: String,
    /// The store.
    pub store: String,
    /// The settings file, whether there is one or not.
    pub settings: String,
    /// True if a daemon answers at the socket.
    pub running: bool,
}

impl HasSchema for NodePaths {
    const SCHEMA: &'static str = "larder.paths/1";
}
