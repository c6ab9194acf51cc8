//! The handle by which the daemon speaks to the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use larder_core::id::NodeId;
use libp2p::Multiaddr;

use crate::config::{Config, StartError};
use crate::driver::Driver;
use crate::event::{DownReason, LinkId, LinkKind};
use crate::feed::Events;
use crate::limits;
use crate::link::registry::Registry;
use crate::mailbox::Mailbox;
use crate::tally::{Reached, Tally};

/// Why a frame was not taken. The link is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The link is gone; its `LinkDown` has been told or is on its way.
    #[error("link {0} is gone")]
    Gone(LinkId),
    /// The caller's fault: larger than this kind of link carries ([`limits::FRAME`], [`limits::VISIT_FRAME`]).
    #[error("a frame of {0} bytes is too large for this link")]
    TooLarge(usize),
}

/// How many connections there are to each node.
pub(crate) type Census = Arc<Mutex<BTreeMap<NodeId, usize>>>;

/// A cheap handle; all copies speak to the same network. No method waits.
#[derive(Clone)]
pub struct Net {
    us: NodeId,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) registry: Registry,
    pub(crate) census: Census,
    pub(crate) tally: Tally,
}

/// Starts the network in the background of the tokio runtime of the caller.
///
/// It ends on [`Net::shutdown`], or when the [`Events`] are dropped.
pub fn start(config: Config) -> Result<(Net, Events), StartError> {
    let net = Net {
        us: config.secret.node(),
        mailbox: Arc::default(),
        registry: Registry::default(),
        census: Census::default(),
        tally: Tally::default(),
    };
    let (driver, events) = Driver::new(&net, config)?;
    tokio::spawn(driver.run());
    Ok((net, events))
}

impl Net {
    /// This node.
    pub fn node(&self) -> NodeId {
        self.us
    }

    /// Counts exactly these nodes as members of any of our groups: they may open links, and links with them are kept
    /// up. Connections of those that no longer are members are closed; one who is new and connected gets a link at
    /// once. This node itself may be among them. At most [`limits::MEMBERS`] count.
    pub fn members(&self, members: BTreeSet<NodeId>) {
        self.mailbox.wish(|wishes| wishes.members = Some(members));
    }

    /// Where `node` may be, as a member said. What is not TCP over IP is passed over, as is what lies beyond
    /// [`limits::ADDRESSES`].
    pub fn learn(&self, node: NodeId, addrs: Vec<Multiaddr>) {
        self.mailbox.wish(|wishes| wishes.learn(node, addrs));
    }

    /// Opens a stranger link to `node`, dialling it if need be: a `LinkUp` or a `VisitFailed` follows. Asking again
    /// while one is under way changes nothing. Beyond [`limits::VISITS_OUT`] it waits for its turn. False if
    /// [`limits::VISITS_WAITING`] others wait already: ask later.
    pub fn visit(&self, node: NodeId) -> bool {
        self.mailbox.wish(|wishes| wishes.visit(node))
    }

    /// The operator's addresses, in place of those of [`Config::peers`]. What is not TCP over IP is passed over.
    pub fn peers(&self, peers: Vec<Multiaddr>) {
        self.mailbox.wish(|wishes| wishes.peers = Some(peers));
    }

    /// Looks for missing members now, whatever pauses there are.
    pub fn hurry(&self) {
        self.mailbox.wish(|wishes| wishes.hurry = true);
    }

    /// Queues `frame` on `link`. An empty frame is nothing and is not sent. If more waits than the link's kind
    /// allows, the link ends with [`DownReason::QueueFull`]; `Event::Sent` tells how fast it drains.
    pub fn send(&self, link: LinkId, frame: Vec<u8>) -> Result<(), SendError> {
        let (kind, queue) = self.registry.get(link).ok_or(SendError::Gone(link))?;
        let (max, waiting) = match kind {
            LinkKind::Member => (limits::FRAME, limits::QUEUE),
            LinkKind::Stranger => (limits::VISIT_FRAME, limits::VISIT_QUEUE),
        };
        if frame.len() > max {
            return Err(SendError::TooLarge(frame.len()));
        }
        if !queue.push(frame) {
            self.tally.note("bytes that wait for a neighbour", waiting);
        }
        Ok(())
    }

    /// Ends `link` after what waits was sent, at the latest after [`limits::FLUSH`]. `LinkDown` follows. A member
    /// link comes back after a pause as long as its peer is a member.
    pub fn close(&self, link: LinkId) {
        if let Some((_, queue)) = self.registry.get(link) {
            queue.end(DownReason::Closed);
        }
    }

    /// How many connections there are, by node: one each, but for moments.
    pub fn connections(&self) -> BTreeMap<NodeId, usize> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which bounds were reached since this was asked last.
    pub fn reached(&self) -> Vec<Reached> {
        self.tally.take()
    }

    /// Ends everything: links with a goodbye, then the connections. [`Events::recv`] gives the last `LinkDown`s and
    /// then `None`.
    pub fn shutdown(&self) {
        self.mailbox.wish(|wishes| wishes.stop = true);
    }
}
