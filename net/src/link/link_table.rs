//! The link with each member: whether it is requested or open, and when it is opened again. Pure: the caller
//! passes the time and starts the link tasks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use larder_core::backoff::Backoff;
use larder_core::id::NodeId;
use libp2p::swarm::ConnectionId;
use tokio::sync::oneshot;

use crate::event::{DownReason, LinkId};
use crate::jitter::with_jitter;
use crate::limits;
use crate::link::link_task::LinkEnded;
use crate::link::link_tasks::StreamHandle;

/// The state of the link with one peer.
enum LinkState {
    None,
    /// Requested on this connection, not answered yet.
    Requested(ConnectionId),
    Open(StreamHandle),
}

struct PeerLink {
    state: LinkState,
    relink_backoff: Backoff,
    relink_at: Option<Instant>,
    /// The end of the newest link.
    last_link_ended: Option<LinkEnded>,
}

impl PeerLink {
    fn new() -> Self {
        let relink_backoff = Backoff::new(limits::MIN_RELINK_DELAY, limits::MAX_RELINK_DELAY);
        Self { state: LinkState::None, relink_backoff, relink_at: None, last_link_ended: None }
    }

    fn connection(&self) -> Option<ConnectionId> {
        match &self.state {
            LinkState::None => None,
            LinkState::Requested(id) => Some(*id),
            LinkState::Open(handle) => Some(handle.connection),
        }
    }

    /// Ends the link, if there is one.
    fn end(&mut self, reason: DownReason) {
        if let LinkState::Open(handle) = std::mem::replace(&mut self.state, LinkState::None) {
            handle.queue.end_link(reason);
        }
        self.relink_at = None;
    }

    fn plan_relink(&mut self, up_for: Option<Duration>, now: Instant) {
        if up_for.is_some_and(|up_for| up_for >= limits::STABLE_LINK_AGE) {
            self.relink_backoff.reset();
            self.relink_at = Some(now);
        } else {
            self.relink_at = Some(now + with_jitter(self.relink_backoff.next_delay()));
        }
    }
}

/// The links of all peers.
#[derive(Default)]
pub(crate) struct LinkTable {
    links: BTreeMap<NodeId, PeerLink>,
}

impl LinkTable {
    /// The connection of the link, open or requested.
    pub(crate) fn connection(&self, node: NodeId) -> Option<ConnectionId> {
        self.links.get(&node)?.connection()
    }

    /// True if `link` is the open link with the node.
    pub(crate) fn is_current(&self, node: NodeId, link: LinkId) -> bool {
        let state = self.links.get(&node).map(|peer_link| &peer_link.state);
        matches!(state, Some(LinkState::Open(handle)) if handle.link == link)
    }

    /// True if a link was requested on this connection.
    pub(crate) fn is_requested_on(&self, node: NodeId, id: ConnectionId) -> bool {
        let state = self.links.get(&node).map(|peer_link| &peer_link.state);
        matches!(state, Some(LinkState::Requested(connection)) if *connection == id)
    }

    /// Moves the link to the connection `chosen`. True if a stream must be requested there.
    pub(crate) fn move_to(&mut self, node: NodeId, chosen: ConnectionId) -> bool {
        let peer_link = self.links.entry(node).or_insert_with(PeerLink::new);
        let must_request = peer_link.connection() != Some(chosen);
        if must_request {
            peer_link.end(DownReason::Replaced);
            peer_link.state = LinkState::Requested(chosen);
        }
        must_request
    }

    /// Handles a request that failed; false if it was not requested on this connection.
    pub(crate) fn on_request_failed(&mut self, node: NodeId, id: ConnectionId, now: Instant) -> bool {
        let was_requested = self.is_requested_on(node, id);
        if let Some(peer_link) = self.links.get_mut(&node).filter(|_| was_requested) {
            peer_link.state = LinkState::None;
            peer_link.plan_relink(None, now);
        }
        was_requested
    }

    /// Ends the link of the node, if there is one.
    pub(crate) fn end(&mut self, node: NodeId, reason: DownReason) {
        if let Some(peer_link) = self.links.get_mut(&node) {
            peer_link.end(reason);
        }
    }

    /// Begins a new link: returns the end of its predecessor, and the sender that signals its own end.
    pub(crate) fn begin(&mut self, node: NodeId) -> (Option<LinkEnded>, oneshot::Sender<Infallible>) {
        let (sender, receiver) = oneshot::channel();
        let peer_link = self.links.entry(node).or_insert_with(PeerLink::new);
        (peer_link.last_link_ended.replace(receiver), sender)
    }

    /// Records the link whose task was started after [`begin`](Self::begin).
    pub(crate) fn set_open(&mut self, node: NodeId, handle: StreamHandle) {
        self.links.entry(node).or_insert_with(PeerLink::new).state = LinkState::Open(handle);
    }

    /// Releases the link of a new member that was held.
    pub(crate) fn release(&mut self, node: NodeId) {
        if let Some(PeerLink { state: LinkState::Open(handle), .. }) = self.links.get_mut(&node)
            && let Some(release) = handle.release.take()
        {
            let _ = release.send(());
        }
    }

    /// Handles a closed connection. `is_broken` is true if this node did not close it.
    pub(crate) fn on_connection_closed(&mut self, node: NodeId, id: ConnectionId, is_broken: bool) {
        let Some(peer_link) = self.links.get_mut(&node) else { return };
        if peer_link.connection() != Some(id) {
            return;
        }
        // A broken connection wakes the reader of the link, which reads what has arrived and then ends it.
        if is_broken {
            peer_link.state = LinkState::None;
        }
        peer_link.end(DownReason::Lost);
    }

    /// Handles the end of the current link. It is opened again if `is_reopened_here`; `up_for` tells how long
    /// it was up.
    pub(crate) fn on_down(
        &mut self,
        node: NodeId,
        up_for: Option<Duration>,
        is_reopened_here: bool,
        now: Instant,
    ) {
        let Some(peer_link) = self.links.get_mut(&node) else { return };
        peer_link.state = LinkState::None;
        if is_reopened_here {
            peer_link.plan_relink(up_for, now);
        }
    }

    /// When the next link is opened again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.links.values().filter_map(|peer_link| peer_link.relink_at).min()
    }

    /// Takes the nodes whose link is to be opened again now.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<NodeId> {
        let is_due = |peer_link: &PeerLink| peer_link.relink_at.is_some_and(|relink_at| relink_at <= now);
        let due_links = self.links.iter_mut().filter(|(_, peer_link)| is_due(peer_link));
        due_links
            .map(|(node, peer_link)| {
                peer_link.relink_at = None;
                *node
            })
            .collect()
    }

    /// Ends all links, because the network shuts down.
    pub(crate) fn shut_down(&mut self) {
        for peer_link in self.links.values_mut() {
            if let LinkState::Open(handle) = &peer_link.state {
                handle.queue.end_link(DownReason::Shutdown);
            }
            peer_link.relink_at = None;
        }
    }

    /// Forgets the nodes that are no longer used.
    pub(crate) fn retain(&mut self, is_used: impl Fn(NodeId) -> bool) {
        self.links.retain(|node, _| is_used(*node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LinkKind;

    const NODE: NodeId = NodeId([1; 32]);

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    fn open_link(
        table: &mut LinkTable,
        link: u64,
        connection: usize,
    ) -> std::sync::Arc<crate::link::send_queue::SendQueue> {
        let handle = StreamHandle::new(LinkId(link), id(connection), LinkKind::Member, true);
        let queue = std::sync::Arc::clone(&handle.queue);
        table.set_open(NODE, handle);
        queue
    }

    #[test]
    fn a_link_is_requested_once_on_the_chosen_connection() {
        let mut table = LinkTable::default();
        assert!(table.move_to(NODE, id(1)));
        assert!(!table.move_to(NODE, id(1)), "the request is on its way");
        let queue = open_link(&mut table, 7, 1);
        assert!(!table.move_to(NODE, id(1)) && table.is_current(NODE, LinkId(7)));
        assert!(table.move_to(NODE, id(2)), "the link moves");
        assert!(queue.is_ending() && !table.is_current(NODE, LinkId(7)));
        assert!(table.is_requested_on(NODE, id(2)));
    }

    #[test]
    fn a_failed_request_is_repeated_after_a_delay() {
        let (mut table, now) = (LinkTable::default(), Instant::now());
        table.move_to(NODE, id(1));
        assert!(!table.on_request_failed(NODE, id(2), now), "another connection");
        assert!(table.on_request_failed(NODE, id(1), now));
        let relink_at = table.next_deadline().unwrap();
        assert!(relink_at > now && relink_at < now + limits::MAX_RELINK_DELAY);
        assert!(table.take_due(now).is_empty());
        assert_eq!(table.take_due(relink_at), [NODE]);
        assert_eq!(table.next_deadline(), None);
    }

    #[test]
    fn a_stable_link_is_opened_again_at_once_and_a_short_one_after_a_growing_delay() {
        let (mut table, now) = (LinkTable::default(), Instant::now());
        for link in 0..8 {
            open_link(&mut table, link, 1);
            table.on_down(NODE, Some(Duration::from_secs(1)), true, now);
        }
        assert!(table.next_deadline().unwrap() > now + 40 * limits::MIN_RELINK_DELAY);
        open_link(&mut table, 9, 1);
        table.on_down(NODE, Some(limits::STABLE_LINK_AGE), true, now);
        assert_eq!(table.next_deadline(), Some(now));
        table.take_due(now);
        open_link(&mut table, 10, 1);
        table.on_down(NODE, None, false, now);
        assert_eq!(table.next_deadline(), None, "the peer opens it");
    }

    #[tokio::test]
    async fn a_held_link_is_released_once_its_peer_is_a_member() {
        let mut table = LinkTable::default();
        let (release, released) = oneshot::channel();
        let mut handle = StreamHandle::new(LinkId(1), id(1), LinkKind::Member, false);
        handle.release = Some(release);
        table.set_open(NODE, handle);
        table.release(NODE);
        assert_eq!(released.await, Ok(()));
    }

    #[test]
    fn the_loss_of_its_connection_ends_the_link() {
        let mut table = LinkTable::default();
        let queue = open_link(&mut table, 1, 1);
        table.on_connection_closed(NODE, id(2), false);
        assert!(!queue.is_ending() && table.is_current(NODE, LinkId(1)));
        table.on_connection_closed(NODE, id(1), false);
        assert!(queue.is_ending() && table.connection(NODE).is_none());
        let queue = open_link(&mut table, 2, 3);
        table.on_connection_closed(NODE, id(3), true);
        assert!(!queue.is_ending(), "the reader of a broken connection still reads what has arrived");
        assert_eq!(table.connection(NODE), None);
    }
}
