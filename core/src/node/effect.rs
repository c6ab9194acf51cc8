//! The effects of a node, and what its requests are answered with.

use std::collections::BTreeSet;

use super::input::{LinkId, RequestId, StoreBatchId};
use super::lookup_error::LookupError;
use super::protocol_error::ProtocolError;
use crate::group::WriteError;
use crate::history::RevertError;
use crate::id::{ChangeId, GroupId, NodeId, SecretKey};
use crate::resource::edit::EditError;
use crate::resource::node_replacement::NodeReplacement;
use crate::store::Row;
use crate::wire::guest::JoinDenial;
use crate::wire::invite_code::InviteCode;

/// An action that the caller of the node must carry out. The effects of one call are carried out in order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Store rows, all or none, after those of all earlier batches; then confirm with
    /// [`super::Input::Stored`].
    Store {
        /// The id of the batch.
        batch_id: StoreBatchId,
        /// The rows.
        rows: Vec<Row>,
    },
    /// Send a frame.
    Send {
        /// The id of the link or guest stream.
        link: LinkId,
        /// The encoded frame.
        bytes: Vec<u8>,
    },
    /// Close a link or guest stream.
    Close {
        /// The id of the stream.
        link: LinkId,
        /// The reason, for the log.
        reason: String,
    },
    /// Open a guest stream to a node.
    OpenGuestStream {
        /// The node id of the peer.
        peer: NodeId,
    },
    /// Keep links with these nodes and no others: the members of this node's groups.
    SetMembers(BTreeSet<NodeId>),
    /// Use the addresses of a member to dial it.
    LearnAddresses {
        /// The node id of the member.
        peer: NodeId,
        /// The multiaddresses of the member.
        addresses: Vec<String>,
    },
    /// Respond to a request.
    Respond {
        /// The id of the request.
        request_id: RequestId,
        /// The response, or why there is none.
        response: Result<Response, RequestError>,
    },
    /// Reconcile: the desired state of a group, or what it selects, may have changed. It is durable.
    DesiredChanged {
        /// The group.
        group: GroupId,
    },
    /// Report an event to the operator.
    Event(NodeEvent),
}

/// The response to a request.
#[derive(Clone, Debug)]
pub enum Response {
    /// The group was created. The node does not keep the recovery key.
    GroupCreated {
        /// The id of the group.
        group: GroupId,
        /// The private recovery key.
        recovery_key: SecretKey,
    },
    /// The write is durable here; `None` if nothing differed.
    Written(Option<ChangeId>),
    /// The code of the new invite.
    InviteCreated(InviteCode),
    /// The request was carried out.
    Done,
    /// This node is a member of the group and in sync with the member that it joined through.
    Joined(GroupId),
    /// A revert, undo or restore is durable here.
    Reverted {
        /// The new change; `None` if nothing differed.
        change: Option<ChangeId>,
        /// The changes that were taken back, or the heads that were restored.
        sources: Vec<ChangeId>,
    },
    /// This node has the alias, labels and per-node values of another, durably.
    NodeReplaced {
        /// The other node.
        old_id: NodeId,
        /// True if the other node is a member still.
        is_member: bool,
        /// What this node got.
        replacement: NodeReplacement,
        /// The new change; `None` if nothing differed.
        change: Option<ChangeId>,
    },
    /// A member answered a ping.
    RoundTrip {
        /// The member.
        node: NodeId,
        /// The round trip in microseconds.
        micros: u64,
    },
}

/// The reason why a request failed. A failed request has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// This node has no group with that id.
    #[error("this node is not in that group")]
    UnknownGroup,
    /// A name stands for nothing here, or for several things.
    #[error(transparent)]
    Name(#[from] LookupError),
    /// This node left the group, was removed, or the group was deleted.
    #[error("this node is no member of that group any more")]
    MembershipEnded(GroupId),
    /// A group of that name is here.
    #[error("this node is in a group `{0}` already")]
    GroupNameTaken(String),
    /// There is nothing that undo could take back.
    #[error("this node has done nothing lately that could be undone")]
    NothingToUndo,
    /// Nothing of that scope was ever here.
    #[error("no resource {0} was ever here")]
    EmptyScope(String),
    /// A node cannot replace itself.
    #[error("that is this node itself: run `replace` on the node that takes its place")]
    CannotReplaceSelf,
    /// The node that is to be replaced runs.
    #[error("{0} is up, and would run what is meant for this node from now on")]
    ReplacedNodeIsUp(String),
    /// The name is not valid for a group.
    #[error("a group name has 1 to {} bytes and no control characters", crate::limits::MAX_NAME_BYTES)]
    InvalidGroupName,
    /// An edit is not possible.
    #[error(transparent)]
    InvalidEdit(#[from] EditError),
    /// A revert is not possible.
    #[error(transparent)]
    Revert(#[from] RevertError),
    /// The change could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The desired state has other heads than the caller expected.
    #[error("the desired state has changed since {0}; read it again")]
    HeadsChanged(String),
    /// This node is not an admin.
    #[error("only an admin of the group can do that")]
    NotAdmin,
    /// This node is an admin, but not on the grant path of the admin whose grant it is to end.
    #[error(
        "this node cannot remove that admin: only an admin whose grants lead to its grant, \
         or the recovery key, can do that"
    )]
    NotGrantingAdmin,
    /// This node is not the founder, and no recovery key was given.
    #[error("only the founder of the group, or the holder of its recovery key, can do that")]
    NotFounder,
    /// The group would have no admin left.
    #[error("this node is the last admin of the group")]
    LastAdmin,
    /// The node is not a member.
    #[error("that node is not a member of the group")]
    NotMember,
    /// The node is a member, and the operation is for former members.
    #[error("that node is still a member of the group")]
    StillMember,
    /// A node was asked to remove itself.
    #[error("a node cannot remove itself; it can leave the group")]
    CannotRemoveSelf,
    /// The node has that role already.
    #[error("that node is {0} already")]
    RoleUnchanged(crate::record::Role),
    /// The change up to which changes are kept is by another node.
    #[error("that change was not written by the node that is to be removed")]
    ChangeByOtherNode,
    /// The recovery key is of another group.
    #[error("that is not the recovery key of this group")]
    WrongRecoveryKey,
    /// This node holds no unaccepted change with that id.
    #[error("no such change is in quarantine")]
    NotUnaccepted,
    /// Two changes of one chain were named; the newer one includes the older.
    #[error("two of these changes are in one chain; name only the newest one")]
    SameChainTwice,
    /// The node has no open pairing request here.
    #[error("that node does not ask to join, or its digits are not known yet")]
    NoPairingRequest,
    /// The digits are not those of the pairing.
    #[error(
        "those are not the right digits; if both screens were read correctly, \
         an attacker is between the two nodes"
    )]
    WrongDigits,
    /// The alias or the labels are not valid in a grant.
    #[error("that alias or those labels cannot be granted")]
    InvalidGrantTerms,
    /// This node has no invite with that id.
    #[error("this node has no such invite")]
    UnknownInvite,
    /// This node's copy of the group was damaged, and is not complete yet.
    #[error(
        "this node's copy of the group was damaged, and has not been compared with a member's copy since"
    )]
    Refetching,
    /// A member denied the join.
    #[error(transparent)]
    JoinDenied(#[from] JoinDenial),
    /// This node is a member already.
    #[error("this node is a member of that group already")]
    AlreadyMember,
    /// A newer join request for the same group has taken the place of this one.
    #[error("another request to join this group replaced this one")]
    JoinReplaced,
    /// This node has no link with that node.
    #[error("there is no link with that node now")]
    NotLinked,
    /// A limit of this node is reached.
    #[error("this node has reached its limit of {0}")]
    LimitReached(&'static str),
    /// Too many writes wait for the disk.
    #[error("too many writes wait for the disk; try again")]
    TooManyPendingWrites,
    /// The store failed. Until the node is opened again, it writes nothing.
    #[error(
        "the store failed and takes no writes: {0}; \
         free or repair the disk, and the daemon will continue by itself"
    )]
    StoreFailed(String),
}

/// An event that an operator may want to know. It holds ids and names, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// A neighbour and this node have no protocol version in common.
    IncompatibleVersion {
        /// The node id of the peer.
        peer: NodeId,
        /// The software that the peer runs.
        software: String,
    },
    /// A peer violated the protocol.
    ProtocolViolation {
        /// The peer's node id.
        peer: NodeId,
        /// What the peer did.
        error: ProtocolError,
    },
    /// A member became reachable, or is away.
    ReachabilityChanged {
        /// The group.
        group: GroupId,
        /// The node id of the peer.
        peer: NodeId,
        /// True if the member is reachable.
        is_reachable: bool,
    },
    /// A neighbour was found to be in sync for the first time on its link.
    InSync {
        /// The group.
        group: GroupId,
        /// The node id of the neighbour.
        peer: NodeId,
    },
    /// This node admitted another node.
    MemberAdmitted {
        /// The group.
        group: GroupId,
        /// The node id of the peer.
        peer: NodeId,
    },
    /// This node became a member of a group.
    GroupEntered {
        /// The group.
        group: GroupId,
    },
    /// This node's state was copied or restored, so it writes under a new incarnation from now on.
    IncarnationRenewed {
        /// The group.
        group: GroupId,
    },
    /// A peer sent changes that this node's key wrote and this node does not have: a copy of its data
    /// directory runs or ran elsewhere, or this one was restored from a backup.
    DuplicateKey {
        /// The group.
        group: GroupId,
    },
    /// This node's damaged copy of a group is equal to a member's copy again.
    GroupRepaired {
        /// The group.
        group: GroupId,
    },
    /// A defect isolated a shard: it is neither read nor written.
    ShardIsolated {
        /// The group.
        group: GroupId,
        /// The defect.
        reason: String,
    },
    /// The store failed.
    StoreFailed {
        /// The error of the store.
        reason: String,
    },
}
