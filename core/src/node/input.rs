//! What happens to a node: every input of the machine.

use std::fmt;

use crate::group::ChangeNote;
use crate::history::RevertRequest;
use crate::id::{ChangeId, GroupId, InviteId, NodeId, SecretKey};
use crate::record::Role;
use crate::resource::ResourceName;
use crate::resource::edit::Edit;
use crate::resource::observed::ObservedState;
use crate::wire::invite_code::InviteCode;

/// A point on a clock that only goes forward, in microseconds from some start. Told to the machine, never read by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonoTime(pub u64);

impl MonoTime {
    /// The moment so many milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// How many milliseconds passed since `earlier`.
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }
}

/// What time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockReading {
    /// For everything that waits.
    pub mono: MonoTime,
    /// Seconds since 1970 by the machine's clock, which may be wrong: written into changes, and compared with the end
    /// of an invite. Nothing else is decided by it.
    pub unix_secs: i64,
}

/// Names a link or visit. Given by the network, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names somebody who waits for an answer. Given by whoever asks, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a batch of rows on its way to the disk. They are stored in order of token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreBatchId(pub u64);

/// Whether a stream is one between members or one with a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Both sides count each other as members of some group.
    Member,
    /// A visit: at least one side does not.
    Guest,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed; see [`super::Node::next_wake_at`].
    Tick,
    /// Another node was heard of on the LAN, or answered at a known address.
    NodeDiscovered {
        /// Who.
        peer: NodeId,
        /// Where, as multiaddresses.
        addresses: Vec<String>,
    },
    /// A stream stands.
    LinkUp {
        /// Its name from now on.
        link: LinkId,
        /// Who is at the other end: its key was proved by the transport.
        peer: NodeId,
        /// What sort of stream.
        kind: LinkKind,
        /// True if this node opened it.
        opened_here: bool,
    },
    /// A stream ended.
    LinkDown {
        /// Which.
        link: LinkId,
    },
    /// A frame came.
    FrameReceived {
        /// On which stream.
        link: LinkId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// So many bytes of frames left for the wire.
    BytesSent {
        /// On which stream.
        link: LinkId,
        /// How many.
        bytes: usize,
    },
    /// A peer that counts as member here would not open a link: it does not know this node yet.
    LinkRefused {
        /// Who.
        peer: NodeId,
    },
    /// A visit that was asked for did not come about.
    GuestStreamFailed {
        /// To whom.
        peer: NodeId,
    },
    /// The network has bounds of its own, and one of them was reached.
    LimitHit {
        /// Of what there were too many, in the plural.
        of: &'static str,
        /// How many there may be.
        most: usize,
        /// How often one more was wanted since this was told last.
        hits: u64,
    },
    /// All batches up to this one are durable.
    Stored {
        /// The newest of them.
        token: StoreBatchId,
    },
    /// A batch could not be made durable; none after it will be.
    StoreFailed {
        /// Why.
        why: String,
    },
    /// Where this node can be reached, as multiaddresses.
    OwnAddresses(Vec<String>),
    /// What the providers found.
    Observations {
        /// In which group.
        group: GroupId,
        /// What stands how; resources not named did not change.
        reports: Vec<(ResourceName, ObservedState)>,
    },
    /// Somebody asks for something.
    Request {
        /// Who waits for the answer.
        caller: RequestId,
        /// What for.
        request: Request,
    },
    /// A caller waits no longer.
    RequestCancelled {
        /// Who.
        caller: RequestId,
    },
}

/// Something that an operator asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// Found a group.
    CreateGroup {
        /// What to call it.
        name: String,
    },
    /// Write to a group's desired state.
    Write(WriteRequest),
    /// Put something back in a group's desired state, by a new change.
    Revert {
        /// In which group.
        group: GroupId,
        /// What.
        back: RevertRequest,
        /// Who, why and how.
        note: ChangeNote,
    },
    /// Make an invite.
    CreateInvite {
        /// To which group.
        group: GroupId,
        /// With which role.
        role: Role,
        /// For how many.
        max_uses: u32,
        /// Until when, in seconds since 1970.
        expires_unix_secs: i64,
    },
    /// End an invite.
    RevokeInvite {
        /// Of which group.
        group: GroupId,
        /// Which.
        invite: InviteId,
    },
    /// Join a group.
    Join {
        /// By this code.
        code: InviteCode,
        /// With this alias; empty for none.
        alias: String,
        /// With these labels.
        labels: Vec<(String, String)>,
    },
    /// Measure the way to a neighbour.
    Ping {
        /// Which.
        node: NodeId,
    },
    /// Compare with all neighbours now.
    SyncNow {
        /// Of which group.
        group: GroupId,
    },
    /// Govern a group.
    Admin(AdminRequest),
    /// Ask to be let in without a code, for a while.
    StartPairing {
        /// With this alias; empty for none.
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
        /// Which.
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

/// Something that changes who is in a group, or what of theirs counts.
#[derive(Clone)]
pub struct AdminRequest {
    /// Which group.
    pub group: GroupId,
    /// What to do.
    pub act: AdminOp,
    /// The operator's local user.
    pub user: String,
    /// Why, in the operator's words.
    pub words: String,
}

impl fmt::Debug for AdminRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A recovery key has no business in a log.
        write!(f, "Govern({})", self.group.short())
    }
}

/// What to do.
#[derive(Clone)]
pub enum AdminOp {
    /// End all grants of a member.
    RemoveMember {
        /// Which.
        node: NodeId,
        /// Let its changes count up to this one; else all that are here.
        keep_through: Option<ChangeId>,
    },
    /// Give a member another role.
    ChangeRole {
        /// Which.
        node: NodeId,
        /// The role.
        role: Role,
    },
    /// End this node's own grants.
    LeaveGroup {
        /// Though no other admin is left.
        force: bool,
    },
    /// Hand this node's membership over to another key of the same machine, and end its own. Only an admin can.
    RotateKey {
        /// The other key.
        new_key: NodeId,
        /// What it is called, as this node is.
        alias: String,
        /// Its labels, as this node's.
        labels: Vec<(String, String)>,
    },
    /// End the group for everybody.
    DeleteGroup {
        /// The recovery key, if this node is not the founder.
        recovery_key: Option<SecretKey>,
    },
    /// Drop what a former member observed.
    ForgetMember {
        /// Which.
        node: NodeId,
    },
    /// Make this node an admin by the recovery key.
    RecoverAdmin {
        /// The key.
        recovery_key: SecretKey,
    },
    /// Bring changes in that are kept aside, with what they build on.
    ReadmitChanges {
        /// Which, one of each chain.
        changes: Vec<ChangeId>,
    },
    /// Write what changes say that are kept aside once more, in their order, as one change of this node.
    RewriteChanges {
        /// Which.
        changes: Vec<ChangeId>,
        /// Who, why and how.
        note: ChangeNote,
    },
    /// Let a machine in that asks.
    ApproveJoin {
        /// Which.
        node: NodeId,
        /// With which role.
        role: Role,
        /// What its screen shows, if it asks without a code.
        digits: Option<u32>,
    },
}

/// What to write to a group's desired state.
#[derive(Clone)]
pub struct WriteRequest {
    /// Which group.
    pub group: GroupId,
    /// What to do, all or nothing.
    pub edits: Vec<Edit>,
    /// Refuse if the heads are not these any more.
    pub expected_heads: Option<Vec<ChangeId>>,
    /// Who, why and how.
    pub note: ChangeNote,
    /// Take kinds and fields that this version does not know.
    pub allow_unknown: bool,
}

impl fmt::Debug for WriteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values have no business in a log.
        write!(f, "WriteRequest({}, {} edits)", self.group.short(), self.edits.len())
    }
}
