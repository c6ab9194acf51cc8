//! The state of one peer in the driver: its connections, its link and its planned actions.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_core::id::NodeId;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

use crate::dial::{Backoff, DialState};
use crate::event::{DownReason, LinkId};
use crate::limits;
use crate::link::link_task::LinkEnded;
use crate::link::send_queue::SendQueue;

/// One established connection.
#[derive(Clone, Debug)]
pub(crate) struct PeerConnection {
    pub(crate) id: ConnectionId,
    pub(crate) is_dialed_here: bool,
    pub(crate) addr: Multiaddr,
    pub(crate) established_at: Instant,
    /// When a guest stream last ran on it, or when it was established.
    pub(crate) last_used_at: Instant,
    pub(crate) is_closing: bool,
}

/// The driver's handle of a link or guest stream that is open or opening.
pub(crate) struct StreamHandle {
    pub(crate) link: LinkId,
    pub(crate) connection: ConnectionId,
    pub(crate) queue: Arc<SendQueue>,
    /// True if this node opened the stream.
    pub(crate) is_opened_here: bool,
    /// Releases a held link.
    pub(crate) release: Option<oneshot::Sender<()>>,
}

/// The state of the link with one peer.
pub(crate) enum MemberLinkState {
    None,
    /// Requested on this connection, not answered yet.
    Requested(ConnectionId),
    Open(StreamHandle),
}

/// The state of the guest stream that the daemon requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutgoingGuestState {
    None,
    /// Waits for a connection until this time.
    Dialing(Instant),
    /// Waits for the accepted stream until this time.
    Opening(Instant),
    Open(LinkId),
}

/// The state of one peer.
pub(crate) struct PeerState {
    pub(crate) node: NodeId,
    pub(crate) peer_id: PeerId,
    pub(crate) connections: Vec<PeerConnection>,
    pub(crate) dial: DialState,
    pub(crate) link: MemberLinkState,
    pub(crate) relink_backoff: Backoff,
    pub(crate) relink_at: Option<Instant>,
    /// True if a link came up since the peer was last disconnected.
    pub(crate) had_link: bool,
    pub(crate) outgoing_guest: OutgoingGuestState,
    /// The guest streams that are open or opening.
    pub(crate) guest_streams: Vec<StreamHandle>,
    /// The number of link tasks that have not ended.
    pub(crate) running_link_tasks: usize,
    /// The end of the newest link.
    pub(crate) last_link_ended: Option<LinkEnded>,
    /// Since when there is no connection.
    pub(crate) missing_since: Option<Instant>,
    /// The address of the last `NetEvent::AddressConfirmed`.
    pub(crate) last_reported_addr: Option<SocketAddr>,
}

impl PeerState {
    pub(crate) fn new(node: NodeId, peer_id: PeerId, now: Instant) -> Self {
        Self {
            node,
            peer_id,
            connections: Vec::new(),
            dial: DialState::new(),
            link: MemberLinkState::None,
            relink_backoff: Backoff::new(limits::MIN_RELINK_DELAY, limits::MAX_RELINK_DELAY),
            relink_at: None,
            had_link: false,
            outgoing_guest: OutgoingGuestState::None,
            guest_streams: Vec::new(),
            running_link_tasks: 0,
            last_link_ended: None,
            missing_since: Some(now),
            last_reported_addr: None,
        }
    }

    /// True if a non-member can be forgotten.
    pub(crate) fn is_unused(&self) -> bool {
        self.connections.is_empty()
            && self.running_link_tasks == 0
            && self.outgoing_guest == OutgoingGuestState::None
    }

    /// The connections that this node has not begun to close.
    pub(crate) fn open_connections(&self) -> impl Iterator<Item = &PeerConnection> {
        self.connections.iter().filter(|c| !c.is_closing)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.open_connections().next().is_some()
    }

    /// The connection for the link, as the leader of the pair chooses it.
    ///
    /// Of two connections dialed at the same moment: the one that the leader dialed, else the first. A much
    /// later one means that the peer has lost the earlier one, which TCP has not noticed here: the later.
    pub(crate) fn chosen_connection(&self) -> Option<&PeerConnection> {
        let mut open_connections = self.open_connections();
        let first = open_connections.next()?;
        Some(open_connections.fold(first, |chosen, candidate| {
            let is_much_later = candidate.established_at.saturating_duration_since(chosen.established_at)
                >= limits::SIMULTANEOUS_DIAL_INTERVAL;
            if is_much_later || (candidate.is_dialed_here && !chosen.is_dialed_here) {
                candidate
            } else {
                chosen
            }
        }))
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> Option<&PeerConnection> {
        self.connections.iter().find(|c| c.id == id)
    }

    pub(crate) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut PeerConnection> {
        self.connections.iter_mut().find(|c| c.id == id)
    }

    /// The connection of the link, open or requested.
    pub(crate) fn link_connection(&self) -> Option<ConnectionId> {
        match &self.link {
            MemberLinkState::None => None,
            MemberLinkState::Requested(id) => Some(*id),
            MemberLinkState::Open(handle) => Some(handle.connection),
        }
    }

    /// Records that the peer is disconnected. True if it was connected before.
    pub(crate) fn mark_missing_if_disconnected(&mut self, now: Instant) -> bool {
        let is_newly_missing = self.missing_since.is_none() && !self.is_connected();
        if is_newly_missing {
            self.missing_since = Some(now);
        }
        is_newly_missing
    }

    /// Ends the link, if there is one.
    pub(crate) fn end_link(&mut self, reason: DownReason) {
        if let MemberLinkState::Open(handle) = std::mem::replace(&mut self.link, MemberLinkState::None) {
            handle.queue.end_link(reason);
        }
        self.relink_at = None;
    }

    /// Starts a new link: returns the end of its predecessor and the sender that signals its own end.
    pub(crate) fn begin_link(&mut self) -> (Option<LinkEnded>, oneshot::Sender<Infallible>) {
        let (sender, receiver) = oneshot::channel();
        (self.last_link_ended.replace(receiver), sender)
    }

    /// True while a guest stream uses the connection.
    pub(crate) fn has_guest_stream_on(&self, id: ConnectionId) -> bool {
        self.guest_streams.iter().any(|handle| handle.connection == id)
    }

    /// Plans to open the link again on the existing connection.
    pub(crate) fn plan_relink(&mut self, now: Instant, up_for: Option<Duration>) {
        if up_for.is_some_and(|up_for| up_for >= limits::STABLE_LINK_AGE) {
            self.relink_backoff.reset();
            self.relink_at = Some(now);
        } else {
            self.relink_at = Some(now + self.relink_backoff.next_delay());
        }
    }

    /// When the next action for this peer is due.
    pub(crate) fn next_deadline(&self, is_member: bool) -> Option<Instant> {
        let guest_deadline = match self.outgoing_guest {
            OutgoingGuestState::Dialing(deadline) | OutgoingGuestState::Opening(deadline) => Some(deadline),
            OutgoingGuestState::None | OutgoingGuestState::Open(_) => None,
        };
        let idle_deadline = if is_member { None } else { self.idle_deadline() };
        [self.dial.due(), self.relink_at, guest_deadline, idle_deadline].into_iter().flatten().min()
    }

    /// When the first connection of a non-member reaches its idle limit.
    pub(crate) fn idle_deadline(&self) -> Option<Instant> {
        let unused_connections = self.open_connections().filter(|c| !self.has_guest_stream_on(c.id));
        unused_connections.map(|c| c.last_used_at + limits::NON_MEMBER_IDLE_TIMEOUT).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;

    fn peer_with_connections(connections: &[(bool, u64)]) -> PeerState {
        let node = NodeId([1; 32]);
        let start = Instant::now();
        let mut peer = PeerState::new(node, key::peer_id_of(node).unwrap(), start);
        for (number, (dialed, ms)) in connections.iter().enumerate() {
            let since = start + Duration::from_millis(*ms);
            let addr = Multiaddr::empty();
            let id = ConnectionId::new_unchecked(number);
            peer.connections.push(PeerConnection {
                id,
                is_dialed_here: *dialed,
                addr,
                established_at: since,
                last_used_at: since,
                is_closing: false,
            });
        }
        peer
    }

    fn chosen_index(connections: &[(bool, u64)]) -> Option<usize> {
        let peer = peer_with_connections(connections);
        let id = peer.chosen_connection()?.id;
        peer.connections.iter().position(|c| c.id == id)
    }

    #[test]
    fn of_two_simultaneous_connections_the_leader_chooses_the_one_it_dialled() {
        assert_eq!(chosen_index(&[]), None);
        assert_eq!(chosen_index(&[(false, 0)]), Some(0));
        assert_eq!(chosen_index(&[(true, 0), (false, 5)]), Some(0));
        assert_eq!(chosen_index(&[(false, 0), (true, 5)]), Some(1));
        assert_eq!(chosen_index(&[(true, 0), (true, 5), (false, 6)]), Some(0));
    }

    #[test]
    fn a_much_later_connection_is_chosen_over_the_older_one() {
        assert_eq!(chosen_index(&[(true, 0), (false, 3000)]), Some(1));
        assert_eq!(chosen_index(&[(true, 0), (true, 60_000), (true, 60_001)]), Some(1));
    }

    #[test]
    fn a_closing_connection_is_never_chosen() {
        let mut peer = peer_with_connections(&[(true, 0), (false, 1)]);
        peer.connections[0].is_closing = true;
        assert!(!peer.chosen_connection().unwrap().is_dialed_here);
    }

    #[test]
    fn an_unused_connection_of_a_non_member_gets_an_idle_deadline() {
        let peer = peer_with_connections(&[(false, 0)]);
        let since = peer.connections[0].established_at;
        assert_eq!(peer.next_deadline(false), Some(since + limits::NON_MEMBER_IDLE_TIMEOUT));
        assert_eq!(peer.next_deadline(true), None);
    }
}
