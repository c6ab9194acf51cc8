//! Groups and invites.

use larder_core::node::MembershipStatus;
use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime, MemberRole};

/// The response of `groups`: `larder.groups/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupList {
    /// The groups of this node, by name.
    pub groups: Vec<GroupEntry>,
    /// The groups that this node is joining, by id.
    pub joining: Vec<JoiningGroup>,
}

impl HasSchema for GroupList {
    const SCHEMA: &'static str = "larder.groups/1";
}

/// One group of this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupEntry {
    /// The group's id.
    pub id: String,
    /// The group's name.
    pub name: String,
    /// This node's role; `None` if this node is not a member.
    pub role: Option<MemberRole>,
    /// The number of members.
    pub members: usize,
    /// The number of changes.
    pub changes: u64,
    /// True while synchronisation is paused on this node.
    pub paused: bool,
    /// This node's membership status.
    pub status: GroupStatus,
}

word_enum! {
    /// The membership status of this node in a group.
    pub enum GroupStatus {
        /// This node is a member.
        Member = "member",
        /// This node left the group.
        Left = "left",
        /// This node was removed from the group.
        Removed = "removed",
        /// The group was deleted.
        Dissolved = "dissolved",
        /// This node was never a member.
        Stranger = "stranger",
    }
}

impl From<MembershipStatus> for GroupStatus {
    fn from(status: MembershipStatus) -> Self {
        match status {
            MembershipStatus::Member => Self::Member,
            MembershipStatus::Left => Self::Left,
            MembershipStatus::Removed => Self::Removed,
            MembershipStatus::Dissolved => Self::Dissolved,
            MembershipStatus::Stranger => Self::Stranger,
        }
    }
}

/// A group that this node is joining.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoiningGroup {
    /// The group's id.
    pub id: String,
    /// The node that issued the code, if a member reported that it waits for it.
    pub waiting_for: Option<String>,
}

/// The result of `init`: `larder.init/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatedGroup {
    /// The new group's id.
    pub id: String,
    /// The new group's name.
    pub name: String,
    /// The path of the file with the recovery key.
    pub recovery_key: String,
}

impl HasSchema for CreatedGroup {
    const SCHEMA: &'static str = "larder.init/1";
}

/// The result of `invite`: `larder.invite/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatedInvite {
    /// The invite code. It is shown once and stored nowhere.
    pub code: String,
    /// The invite's id, which `invite list` and `invite revoke` use.
    pub id: String,
    /// The id of the group that the code admits to.
    pub group: String,
    /// The role of the nodes that join with the code.
    pub role: MemberRole,
    /// The number of nodes that can join with the code.
    pub uses: u32,
    /// The time at which the code expires.
    pub expires: JsonTime,
}

impl HasSchema for CreatedInvite {
    const SCHEMA: &'static str = "larder.invite/1";
}

/// The response of `invite list`: `larder.invites/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteList {
    /// The invites that this node made, oldest first.
    pub invites: Vec<InviteEntry>,
}

impl HasSchema for InviteList {
    const SCHEMA: &'static str = "larder.invites/1";
}

/// One invite that this node made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteEntry {
    /// The invite's id.
    pub id: String,
    /// The role of the nodes that join with the code.
    pub role: MemberRole,
    /// The number of nodes that can join with the code.
    pub uses: u32,
    /// The number of nodes that joined with the code, as far as this node knows.
    pub used: usize,
    /// The time at which the invite was made.
    pub created: JsonTime,
    /// The time at which the code expires.
    pub expires: JsonTime,
    /// The state of the invite.
    pub state: InviteState,
}

word_enum! {
    /// The state of an invite.
    pub enum InviteState {
        /// A node can join with the code.
        Open = "open",
        /// The code was used as often as it may be.
        Used = "used",
        /// The code expired.
        Expired = "expired",
        /// An admin revoked the invite.
        Revoked = "revoked",
    }
}

/// The result of `join`: `larder.join/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinedGroup {
    /// The group's id.
    pub id: String,
    /// The group's name.
    pub name: String,
    /// This node's role.
    pub role: MemberRole,
}

impl HasSchema for JoinedGroup {
    const SCHEMA: &'static str = "larder.join/1";
}

/// The paths of this node's files: `larder.paths/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodePaths {
    /// The data directory.
    pub data: String,
    /// The Unix socket of the local API.
    pub socket: String,
    /// The file with the node's key.
    pub key: String,
    /// The file of the store.
    pub store: String,
    /// The settings file, which may not exist.
    pub settings: String,
    /// True if a daemon answers at the socket.
    pub running: bool,
}

impl HasSchema for NodePaths {
    const SCHEMA: &'static str = "larder.paths/1";
}
