//! The handle with which the daemon controls the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use larder_core::id::NodeId;
use larder_core::limit_stats::LimitStats;
use libp2p::Multiaddr;

use crate::config::{Config, StartError};
use crate::driver::Driver;
use crate::event::{DownReason, LinkId, LinkKind};
use crate::event_channel::EventReceiver;
use crate::limits;
use crate::shared_state::SharedState;

/// Why a frame was not queued. The link is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendFrameError {
    /// The link has ended; its `LinkDown` was sent or is on its way.
    #[error("link {0} has ended")]
    LinkGone(LinkId),
    /// The frame is larger than the kind of link allows ([`limits::MAX_MEMBER_FRAME_BYTES`],
    /// [`limits::MAX_GUEST_FRAME_BYTES`]).
    #[error("a frame of {0} bytes is too large for this link")]
    FrameTooLarge(usize),
}

/// A handle of the network. Clones control the same network. No method waits.
#[derive(Clone)]
pub struct NetHandle {
    shared: SharedState,
}

/// Starts the network as a task of the current tokio runtime.
///
/// The network stops on [`NetHandle::shutdown`], or when the [`EventReceiver`] is dropped.
pub fn start(config: Config) -> Result<(NetHandle, EventReceiver), StartError> {
    let shared = SharedState::new(config.secret.node_id());
    let (driver, events) = Driver::new(&shared, config)?;
    tokio::spawn(driver.run());
    Ok((NetHandle { shared }, events))
}

impl NetHandle {
    /// Replaces the set of members of all groups. Only members may open links, and the network keeps a link
    /// with each of them. It closes connections of removed members, and opens a link at once with a new
    /// member that is connected. The set may contain this node. At most [`limits::MAX_MEMBERS`] count.
    pub fn set_members(&self, members: BTreeSet<NodeId>) {
        self.shared.commands.submit(|pending| pending.members = Some(members));
    }

    /// Adds addresses of `peer` that a member reported. Ignores addresses that are not TCP over IP, and more
    /// than [`limits::MAX_ADDRESSES_PER_NODE`].
    pub fn learn_addresses(&self, peer: NodeId, addrs: Vec<Multiaddr>) {
        self.shared.commands.submit(|pending| pending.add_addresses(peer, addrs));
    }

    /// Opens a guest stream to `peer`, dialing it if needed: a `LinkUp` or a `GuestStreamFailed` follows. A
    /// repeated request while one is in progress changes nothing. Beyond
    /// [`limits::MAX_OUTGOING_GUEST_STREAMS`] the request waits. Returns false if
    /// [`limits::MAX_WAITING_GUEST_STREAMS`] requests wait already; try again later.
    pub fn open_guest_stream(&self, peer: NodeId) -> bool {
        self.shared.commands.submit(|pending| pending.add_guest_stream(peer))
    }

    /// Queues `frame` on `link`. An empty frame is not sent. If the queue is full, the link ends with
    /// [`DownReason::QueueFull`]; `NetEvent::BytesSent` reports how fast the queue drains.
    pub fn send_frame(&self, link: LinkId, frame: Vec<u8>) -> Result<(), SendFrameError> {
        let (kind, queue) = self.shared.link_registry.get(link).ok_or(SendFrameError::LinkGone(link))?;
        let (max_frame_bytes, max_queue_bytes) = match kind {
            LinkKind::Member => (limits::MAX_MEMBER_FRAME_BYTES, limits::MAX_MEMBER_QUEUE_BYTES),
            LinkKind::Guest => (limits::MAX_GUEST_FRAME_BYTES, limits::MAX_GUEST_QUEUE_BYTES),
        };
        if frame.len() > max_frame_bytes {
            return Err(SendFrameError::FrameTooLarge(frame.len()));
        }
        if !queue.push(frame) {
            self.shared.limit_stats.record("bytes that wait for a peer", max_queue_bytes);
        }
        Ok(())
    }

    /// Ends `link` after its queue was sent, at the latest after [`limits::FLUSH_TIMEOUT`]. `LinkDown`
    /// follows. The network opens a link with a member again after a delay.
    pub fn close_link(&self, link: LinkId) {
        if let Some((_, queue)) = self.shared.link_registry.get(link) {
            queue.end_link(DownReason::Closed);
        }
    }

    /// The number of connections by node: normally one each.
    pub fn connection_counts(&self) -> BTreeMap<NodeId, usize> {
        self.shared.connection_counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the counts of the limits reached since the last call.
    pub fn take_limit_hits(&self) -> LimitStats {
        self.shared.limit_stats.take()
    }

    /// Stops the network: ends the links with a goodbye, then closes the connections. [`EventReceiver::recv`]
    /// returns the last `LinkDown`s and then `None`.
    pub fn shutdown(&self) {
        self.shared.commands.submit(|pending| pending.shutdown = true);
    }
}
