//! The handle by which the daemon speaks to the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use larder_core::id::NodeId;
use libp2p::Multiaddr;

use crate::command_slot::CommandSlot;
use crate::config::{Config, StartError};
use crate::driver::Driver;
use crate::event::{DownReason, LinkId, LinkKind};
use crate::event_channel::EventReceiver;
use crate::limit_stats::{LimitHit, LimitStats};
use crate::limits;
use crate::link::registry::LinkRegistry;

/// Why a frame was not taken. The link is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendFrameError {
    /// The link is gone; its `LinkDown` has been told or is on its way.
    #[error("link {0} is gone")]
    LinkGone(LinkId),
    /// The caller's fault: larger than this kind of link carries ([`limits::MAX_MEMBER_FRAME_BYTES`], [`limits::MAX_GUEST_FRAME_BYTES`]).
    #[error("a frame of {0} bytes is too large for this link")]
    FrameTooLarge(usize),
}

/// How many connections there are to each node.
pub(crate) type ConnectionCounts = Arc<Mutex<BTreeMap<NodeId, usize>>>;

/// A cheap handle; all copies speak to the same network. No method waits.
#[derive(Clone)]
pub struct NetHandle {
    local_node: NodeId,
    pub(crate) commands: Arc<CommandSlot>,
    pub(crate) link_registry: LinkRegistry,
    pub(crate) connection_counts: ConnectionCounts,
    pub(crate) limit_stats: LimitStats,
}

/// Starts the network in the background of the tokio runtime of the caller.
///
/// It ends on [`NetHandle::shutdown`], or when the [`EventReceiver`] are dropped.
pub fn start(config: Config) -> Result<(NetHandle, EventReceiver), StartError> {
    let net = NetHandle {
        local_node: config.secret.node_id(),
        commands: Arc::default(),
        link_registry: LinkRegistry::default(),
        connection_counts: ConnectionCounts::default(),
        limit_stats: LimitStats::default(),
    };
    let (driver, events) = Driver::new(&net, config)?;
    tokio::spawn(driver.run());
    Ok((net, events))
}

impl NetHandle {
    /// This node.
    pub fn local_node(&self) -> NodeId {
        self.local_node
    }

    /// Counts exactly these nodes as members of any of our groups: they may open links, and links with them are kept
    /// up. Connections of those that no longer are members are closed; one who is new and connected gets a link at
    /// once. This node itself may be among them. At most [`limits::MAX_MEMBERS`] count.
    pub fn set_members(&self, members: BTreeSet<NodeId>) {
        self.commands.submit(|pending| pending.members = Some(members));
    }

    /// Where `node` may be, as a member said. What is not TCP over IP is passed over, as is what lies beyond
    /// [`limits::MAX_ADDRESSES_PER_NODE`].
    pub fn learn_addresses(&self, peer: NodeId, addrs: Vec<Multiaddr>) {
        self.commands.submit(|pending| pending.add_addresses(peer, addrs));
    }

    /// Opens a stranger link to `node`, dialling it if need be: a `LinkUp` or a `GuestStreamFailed` follows. Asking again
    /// while one is under way changes nothing. Beyond [`limits::MAX_OUTGOING_GUEST_STREAMS`] it waits for its turn. False if
    /// [`limits::MAX_WAITING_GUEST_STREAMS`] others wait already: ask later.
    pub fn open_guest_stream(&self, peer: NodeId) -> bool {
        self.commands.submit(|pending| pending.add_guest_stream(peer))
    }

    /// The operator's addresses, in place of those of [`NodeConfig::peers`]. What is not TCP over IP is passed over.
    pub fn set_static_peers(&self, addrs: Vec<Multiaddr>) {
        self.commands.submit(|pending| pending.static_peers = Some(addrs));
    }

    /// Looks for missing members now, whatever pauses there are.
    pub fn reconnect_now(&self) {
        self.commands.submit(|pending| pending.reconnect_now = true);
    }

    /// Queues `frame` on `link`. An empty frame is nothing and is not sent. If more waits than the link's kind
    /// allows, the link ends with [`DownReason::QueueFull`]; `NetEvent::BytesSent` tells how fast it drains.
    pub fn send_frame(&self, link: LinkId, frame: Vec<u8>) -> Result<(), SendFrameError> {
        let (kind, queue) = self.link_registry.get(link).ok_or(SendFrameError::LinkGone(link))?;
        let (max_frame_bytes, max_queue_bytes) = match kind {
            LinkKind::Member => (limits::MAX_MEMBER_FRAME_BYTES, limits::MAX_MEMBER_QUEUE_BYTES),
            LinkKind::Guest => (limits::MAX_GUEST_FRAME_BYTES, limits::MAX_GUEST_QUEUE_BYTES),
        };
        if frame.len() > max_frame_bytes {
            return Err(SendFrameError::FrameTooLarge(frame.len()));
        }
        if !queue.push(frame) {
            self.limit_stats.record("bytes that wait for a neighbour", max_queue_bytes);
        }
        Ok(())
    }

    /// Ends `link` after what waits was sent, at the latest after [`limits::FLUSH_TIMEOUT`]. `LinkDown` follows. A member
    /// link comes back after a pause as long as its peer is a member.
    pub fn close_link(&self, link: LinkId) {
        if let Some((_, queue)) = self.link_registry.get(link) {
            queue.end_link(DownReason::Closed);
        }
    }

    /// How many connections there are, by node: one each, but for moments.
    pub fn connection_counts(&self) -> BTreeMap<NodeId, usize> {
        self.connection_counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which bounds were reached since this was asked last.
    pub fn take_limit_hits(&self) -> Vec<LimitHit> {
        self.limit_stats.take_hits()
    }

    /// Ends everything: links with a goodbye, then the connections. [`EventReceiver::recv`] gives the last `LinkDown`s and
    /// then `None`.
    pub fn shutdown(&self) {
        self.commands.submit(|pending| pending.shutdown = true);
    }
}
