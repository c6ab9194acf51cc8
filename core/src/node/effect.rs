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

/// Why an operator does not get it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The caller's fault: no such group here.
    #[error("this node is not in that group")]
    UnknownGroup,
    /// The caller's fault: a name that a group cannot have.
    #[error("a group's name has 1 to {max} bytes and no control characters", max = crate::limits::MAX_NAME_BYTES)]
    InvalidGroupName,
    /// The caller's fault: an edit that cannot be made.
    #[error(transparent)]
    InvalidEdit(#[from] EditError),
    /// Something cannot be put back.
    #[error(transparent)]
    Revert(#[from] RevertError),
    /// The edit could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Nobody's fault: somebody was faster.
    #[error("the desired state moved on since {0}; look at it again")]
    HeadsChanged(String),
    /// The caller's fault: not an admin.
    #[error("only an admin of the group may do that")]
    NotAdmin,
    /// The caller's fault: an admin is removed only by one above it, in the line of grants.
    #[error(
        "that node is an admin whom this one may not remove: only an admin by whose grant it became one may, or the recovery key"
    )]
    NotGrantingAdmin,
    /// The caller's fault: only the founder may.
    #[error("only the founder of the group may do that, or whoever has its recovery key")]
    NotFounder,
    /// The caller's fault: nobody would be left to let anybody in.
    #[error("this node is the last admin of the group")]
    LastAdmin,
    /// The caller's fault: not a member, or not any more.
    #[error("that node is no member of the group")]
    NotMember,
    /// The caller's fault: it is one.
    #[error("that node is still a member of the group")]
    StillMember,
    /// The caller's fault: it is this very node.
    #[error("a node does not remove itself: it leaves")]
    CannotRemoveSelf,
    /// Nobody's fault: nothing to do.
    #[error("that node is {0} already")]
    RoleUnchanged(crate::record::Role),
    /// The caller's fault: a change by somebody else.
    #[error("that change was not written by the node that is to be removed")]
    ChangeByOtherNode,
    /// The caller's fault: the key of another group.
    #[error("that is not the recovery key of this group")]
    WrongRecoveryKey,
    /// The caller's fault: such a change is not kept aside.
    #[error("no such change is kept aside")]
    NotUnaccepted,
    /// The caller's fault: the newest of them is enough.
    #[error("two of these changes are in one chain: name the newest that is to count")]
    SameChainTwice,
    /// The caller's fault: nobody of that name asks.
    #[error("that machine does not ask to be let in, or its digits are not known yet")]
    NoPairingRequest,
    /// The caller's fault, or somebody is in between.
    #[error("those are not the digits: if both screens were read right, somebody is in between")]
    WrongDigits,
    /// The caller's fault: an alias or label that no grant may hold.
    #[error("that alias or those labels cannot be granted")]
    InvalidGrantTerms,
    /// The caller's fault: no such invite.
    #[error("no such invite here")]
    UnknownInvite,
    /// Nobody's fault, or the disk's: this copy of the group was damaged.
    #[error("this node's copy of the group was damaged, and was not compared with a member's since")]
    Refetching,
    /// The caller's fault, or that of time: the code cannot be used.
    #[error(transparent)]
    JoinDenied(#[from] JoinDenial),
    /// The caller's fault: already in.
    #[error("this node is in that group already")]
    AlreadyMember,
    /// The caller's fault: it asked to join once more, elsewhere, and that is answered instead.
    #[error("another request to join this group took the place of this one")]
    JoinReplaced,
    /// The other node's: no link with it now.
    #[error("no link with that node now")]
    NotLinked,
    /// This node's: too much at once.
    #[error("this node has as many {0} as it may have")]
    LimitReached(&'static str),
    /// This node's: too many writes wait for the disk.
    #[error("too many writes wait for the disk; try again")]
    TooManyPendingWrites,
    /// The disk's: nothing can be made durable any more.
    #[error(
        "the store failed and takes no writes: {0}; free or repair the disk, and the daemon goes on by itself"
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
