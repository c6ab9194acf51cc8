//! The events that the network reports to the daemon.

use larder_core::id::NodeId;
pub use larder_core::node::{LinkId, LinkKind};
use libp2p::Multiaddr;

/// How a node was discovered. This is a hint without a signature; only a connection proves the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoverySource {
    /// Multicast DNS.
    Mdns,
    /// Larder's own multicast beacon.
    Beacon,
    /// The operator's `peers`: the address names the node, or a dial found it.
    Static,
}

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The connection broke: cable, power or process of the other side. It is dialed again.
    #[error("the connection was lost")]
    Lost,
    /// The peer ended the link with a goodbye.
    #[error("the other side closed the link")]
    ByPeer,
    /// The daemon called [`NetHandle::close_link`](crate::NetHandle::close_link).
    #[error("this node closed the link")]
    Closed,
    /// The leader of the pair moved the link to another connection; its `LinkUp` follows.
    #[error("replaced by a newer link")]
    Replaced,
    /// The peer is no longer a member. Frames sent before still go out within
    /// [`limits::FLUSH_TIMEOUT`](crate::limits::FLUSH_TIMEOUT).
    #[error("the peer is no longer a member")]
    Removed,
    /// The peer read too slowly: more waited than
    /// [`limits::MAX_MEMBER_QUEUE_BYTES`](crate::limits::MAX_MEMBER_QUEUE_BYTES) or
    /// [`limits::MAX_GUEST_QUEUE_BYTES`](crate::limits::MAX_GUEST_QUEUE_BYTES).
    #[error("the peer reads too slowly: the send queue is full")]
    QueueFull,
    /// The peer announced a frame larger than the kind of link allows.
    #[error("the peer announced a frame of {0} bytes, more than this link may carry")]
    TooLong(u32),
    /// The peer sent more frames or bytes than a guest stream allows.
    #[error("the peer sent more than a guest stream allows")]
    GuestQuotaExceeded,
    /// Nothing was received for [`limits::MEMBER_SILENCE_TIMEOUT`](crate::limits::MEMBER_SILENCE_TIMEOUT)
    /// (guest stream: [`limits::GUEST_SILENCE_TIMEOUT`](crate::limits::GUEST_SILENCE_TIMEOUT)), or no first
    /// frame arrived in time and another guest stream needed the slot.
    #[error("the peer was silent for too long")]
    Silent,
    /// The guest stream reached its maximum lifetime.
    #[error("the guest stream reached its time limit")]
    Expired,
    /// This node's network is shutting down.
    #[error("this node is shutting down")]
    Shutdown,
}

/// Why a guest stream could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestStreamError {
    /// No address of the node is known. Wait until it is discovered, or learn one.
    #[error("no address of that node is known")]
    NoAddress,
    /// No address of the node answered in time.
    #[error("the node could not be reached")]
    Unreachable,
    /// The node declined: it has too many guest streams. Try again later.
    #[error("the node declined the guest stream")]
    Declined,
    /// Too many requests wait on this node, or a guest stream to the peer is open already.
    #[error("too many guest streams wait on this node")]
    Busy,
}

/// Why a peer that is a member refused a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// The peer does not know this node as a member (yet): the records of one side are behind.
    #[error("the peer does not know this node as a member")]
    NotAMember,
    /// The peer does not support this version of the link protocol.
    #[error("the peer speaks another protocol version: one of the two nodes needs an upgrade")]
    UnsupportedVersion,
}

/// An event of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// The addresses at which others can reach this node have changed. Wildcards are expanded. Loopback is
    /// included only if there is no other address or the operator configured it.
    Listening {
        /// All addresses, sorted, without `/p2p/…`.
        addrs: Vec<Multiaddr>,
    },
    /// A node was discovered. Sent at most once per node in
    /// [`limits::DISCOVERED_EVENT_INTERVAL`](crate::limits::DISCOVERED_EVENT_INTERVAL), unless the node is
    /// new or its addresses changed.
    NodeDiscovered {
        /// The node id that the discovery names.
        peer: NodeId,
        /// All known addresses of the node, newest first.
        addrs: Vec<Multiaddr>,
        /// How the node was discovered.
        source: DiscoverySource,
    },
    /// A link or guest stream is open: frames can be sent. Each peer has at most one link; the `LinkDown` of
    /// an earlier link comes first.
    LinkUp {
        /// The id of the link.
        link: LinkId,
        /// The node id of the peer, whose key the handshake proved.
        peer: NodeId,
        /// The kind of the link.
        kind: LinkKind,
        /// True if this node opened the stream. Either side may open a guest stream, whichever side dialed.
        is_opened_here: bool,
        /// True if this node dialed the connection.
        is_dialed_here: bool,
        /// The remote address of the connection. For an inbound connection this is not the peer's listen
        /// address.
        addr: Multiaddr,
    },
    /// The link has ended. Frames without `BytesSent` may not have arrived.
    LinkDown {
        /// The id of the link.
        link: LinkId,
        /// The node id of the peer.
        peer: NodeId,
        /// The reason.
        reason: DownReason,
    },
    /// A whole frame has arrived.
    FrameReceived {
        /// The id of the link.
        link: LinkId,
        /// The payload, never empty, within the limit of the kind.
        bytes: Vec<u8>,
    },
    /// Frames left the send queue for the connection, so the sender may send more. This is not an
    /// acknowledgement by the peer.
    BytesSent {
        /// The id of the link.
        link: LinkId,
        /// The payload bytes since the last such event.
        bytes: usize,
    },
    /// A peer that is a member was reached and refused a link. The network asks it again.
    LinkRefused {
        /// The node id of the peer.
        peer: NodeId,
        /// The reason.
        reason: LinkRefusal,
    },
    /// A requested guest stream could not be opened.
    GuestStreamFailed {
        /// The node id of the peer.
        peer: NodeId,
        /// The reason.
        reason: GuestStreamError,
    },
    /// A dial to this address reached this node. The caller may store the address between starts.
    AddressConfirmed {
        /// The node id of the peer.
        peer: NodeId,
        /// The address, without `/p2p/…`.
        addr: Multiaddr,
    },
}
