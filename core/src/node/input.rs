//! The inputs of a node.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::group::ChangeNote;
use crate::history::ResourceScope;
use crate::id::{GroupId, NodeId, SecretKey};
use crate::record::Role;
use crate::resource::ResourceName;
use crate::resource::edit::Edit;
use crate::resource::observed::ObservedState;
use crate::typed_name::{ChangeName, GroupName, HistoryPoint, NodeName};
use crate::wire::invite_code::InviteCode;

/// A point on a monotonic clock, in microseconds from some start. The caller of the node reads the clock,
/// never the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonoTime(pub u64);

impl MonoTime {
    /// The point so many milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// The milliseconds that passed since `earlier`.
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }
}

impl Add<Duration> for MonoTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockReading {
    /// The monotonic time, which all timers use.
    pub mono: MonoTime,
    /// The host's wall clock in seconds since 1970, which may be wrong. The node writes it into changes and
    /// compares it with the expiry of an invite; nothing else depends on it.
    pub unix_secs: i64,
}

/// The id of a link or guest stream. The network assigns it and never uses it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The id of a request. The caller assigns it and never uses it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The id of a batch of rows. Batches are stored in the order of their ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreBatchId(pub u64);

/// The alias and labels of a node, or those that it asks for.
pub(super) type AliasAndLabels = (String, Vec<(String, String)>);

/// The kind of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A link: both sides know each other as members of a group. At most one per peer, without a time limit.
    Member,
    /// A guest stream: few small frames and a time limit. A peer need not be a member.
    Guest,
}

/// An event that the node is to handle.
#[derive(Clone, Debug)]
pub enum Input {
    /// A timer is due; see [`super::Node::next_wake_at`].
    Tick,
    /// Another node announced itself on the LAN, or answered at a known address.
    NodeDiscovered {
        /// The peer's node id.
        peer: NodeId,
        /// The multiaddresses at which the node listens.
        addresses: Vec<String>,
    },
    /// A link or guest stream is open.
    LinkUp {
        /// The id of the stream.
        link: LinkId,
        /// The peer's node id; the transport proved its key.
        peer: NodeId,
        /// The kind of the stream.
        kind: LinkKind,
        /// True if this node opened it.
        is_opened_here: bool,
    },
    /// A link or guest stream has ended.
    LinkDown {
        /// The id of the stream.
        link: LinkId,
    },
    /// A frame arrived.
    FrameReceived {
        /// The id of the stream.
        link: LinkId,
        /// The encoded frame.
        bytes: Vec<u8>,
    },
    /// Bytes of frames were handed to the socket.
    BytesSent {
        /// The id of the stream.
        link: LinkId,
        /// The number of bytes.
        bytes: usize,
    },
    /// A member refused a link, since it does not know this node as a member.
    LinkRefused {
        /// The peer's node id.
        peer: NodeId,
    },
    /// A requested guest stream could not be opened.
    GuestStreamFailed {
        /// The node id of the peer.
        peer: NodeId,
    },
    /// A limit of the network was hit.
    LimitHit {
        /// What the limit bounds, in the plural.
        limit_name: &'static str,
        /// The limit.
        limit: usize,
        /// How often the limit was hit since the last such input.
        hits: u64,
    },
    /// All batches up to this one are durable.
    Stored {
        /// The newest durable batch.
        batch_id: StoreBatchId,
    },
    /// A batch could not be stored. No later batch will be.
    StoreFailed {
        /// The error of the store.
        reason: String,
    },
    /// The multiaddresses at which this node listens.
    OwnAddresses(Vec<String>),
    /// The providers observed resources.
    Observations {
        /// The group.
        group: GroupId,
        /// The observed resources; those not named did not change.
        observations: Vec<(ResourceName, ObservedState)>,
    },
    /// An operator sends a request.
    Request {
        /// The id under which the caller waits for the response.
        request_id: RequestId,
        /// The request.
        request: Request,
    },
    /// A caller no longer waits for the response.
    RequestCancelled {
        /// The id of the request.
        request_id: RequestId,
    },
}

/// A request of an operator. Names in it may be as they were typed: see [`super::name_lookup`].
#[derive(Clone, Debug)]
pub enum Request {
    /// Creates a group.
    CreateGroup {
        /// Its name. This node must not be in a group of that name.
        name: String,
    },
    /// Writes to a group's desired state.
    Write(WriteRequest),
    /// Reverts changes of a group's desired state, or restores a point of its history, by a new change.
    Revert(RevertCommand),
    /// Gives this node the alias, the labels and the per-node values of another.
    ReplaceNode {
        /// The group.
        group: GroupName,
        /// The node that this one replaces: a member or former member that is not up.
        old_node: NodeName,
        /// The note of the change that it writes.
        note: ChangeNote,
    },
    /// Makes an invite.
    CreateInvite {
        /// The group.
        group: GroupName,
        /// The role that it grants.
        role: Role,
        /// The number of nodes that may join by it.
        max_uses: u32,
        /// The time at which it expires, in seconds since 1970.
        expires_unix_secs: i64,
    },
    /// Ends an invite.
    RevokeInvite {
        /// The group.
        group: GroupName,
        /// The invite: a prefix of its id, or its code.
        invite: String,
    },
    /// Joins a group by an invite code.
    Join {
        /// The code.
        code: InviteCode,
        /// The alias that this node asks for; empty for none.
        alias: String,
        /// The labels that this node asks for.
        labels: Vec<(String, String)>,
    },
    /// Measures the round trip to a member.
    Ping {
        /// The group.
        group: GroupName,
        /// The member.
        node: NodeName,
    },
    /// Sends this node's digest to every linked member now.
    SyncNow {
        /// The group.
        group: GroupName,
    },
    /// Changes the membership of a group, or what counts by it.
    Admin(AdminRequest),
    /// Asks members in the network to admit this node without a code, for a while.
    StartPairing {
        /// The alias that this node asks for; empty for none.
        alias: String,
        /// The labels that this node asks for, sorted by key.
        labels: Vec<(String, String)>,
    },
    /// Confirms the digits that the admitting member's screen shows.
    ConfirmDigits {
        /// The digits.
        digits: u32,
    },
    /// Ends this node's own pairing.
    StopPairing,
    /// Rejects the join request of a node.
    RejectJoin {
        /// The group whose requests are searched for the name.
        group: GroupName,
        /// The node.
        node: NodeName,
    },
    /// Pauses or resumes the synchronisation of a group.
    SetPaused {
        /// The group.
        group: GroupName,
        /// True to pause.
        paused: bool,
    },
}

/// A request that changes the membership of a group, or what counts by it.
#[derive(Clone)]
pub struct AdminRequest {
    /// The group that the request concerns.
    pub group: GroupName,
    /// The requested operation.
    pub op: AdminOp,
    /// The operator's local user.
    pub user: String,
    /// The operator's reason.
    pub message: String,
}

impl fmt::Debug for AdminRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An operation may hold a recovery key, which must not reach a log.
        write!(f, "AdminRequest({:?})", self.group)
    }
}

/// One administrative operation.
#[derive(Clone)]
pub enum AdminOp {
    /// Ends all grants of a member.
    RemoveMember {
        /// The member.
        node: NodeName,
        /// The last of its changes that counts; without it, all that are here count.
        keep_through: Option<ChangeName>,
    },
    /// Gives a member another role.
    ChangeRole {
        /// The member.
        node: NodeName,
        /// The role.
        role: Role,
    },
    /// Ends this node's own grants.
    LeaveGroup {
        /// True to leave even if no other admin is left.
        force: bool,
    },
    /// Grants this node's membership to another key of the same host, and ends its own. This node must be an
    /// admin.
    RotateKey {
        /// The other key.
        new_key: NodeId,
        /// The alias of the other key: this node's.
        alias: String,
        /// The labels of the other key: this node's.
        labels: Vec<(String, String)>,
    },
    /// Ends the group for all members.
    DeleteGroup {
        /// The recovery key, if this node is not the founder.
        recovery_key: Option<SecretKey>,
    },
    /// Deletes the observed state of a former member.
    ForgetMember {
        /// The former member.
        node: NodeName,
    },
    /// Makes this node an admin by the recovery key.
    RecoverAdmin {
        /// The recovery key.
        recovery_key: SecretKey,
    },
    /// Accepts unaccepted changes, with what they build on.
    ReadmitChanges {
        /// The changes, at most one of each chain.
        changes: Vec<ChangeName>,
    },
    /// Writes the values of unaccepted changes again, in their order, as one change of this node.
    RewriteChanges {
        /// The changes.
        changes: Vec<ChangeName>,
        /// The note of the new change.
        note: ChangeNote,
    },
    /// Admits a node whose join request waits here.
    ApproveJoin {
        /// The node.
        node: NodeName,
        /// The role that it gets.
        role: Role,
        /// The digits that its screen shows, if it asks without a code.
        digits: Option<u32>,
    },
}

/// A write to a group's desired state.
#[derive(Clone)]
pub struct WriteRequest {
    /// The group that the request concerns.
    pub group: GroupName,
    /// The edits: all of them are written, or none.
    pub edits: Vec<Edit>,
    /// The heads that the desired state must have, or the write is refused; `None` for any.
    pub expected_heads: Option<Vec<ChangeName>>,
    /// The note of the change.
    pub note: ChangeNote,
    /// True to accept kinds and fields that this version does not know.
    pub allow_unknown: bool,
}

impl fmt::Debug for WriteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values must not reach a log.
        write!(f, "WriteRequest({:?}, {} edits)", self.group, self.edits.len())
    }
}

/// A request to take back changes.
#[derive(Clone, Debug)]
pub struct RevertCommand {
    /// The group that the request concerns.
    pub group: GroupName,
    /// The changes that are taken back.
    pub target: RevertTarget,
    /// The note of the change. An empty message is filled in; so is the command of an undo or revert.
    pub note: ChangeNote,
}

/// What a revert takes back. It is also the JSON form in which the local API takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevertTarget {
    /// The newest change of this node that is not undone yet.
    Undo,
    /// These changes, by any node.
    Revert(Vec<ChangeName>),
    /// Everything since a point of the history.
    Restore {
        /// The point.
        point: HistoryPoint,
        /// The resources that are restored.
        scope: ResourceScope,
    },
}
