//! What happens to a node: every input of the machine.

use std::fmt;

use crate::group::Note;
use crate::history::Back;
use crate::id::{ChangeId, GroupId, InviteId, NodeId, Secret};
use crate::record::Role;
use crate::resource::ResourceName;
use crate::resource::edit::Edit;
use crate::resource::observed::Observed;
use crate::wire::code::Code;

/// A point on a clock that only goes forward, in microseconds from some start. Told to the machine, never read by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
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
pub struct Now {
    /// For everything that waits.
    pub mono: Moment,
    /// Seconds since 1970 by the machine's clock, which may be wrong: written into changes, and compared with the end
    /// of an invite. Nothing else is decided by it.
    pub wall: i64,
}

/// Names a link or visit. Given by the network, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names somebody who waits for an answer. Given by whoever asks, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller(pub u64);

/// Names a batch of rows on its way to the disk. They are stored in order of token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Whether a stream is one between members or one with a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Both sides count each other as members of some group.
    Member,
    /// A visit: at least one side does not.
    Visit,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed; see [`super::Machine::next_wake`].
    Tick,
    /// Another node was heard of on the LAN, or answered at a known address.
    Seen {
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
        opened: bool,
    },
    /// A stream ended.
    LinkDown {
        /// Which.
        link: LinkId,
    },
    /// A frame came.
    Frame {
        /// On which stream.
        link: LinkId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// So many bytes of frames left for the wire.
    Sent {
        /// On which stream.
        link: LinkId,
        /// How many.
        bytes: usize,
    },
    /// A peer that counts as member here would not open a link: it does not know this node yet.
    Refused {
        /// Who.
        peer: NodeId,
    },
    /// A visit that was asked for did not come about.
    VisitFailed {
        /// To whom.
        peer: NodeId,
    },
    /// The network has bounds of its own, and one of them was reached.
    Reached {
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
        token: Token,
    },
    /// A batch could not be made durable; none after it will be.
    StoreFailed {
        /// Why.
        why: String,
    },
    /// Where this node can be reached, as multiaddresses.
    Addresses(Vec<String>),
    /// What the providers found.
    Observed {
        /// In which group.
        group: GroupId,
        /// What stands how; resources not named did not change.
        reports: Vec<(ResourceName, Observed)>,
    },
    /// Somebody asks for something.
    Request {
        /// Who waits for the answer.
        caller: Caller,
        /// What for.
        request: Request,
    },
    /// A caller waits no longer.
    Hangup {
        /// Who.
        caller: Caller,
    },
}

/// Something that an operator asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// Found a group.
    Found {
        /// What to call it.
        name: String,
    },
    /// Write to a group's desired state.
    Write(WriteRequest),
    /// Put something back in a group's desired state, by a new change.
    PutBack {
        /// In which group.
        group: GroupId,
        /// What.
        back: Back,
        /// Who, why and how.
        note: Note,
    },
    /// Make an invite.
    Invite {
        /// To which group.
        group: GroupId,
        /// With which role.
        role: Role,
        /// For how many.
        uses: u32,
        /// Until when, in seconds since 1970.
        expires: i64,
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
        code: Code,
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
    Sync {
        /// Of which group.
        group: GroupId,
    },
    /// Govern a group.
    Govern(Govern),
    /// Ask to be let in without a code, for a while.
    Ask {
        /// With this alias; empty for none.
        alias: String,
        /// With these labels, sorted by key.
        labels: Vec<(String, String)>,
    },
    /// The operator of this node, which asks, saw these digits where it is let in.
    Agree {
        /// The digits.
        digits: u32,
    },
    /// Ask no more.
    StopAsking,
    /// Let a machine that asks not in.
    Deny {
        /// Which.
        node: NodeId,
    },
    /// Stop or go on syncing a group.
    Pause {
        /// Which.
        group: GroupId,
        /// True to stop.
        paused: bool,
    },
}

/// Something that changes who is in a group, or what of theirs counts.
#[derive(Clone)]
pub struct Govern {
    /// Which group.
    pub group: GroupId,
    /// What to do.
    pub act: Act,
    /// The operator's local user.
    pub user: String,
    /// Why, in the operator's words.
    pub words: String,
}

impl fmt::Debug for Govern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A recovery key has no business in a log.
        write!(f, "Govern({})", self.group.short())
    }
}

/// What to do.
#[derive(Clone)]
pub enum Act {
    /// End all grants of a member.
    Remove {
        /// Which.
        node: NodeId,
        /// Let its changes count up to this one; else all that are here.
        keep_through: Option<ChangeId>,
    },
    /// Give a member another role.
    Role {
        /// Which.
        node: NodeId,
        /// The role.
        role: Role,
    },
    /// End this node's own grants.
    Leave {
        /// Though no other admin is left.
        force: bool,
    },
    /// Hand this node's membership over to another key of the same machine, and end its own. Only an admin can.
    Rekey {
        /// The other key.
        key: NodeId,
        /// What it is called, as this node is.
        alias: String,
        /// Its labels, as this node's.
        labels: Vec<(String, String)>,
    },
    /// End the group for everybody.
    Dissolve {
        /// The recovery key, if this node is not the founder.
        recovery: Option<Secret>,
    },
    /// Drop what a former member observed.
    Forget {
        /// Which.
        node: NodeId,
    },
    /// Make this node an admin by the recovery key.
    Recover {
        /// The key.
        key: Secret,
    },
    /// Bring changes in that are kept aside, with what they build on.
    Readmit {
        /// Which, one of each chain.
        changes: Vec<ChangeId>,
    },
    /// Write what changes say that are kept aside once more, in their order, as one change of this node.
    Rewrite {
        /// Which.
        changes: Vec<ChangeId>,
        /// Who, why and how.
        note: Note,
    },
    /// Let a machine in that asks.
    Approve {
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
    pub base: Option<Vec<ChangeId>>,
    /// Who, why and how.
    pub note: Note,
    /// Take kinds and fields that this version does not know.
    pub lenient: bool,
}

impl fmt::Debug for WriteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values have no business in a log.
        write!(f, "WriteRequest({}, {} edits)", self.group.short(), self.edits.len())
    }
}
