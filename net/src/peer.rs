//! One peer as the driver sees it: its connections, its link, what is planned.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_core::id::NodeId;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

use crate::dial::{Dial, Pause};
use crate::event::{DownReason, LinkId};
use crate::limits;
use crate::link::pump::Done;
use crate::link::queue::Queue;

/// One established connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) dialed: bool,
    pub(crate) addr: Multiaddr,
    pub(crate) since: Instant,
    /// Last time a visit ran on it, or its begin.
    pub(crate) used: Instant,
    pub(crate) closing: bool,
}

/// A stream that carries a link, or is about to.
pub(crate) struct Rope {
    pub(crate) link: LinkId,
    pub(crate) connection: ConnectionId,
    pub(crate) queue: Arc<Queue>,
    /// We opened the stream.
    pub(crate) ours: bool,
    /// Lets in a link that is held back.
    pub(crate) admit: Option<oneshot::Sender<()>>,
}

/// The member link with one peer.
pub(crate) enum Link {
    None,
    /// Asked for on that connection, not answered yet.
    Opening(ConnectionId),
    Roped(Rope),
}

/// A visit that the daemon asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    None,
    /// Until then there must be a connection.
    Dialing(Instant),
    /// Until then the stream must be accepted.
    Opening(Instant),
    Open(LinkId),
}

/// Everything about one peer.
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) id: PeerId,
    pub(crate) connections: Vec<Connection>,
    pub(crate) dial: Dial,
    pub(crate) link: Link,
    pub(crate) relink: Pause,
    pub(crate) relink_at: Option<Instant>,
    /// Whether a link came up since the last time that there was no connection.
    pub(crate) linked: bool,
    pub(crate) visit: Visit,
    /// Stranger links under way or open, with their queues.
    pub(crate) visits: Vec<Rope>,
    /// Links' tasks that have not ended.
    pub(crate) pumps: usize,
    /// The newest member link's end.
    pub(crate) done: Option<Done>,
    /// Since when there is no connection.
    pub(crate) missing: Option<Instant>,
    /// The address last told as `Event::Address`.
    pub(crate) told: Option<SocketAddr>,
}

impl Peer {
    pub(crate) fn new(node: NodeId, id: PeerId, now: Instant) -> Self {
        Self {
            node,
            id,
            connections: Vec::new(),
            dial: Dial::new(),
            link: Link::None,
            relink: Pause::new(limits::RELINK, limits::RELINK_CAP),
            relink_at: None,
            linked: false,
            visit: Visit::None,
            visits: Vec::new(),
            pumps: 0,
            done: None,
            missing: Some(now),
            told: None,
        }
    }

    /// True if nothing is left to remember of a peer that is no member.
    pub(crate) fn is_over(&self) -> bool {
        self.connections.is_empty() && self.pumps == 0 && self.visit == Visit::None
    }

    /// The connections that we have not begun to close.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|c| !c.closing)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.living().next().is_some()
    }

    /// The connection on which the link belongs, by the choice of the pair's leader.
    ///
    /// Two that were dialled at the same moment: the one that the leader dialled, else the first. A later one means
    /// that the other side has lost the earlier, which TCP has not noticed here: the later.
    pub(crate) fn choice(&self) -> Option<&Connection> {
        let mut living = self.living();
        let first = living.next()?;
        Some(living.fold(first, |kept, new| {
            let later = new.since.saturating_duration_since(kept.since) >= limits::SIMULTANEOUS;
            if later || (new.dialed && !kept.dialed) { new } else { kept }
        }))
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.iter().find(|c| c.id == id)
    }

    pub(crate) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == id)
    }

    /// Where the member link is, or is about to be.
    pub(crate) fn link_connection(&self) -> Option<ConnectionId> {
        match &self.link {
            Link::None => None,
            Link::Opening(id) => Some(*id),
            Link::Roped(rope) => Some(rope.connection),
        }
    }

    /// Notes that there is no connection, if so. True if there was one before.
    pub(crate) fn mark_missing(&mut self, now: Instant) -> bool {
        let news = self.missing.is_none() && !self.is_connected();
        if news {
            self.missing = Some(now);
        }
        news
    }

    /// Ends the member link, if there is one.
    pub(crate) fn end_link(&mut self, reason: DownReason) {
        if let Link::Roped(rope) = std::mem::replace(&mut self.link, Link::None) {
            rope.queue.end(reason);
        }
        self.relink_at = None;
    }

    /// A new link's task begins: what it waits for, and what the next one waits for.
    pub(crate) fn begin(&mut self) -> (Option<Done>, oneshot::Sender<Infallible>) {
        let (sender, receiver) = oneshot::channel();
        (self.done.replace(receiver), sender)
    }

    /// True while a visit runs on that connection.
    pub(crate) fn visits_on(&self, id: ConnectionId) -> bool {
        self.visits.iter().any(|rope| rope.connection == id)
    }

    /// Plans the next attempt at a link on the connection that there is.
    pub(crate) fn plan_relink(&mut self, now: Instant, lasted: Option<Duration>) {
        if lasted.is_some_and(|lasted| lasted >= limits::SOUND) {
            self.relink.reset();
            self.relink_at = Some(now);
        } else {
            self.relink_at = Some(now + self.relink.next());
        }
    }

    /// When something is due for this peer.
    pub(crate) fn due(&self, member: bool) -> Option<Instant> {
        let visit = match self.visit {
            Visit::Dialing(until) | Visit::Opening(until) => Some(until),
            Visit::None | Visit::Open(_) => None,
        };
        let idle = if member { None } else { self.idle() };
        [self.dial.due(), self.relink_at, visit, idle].into_iter().flatten().min()
    }

    /// When the first connection of this stranger has gone too long without a visit.
    pub(crate) fn idle(&self) -> Option<Instant> {
        let unused = self.living().filter(|c| !self.visits_on(c.id));
        unused.map(|c| c.used + limits::STRANGER_IDLE).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;

    fn peer(connections: &[(bool, u64)]) -> Peer {
        let node = NodeId([1; 32]);
        let start = Instant::now();
        let mut peer = Peer::new(node, key::peer(node).unwrap(), start);
        for (number, (dialed, ms)) in connections.iter().enumerate() {
            let since = start + Duration::from_millis(*ms);
            let addr = Multiaddr::empty();
            let id = ConnectionId::new_unchecked(number);
            peer.connections.push(Connection {
                id,
                dialed: *dialed,
                addr,
                since,
                used: since,
                closing: false,
            });
        }
        peer
    }

    fn choice(connections: &[(bool, u64)]) -> Option<usize> {
        let peer = peer(connections);
        let id = peer.choice()?.id;
        peer.connections.iter().position(|c| c.id == id)
    }

    #[test]
    fn the_leader_keeps_its_own_dial_of_two_at_once() {
        assert_eq!(choice(&[]), None);
        assert_eq!(choice(&[(false, 0)]), Some(0));
        assert_eq!(choice(&[(true, 0), (false, 5)]), Some(0));
        assert_eq!(choice(&[(false, 0), (true, 5)]), Some(1));
        assert_eq!(choice(&[(true, 0), (true, 5), (false, 6)]), Some(0));
    }

    #[test]
    fn a_later_connection_means_that_the_older_is_dead() {
        assert_eq!(choice(&[(true, 0), (false, 3000)]), Some(1));
        assert_eq!(choice(&[(true, 0), (true, 60_000), (true, 60_001)]), Some(1));
    }

    #[test]
    fn a_connection_that_is_closing_is_no_choice() {
        let mut peer = peer(&[(true, 0), (false, 1)]);
        peer.connections[0].closing = true;
        assert!(!peer.choice().unwrap().dialed);
    }

    #[test]
    fn a_strangers_connection_without_a_visit_becomes_due() {
        let peer = peer(&[(false, 0)]);
        let since = peer.connections[0].since;
        assert_eq!(peer.due(false), Some(since + limits::STRANGER_IDLE));
        assert_eq!(peer.due(true), None);
    }
}
