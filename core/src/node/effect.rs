//! What a node does: every effect of the machine.

use std::collections::BTreeSet;

use super::input::{LinkId, RequestId, StoreBatchId};
use super::protocol_error::ProtocolError;
use crate::group::WriteError;
use crate::history::RevertError;
use crate::id::{ChangeId, GroupId, NodeId, SecretKey};
use crate::resource::edit::EditError;
use crate::store::Row;
use crate::wire::guest::JoinDenial;
use crate::wire::invite_code::InviteCode;

/// Something to be done. Effects of one call are to be done in order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make these rows durable, all or none, after those of all earlier tokens; then say [`super::Input::Stored`].
    Store {
        /// Names the batch.
        batch: StoreBatchId,
        /// The rows.
        rows: Vec<Row>,
    },
    /// Send a frame.
    Send {
        /// On which stream.
        link: LinkId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// End a stream.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for the log.
        reason: String,
    },
    /// Open a visit to a node.
    OpenGuestStream {
        /// Which.
        peer: NodeId,
    },
    /// These, and no others, are members of groups of this node: whom to keep links with and whom to admit.
    SetMembers(BTreeSet<NodeId>),
    /// A member can be reached there.
    LearnAddresses {
        /// Who.
        peer: NodeId,
        /// Where, as multiaddresses.
        addresses: Vec<String>,
    },
    /// Answer somebody.
    Respond {
        /// Who asked.
        request_id: RequestId,
        /// The answer.
        response: Result<Response, RequestError>,
    },
    /// The desired state of a group, or who is selected by it, may have changed. It is durable.
    DesiredChanged {
        /// Which group.
        group: GroupId,
    },
    /// Something that an operator may want to know.
    Event(NodeEvent),
}

/// What an operator gets.
#[derive(Clone, Debug)]
pub enum Response {
    /// A group was founded. The recovery key is shown once and kept nowhere by the machine.
    GroupCreated {
        /// Which.
        group: GroupId,
        /// The private recovery key.
        recovery_key: SecretKey,
    },
    /// The write is durable here; `None` if nothing differed.
    Written(Option<ChangeId>),
    /// An invite.
    InviteCreated(InviteCode),
    /// Done.
    Done,
    /// The node is in the group and has everything that the member it joined by had.
    Joined(GroupId),
    /// A neighbour answered after so many microseconds.
    RoundTripMicros(u64),
}

/// The reason why a request failed. A failed request has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// This node has no group with that id.
    #[error("this node is not in that group")]
    UnknownGroup,
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

/// Something that an operator may want to know. Holds ids and names, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// A neighbour speaks no version that this node does.
    IncompatibleVersion {
        /// Who.
        peer: NodeId,
        /// Its software.
        software: String,
    },
    /// A peer violated the protocol.
    ProtocolViolation {
        /// The peer's node id.
        peer: NodeId,
        /// What the peer did.
        error: ProtocolError,
    },
    /// A member can be heard again, or cannot be any more.
    ReachabilityChanged {
        /// In which group.
        group: GroupId,
        /// Who.
        peer: NodeId,
        /// True if it can be heard.
        is_reachable: bool,
    },
    /// Everything that a neighbour has of a group is here.
    InSync {
        /// In which group.
        group: GroupId,
        /// With whom.
        peer: NodeId,
    },
    /// A node was let in.
    MemberAdmitted {
        /// To which group.
        group: GroupId,
        /// Who.
        peer: NodeId,
    },
    /// This node is in a group now.
    GroupEntered {
        /// Which.
        group: GroupId,
    },
    /// This node's past in a group is not what it remembers: it writes under a new incarnation from now on.
    IncarnationRenewed {
        /// In which group.
        group: GroupId,
    },
    /// Changes came that were written with this node's key, but not by it as far as it remembers: a copy of its data
    /// directory runs, or ran, elsewhere, or this one was restored from a backup.
    DuplicateKey {
        /// In which group.
        group: GroupId,
    },
    /// What was damaged in a group's copy is as that of a member again.
    GroupRepaired {
        /// Which.
        group: GroupId,
    },
    /// A defect isolated a shard.
    ShardIsolated {
        /// In which group.
        group: GroupId,
        /// What happened.
        reason: String,
    },
    /// The store failed.
    StoreFailed {
        /// Why.
        reason: String,
    },
}
