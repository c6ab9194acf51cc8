//! Groups, and the ways into them.

use serde::{Deserialize, Serialize};

use super::{Time, View};

/// `larder.groups/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Groups {
    /// Those this node is in, by name.
    pub groups: Vec<GroupRow>,
    /// Those it is about to join, by id.
    pub joining: Vec<Joining>,
}

impl View for Groups {
    const SCHEMA: &'static str = "larder.groups/1";
}

/// One group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupRow {
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
    pub standing: String,
}

/// A join under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joining {
    /// The group's whole id.
    pub id: String,
    /// Whom it waits for, if a member said so.
    pub waiting_for: Option<String>,
}

/// `larder.init/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Founded {
    /// The new group.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its recovery key was written.
    pub recovery_key: String,
}

impl View for Founded {
    const SCHEMA: &'static str = "larder.init/1";
}

/// `larder.invite/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invited {
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
    pub expires: Time,
}

impl View for Invited {
    const SCHEMA: &'static str = "larder.invite/1";
}

/// `larder.invites/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invites {
    /// The invites made here, oldest first.
    pub invites: Vec<InviteRow>,
}

impl View for Invites {
    const SCHEMA: &'static str = "larder.invites/1";
}

/// One invite.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteRow {
    /// Its whole id.
    pub id: String,
    /// The role it gives.
    pub role: String,
    /// How often it may be used.
    pub uses: u32,
    /// How often it was, as far as is known here.
    pub used: usize,
    /// When it was made.
    pub created: Time,
    /// When it ends.
    pub expires: Time,
    /// `open`, `used`, `expired` or `revoked`.
    pub state: String,
}

/// `larder.join/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// The group's whole id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// With which role.
    pub role: String,
}

impl View for Joined {
    const SCHEMA: &'static str = "larder.join/1";
}

/// `larder.paths/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Paths {
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

impl View for Paths {
    const SCHEMA: &'static str = "larder.paths/1";
}
