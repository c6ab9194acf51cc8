//! What the network tells the daemon.

use std::fmt;

use larder_core::id::NodeId;
use libp2p::Multiaddr;

/// Names one link during the life of this process: counted up from 1, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a link may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Both sides count each other as members of a group: long-lived, large frames, at most one a peer.
    Member,
    /// Anyone: one visit with few small frames, a byte limit and a short life. A member may open one too.
    Guest,
}

/// How a node was heard of. A hint that nobody signed: only a link proves that a key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoverySource {
    /// Multicast DNS.
    Mdns,
    /// Larder's own multicast beacon.
    Beacon,
    /// An address of `peers`: named in it, or found out by dialling it.
    Static,
}

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The connection broke: cable, power, other side killed. It is dialled anew.
    #[error("the connection was lost")]
    Lost,
    /// The other side ended the link with a goodbye.
    #[error("the other side closed the link")]
    ByPeer,
    /// [`NetHandle::close_link`](crate::NetHandle::close_link).
    #[error("closed here")]
    Closed,
    /// The leader of the pair moved the link to another connection; its `LinkUp` follows.
    #[error("replaced by a newer link")]
    Replaced,
    /// The peer is no longer among the members. What was sent before that still goes out, as far as
    /// [`limits::FLUSH_TIMEOUT`](crate::limits::FLUSH_TIMEOUT) allows.
    #[error("the peer is no longer a member")]
    Removed,
    /// The peer did not read for so long that more waited than [`limits::MAX_MEMBER_QUEUE_BYTES`](crate::limits::MAX_MEMBER_QUEUE_BYTES) or
    /// [`limits::MAX_GUEST_QUEUE_BYTES`](crate::limits::MAX_GUEST_QUEUE_BYTES) allows.
    #[error("the peer reads too slowly: the send queue is full")]
    QueueFull,
    /// The peer's fault: it announced a frame larger than its kind of link may carry.
    #[error("the peer announced a frame of {0} bytes, more than this link may carry")]
    TooLong(u32),
    /// The peer's fault: more frames or bytes than a stranger link may carry.
    #[error("the peer sent more than a visit may")]
    GuestQuotaExceeded,
    /// Nothing was received for [`limits::MEMBER_SILENCE_TIMEOUT`](crate::limits::MEMBER_SILENCE_TIMEOUT) (stranger link:
    /// [`limits::GUEST_SILENCE_TIMEOUT`](crate::limits::GUEST_SILENCE_TIMEOUT)): the peer hangs.
    #[error("the peer was silent for too long")]
    Silent,
    /// A stranger link's time was over.
    #[error("the visit's time was over")]
    Expired,
    /// This node's network is shutting down.
    #[error("this node is shutting down")]
    Shutdown,
}

/// Why a visit did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestStreamError {
    /// No address of that node is known; wait until it is seen, or learn one.
    #[error("no address of that node is known")]
    NoAddress,
    /// None of its addresses answered in time.
    #[error("the node could not be reached")]
    Unreachable,
    /// It answered and declined: too many visits at the moment. Try again later.
    #[error("the node takes no visit at the moment")]
    Declined,
    /// Too many visits of ours wait for their turn, or one to this node is open already.
    #[error("too many visits wait here")]
    Busy,
}

/// Why a peer that we count as member would not take a member link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// It does not count us as a member (yet): its records are behind, or ours are.
    #[error("the peer does not know this node as a member")]
    NotAMember,
    /// It does not speak this version of the link.
    #[error("the peer speaks another version: one of the two needs an upgrade")]
    UnsupportedVersion,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// All addresses that others may reach this node at, whenever they change. Wildcards are expanded; loopback is
    /// among them only where nothing else is, or if it was asked for.
    Listening {
        /// The whole set, sorted, without `/p2p/…`.
        addrs: Vec<Multiaddr>,
    },
    /// A node was heard of. At most one in [`limits::DISCOVERED_EVENT_INTERVAL`](crate::limits::DISCOVERED_EVENT_INTERVAL) a node, unless it is
    /// new or its addresses changed.
    NodeDiscovered {
        /// Who says to be there.
        peer: NodeId,
        /// All addresses known for it, newest first.
        addrs: Vec<Multiaddr>,
        /// How it was heard.
        source: DiscoverySource,
    },
    /// A link is open: frames may be sent on it. Of member links there is at most one a peer; the `LinkDown` of an
    /// earlier one always comes first.
    LinkUp {
        /// Its name.
        link: LinkId,
        /// Whose key the other side proved to hold.
        peer: NodeId,
        /// What it may carry.
        kind: LinkKind,
        /// True if this side opened it. (Whoever dialled the connection below: either side may open a visit.)
        is_opened_here: bool,
        /// True if this side dialled the connection below it.
        is_dialed_here: bool,
        /// The other end of that connection (of an inbound one: not where the peer listens).
        addr: Multiaddr,
    },
    /// The link is gone: frames that were sent and not reported `BytesSent` may not have arrived.
    LinkDown {
        /// Which.
        link: LinkId,
        /// Whose.
        peer: NodeId,
        /// Why.
        reason: DownReason,
    },
    /// A whole frame arrived.
    FrameReceived {
        /// On which link.
        link: LinkId,
        /// Its payload, never empty, within the limit of the link's kind.
        bytes: Vec<u8>,
    },
    /// That many payload bytes left the link's queue for the connection: the sender may refill it. Not an
    /// acknowledgement by the peer.
    BytesSent {
        /// On which link.
        link: LinkId,
        /// Bytes since the last such event.
        bytes: usize,
    },
    /// A peer that we count as member was reached and would not take a member link. It is asked again.
    LinkRefused {
        /// Who.
        peer: NodeId,
        /// Why.
        reason: LinkRefusal,
    },
    /// A visit that was asked for did not come about.
    GuestStreamFailed {
        /// Whom to.
        peer: NodeId,
        /// Why.
        reason: GuestStreamError,
    },
    /// A dial to this address found this node: worth remembering over restarts.
    AddressConfirmed {
        /// Who answered.
        peer: NodeId,
        /// Where, without `/p2p/…`.
        addr: Multiaddr,
    },
}
