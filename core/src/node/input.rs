//! The inputs of a node.

use std::fmt;

use crate::group::ChangeNote;
use crate::history::RevertRequest;
use crate::id::{ChangeId, GroupId, InviteId, NodeId, SecretKey};
use crate::record::Role;
use crate::resource::ResourceName;
use crate::resource::edit::Edit;
use crate::resource::observed::ObservedState;
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

/// The id of a request. The caller assigns it and never uses it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The id of a batch of rows. Batches are stored in the order of their ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreBatchId(pub u64);

/// The kind of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A link: both sides know each other as members of some group.
    Member,
    /// A guest stream: at least one side does not know the other as a member.
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
        opened_here: bool,
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
        token: StoreBatchId,
    },
    /// A batch could not be stored. No later batch will be.
    StoreFailed {
        /// The error of the store.
        why: String,
    },
    /// The multiaddresses at which this node listens.
    OwnAddresses(Vec<String>),
    /// The providers observed resources.
    Observations {
        /// The group.
        group: GroupId,
        /// The observed resources; those not named did not change.
        reports: Vec<(ResourceName, ObservedState)>,
    },
    /// An operator sends a request.
    Request {
        /// The id under which the caller waits for the response.
        caller: RequestId,
        /// The request.
        request: Request,
    },
    /// A caller no longer waits for the response.
    RequestCancelled {
        /// The id of the request.
        caller: RequestId,
    },
}

/// A request of an operator.
#[derive(Clone, Debug)]
pub enum Request {
    /// Create a group.
    CreateGroup {
        /// The name of the new group.
        name: String,
    },
    /// Write to a group's desired state.
    Write(WriteRequest),
    /// Take back changes of a group's desired state by a new change.
    Revert {
        /// The group.
        group: GroupId,
        /// What to take back.
        back: RevertRequest,
        /// The user, message and command to be recorded.
        note: ChangeNote,
    },
    /// Make an invite.
    CreateInvite {
        /// The group.
        group: GroupId,
        /// The role that the invite grants.
        role: Role,
        /// How many nodes may use the invite.
        max_uses: u32,
        /// When the invite expires, in seconds since 1970.
        expires_unix_secs: i64,
    },
    /// Revoke an invite.
    RevokeInvite {
        /// The group.
        group: GroupId,
        /// The id of the invite.
        invite: InviteId,
    },
    /// Join a group with an invite code.
    Join {
        /// The invite code.
        code: InviteCode,
        /// The alias that this node asks for; empty for none.
        alias: String,
        /// The labels that this node asks for.
        labels: Vec<(String, String)>,
    },
    /// Measure the round-trip time to a neighbour.
    Ping {
        /// The node id.
        node: NodeId,
    },
    /// Compare digests with all neighbours now.
    SyncNow {
        /// The group.
        group: GroupId,
    },
    /// Govern a group.
    Admin(AdminRequest),
    /// Ask to be let in without a code, for a while.
    StartPairing {
        /// The alias that this node asks for; empty for none.
        alias: String,
        /// With these labels, sorted by key.
        labels: Vec<(String, String)>,
    },
    /// The operator of this node, which asks, saw these digits where it is let in.
    ConfirmDigits {
        /// The digits.
        digits: u32,
    },
    /// Ask no more.
    StopPairing,
    /// Let a machine that asks not in.
    RejectJoin {
        /// The node id.
        node: NodeId,
    },
    /// Stop or go on syncing a group.
    SetPaused {
        /// Which.
        group: GroupId,
        /// True to stop.
        paused: bool,
    },
}

/// A request to change who is a member of a group, or which changes count.
#[derive(Clone)]
pub struct AdminRequest {
    /// The group.
    pub group: GroupId,
    /// The operation.
    pub act: AdminOp,
    /// The local user name of the operator.
    pub user: String,
    /// The operator's reason.
    pub words: String,
}

impl fmt::Debug for AdminRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A recovery key must not reach a log.
        write!(f, "AdminRequest({})", self.group.short())
    }
}

/// An operation of an admin.
#[derive(Clone)]
pub enum AdminOp {
    /// Revoke all grants of a member.
    RemoveMember {
        /// The node id.
        node: NodeId,
        /// The last change of the member that still counts; `None` for all that are here.
        keep_through: Option<ChangeId>,
    },
    /// Give a member another role.
    ChangeRole {
        /// The node id.
        node: NodeId,
        /// The new role.
        role: Role,
    },
    /// Revoke this node's own grants.
    LeaveGroup {
        /// True to leave although no other admin is left.
        force: bool,
    },
    /// Grant this node's role to a new key of the same host, and revoke its own grants. Only an admin can.
    RotateKey {
        /// The node id of the new key.
        new_key: NodeId,
        /// The alias of this node, for the new grant.
        alias: String,
        /// The labels of this node, for the new grant.
        labels: Vec<(String, String)>,
    },
    /// Dissolve the group for all members.
    DeleteGroup {
        /// The recovery key; needed if this node is not the founder.
        recovery_key: Option<SecretKey>,
    },
    /// Drop the observed state of a former member.
    ForgetMember {
        /// The node id.
        node: NodeId,
    },
    /// Make this node an admin with the recovery key.
    RecoverAdmin {
        /// The recovery key.
        recovery_key: SecretKey,
    },
    /// Accept unaccepted changes, with those that they build on.
    ReadmitChanges {
        /// The newest change of each chain that is to count.
        changes: Vec<ChangeId>,
    },
    /// Write the values of unaccepted changes again, as one change of this node.
    RewriteChanges {
        /// The changes, in the order in which their values apply.
        changes: Vec<ChangeId>,
        /// The user, message and command to be recorded.
        note: ChangeNote,
    },
    /// Admit a node that asks to join.
    ApproveJoin {
        /// The node id.
        node: NodeId,
        /// The role that the invite grants.
        role: Role,
        /// The digits on the screen of the node, if it pairs without a code.
        digits: Option<u32>,
    },
}

/// A write to a group's desired state.
#[derive(Clone)]
pub struct WriteRequest {
    /// The group.
    pub group: GroupId,
    /// The edits, of which all apply or none.
    pub edits: Vec<Edit>,
    /// The heads that the caller saw; if they changed, the write fails.
    pub expected_heads: Option<Vec<ChangeId>>,
    /// The user, message and command to be recorded.
    pub note: ChangeNote,
    /// True to accept kinds and fields that this version does not know.
    pub allow_unknown: bool,
}

impl fmt::Debug for WriteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values must not reach a log.
        write!(f, "WriteRequest({}, {} edits)", self.group.short(), self.edits.len())
    }
}
