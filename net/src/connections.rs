//! The established connections, and since when a member has none. Pure: the caller passes the time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use larder_core::id::NodeId;
use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;

use crate::limits;

/// The number of connections with each node, shared with the daemon.
pub(crate) type ConnectionCounts = Arc<Mutex<BTreeMap<NodeId, usize>>>;

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

/// The number of members, and how long the newest missing member has been missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MissingMembers {
    pub(crate) member_count: usize,
    pub(crate) newest_missing_for: Option<Duration>,
}

/// The connections of all peers. A connection that this node closes stays until it is closed.
#[derive(Default)]
pub(crate) struct ConnectionTable {
    by_peer: BTreeMap<NodeId, Vec<PeerConnection>>,
    /// The members without an open connection, each with the time at which it lost the last one.
    missing_since: BTreeMap<NodeId, Instant>,
    counts: ConnectionCounts,
}

impl ConnectionTable {
    /// Creates an empty table; it publishes its numbers in `counts`.
    pub(crate) fn new(counts: ConnectionCounts) -> Self {
        Self { counts, ..Self::default() }
    }

    pub(crate) fn insert(&mut self, node: NodeId, connection: PeerConnection) {
        self.missing_since.remove(&node);
        self.by_peer.entry(node).or_default().push(connection);
        self.publish_count(node);
    }

    pub(crate) fn remove(&mut self, node: NodeId, id: ConnectionId) {
        let Some(connections) = self.by_peer.get_mut(&node) else { return };
        connections.retain(|connection| connection.id != id);
        if connections.is_empty() {
            self.by_peer.remove(&node);
        }
        self.publish_count(node);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }

    /// The nodes with a connection, even if it is closing.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.by_peer.keys().copied()
    }

    /// True if there is a connection, even if it is closing.
    pub(crate) fn has_any(&self, node: NodeId) -> bool {
        self.by_peer.contains_key(&node)
    }

    pub(crate) fn get(&self, node: NodeId, id: ConnectionId) -> Option<&PeerConnection> {
        self.all(node).iter().find(|connection| connection.id == id)
    }

    /// The connections that this node has not begun to close.
    pub(crate) fn open(&self, node: NodeId) -> impl Iterator<Item = &PeerConnection> {
        self.all(node).iter().filter(|connection| !connection.is_closing)
    }

    pub(crate) fn is_connected(&self, node: NodeId) -> bool {
        self.open(node).next().is_some()
    }

    /// The connection for the link, as the leader of the pair chooses it.
    ///
    /// Of two connections dialed at the same moment: the one that the leader dialed, else the first. A much
    /// later one means that the peer has lost the earlier one, which TCP has not noticed here: the later.
    pub(crate) fn chosen(&self, node: NodeId) -> Option<ConnectionId> {
        let mut open_connections = self.open(node);
        let first = open_connections.next()?;
        let chosen = open_connections.fold(first, |chosen, candidate| {
            let is_much_later = candidate.established_at.saturating_duration_since(chosen.established_at)
                >= limits::SIMULTANEOUS_DIAL_INTERVAL;
            if is_much_later || (candidate.is_dialed_here && !chosen.is_dialed_here) {
                candidate
            } else {
                chosen
            }
        });
        Some(chosen.id)
    }

    /// Marks a connection as closing; false if there is none.
    pub(crate) fn mark_closing(&mut self, node: NodeId, id: ConnectionId) -> bool {
        self.get_mut(node, id).map(|connection| connection.is_closing = true).is_some()
    }

    pub(crate) fn mark_all_closing(&mut self, node: NodeId) {
        self.by_peer.get_mut(&node).into_iter().flatten().for_each(|connection| connection.is_closing = true);
    }

    /// The connections that are marked as closing.
    pub(crate) fn closing(&self, node: NodeId) -> Vec<ConnectionId> {
        self.all(node).iter().filter(|connection| connection.is_closing).map(|c| c.id).collect()
    }

    /// Records that a guest stream ran on a connection until now.
    pub(crate) fn mark_used(&mut self, node: NodeId, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.get_mut(node, id) {
            connection.last_used_at = now;
        }
    }

    /// The open connections that reach their idle limit, with the time at which they do. `is_exempt` tells
    /// which ones have none.
    pub(crate) fn idle_deadlines(
        &self,
        is_exempt: impl Fn(NodeId, ConnectionId) -> bool,
    ) -> impl Iterator<Item = (NodeId, ConnectionId, Instant)> {
        let open =
            self.nodes().flat_map(move |node| self.open(node).map(move |connection| (node, connection)));
        open.filter(move |(node, connection)| !is_exempt(*node, connection.id)).map(|(node, connection)| {
            (node, connection.id, connection.last_used_at + limits::NON_MEMBER_IDLE_TIMEOUT)
        })
    }

    /// Records that a member is missing if it has no open connection. True if it was not missing before.
    pub(crate) fn begin_missing(&mut self, node: NodeId, now: Instant) -> bool {
        let is_newly_missing = !self.is_connected(node) && !self.missing_since.contains_key(&node);
        if is_newly_missing {
            self.missing_since.insert(node, now);
        }
        is_newly_missing
    }

    /// Records that a node is no longer a member, which cannot be missing.
    pub(crate) fn end_missing(&mut self, node: NodeId) {
        self.missing_since.remove(&node);
    }

    /// The members that are missing.
    pub(crate) fn missing(&self) -> Vec<NodeId> {
        self.missing_since.keys().copied().collect()
    }

    /// Returns how long the newest missing one of `member_count` members has been missing.
    pub(crate) fn missing_members(&self, member_count: usize, now: Instant) -> MissingMembers {
        let newest = self.missing_since.values().max();
        let newest_missing_for = newest.map(|since| now.saturating_duration_since(*since));
        MissingMembers { member_count, newest_missing_for }
    }

    fn all(&self, node: NodeId) -> &[PeerConnection] {
        self.by_peer.get(&node).map(Vec::as_slice).unwrap_or_default()
    }

    fn get_mut(&mut self, node: NodeId, id: ConnectionId) -> Option<&mut PeerConnection> {
        self.by_peer.get_mut(&node)?.iter_mut().find(|connection| connection.id == id)
    }

    fn publish_count(&self, node: NodeId) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match self.by_peer.get(&node) {
            Some(connections) => counts.insert(node, connections.len()),
            None => counts.remove(&node),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([1; 32]);

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    /// A table with connections of `NODE`, as (dialed here, established after so many milliseconds).
    fn table(connections: &[(bool, u64)], start: Instant) -> ConnectionTable {
        let mut table = ConnectionTable::default();
        for (number, (is_dialed_here, ms)) in connections.iter().enumerate() {
            let since = start + Duration::from_millis(*ms);
            let connection = PeerConnection {
                id: id(number),
                is_dialed_here: *is_dialed_here,
                addr: Multiaddr::empty(),
                established_at: since,
                last_used_at: since,
                is_closing: false,
            };
            table.insert(NODE, connection);
        }
        table
    }

    fn chosen(connections: &[(bool, u64)]) -> Option<ConnectionId> {
        table(connections, Instant::now()).chosen(NODE)
    }

    #[test]
    fn of_two_simultaneous_connections_the_leader_chooses_the_one_it_dialled() {
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[(false, 0)]), Some(id(0)));
        assert_eq!(chosen(&[(true, 0), (false, 5)]), Some(id(0)));
        assert_eq!(chosen(&[(false, 0), (true, 5)]), Some(id(1)));
        assert_eq!(chosen(&[(true, 0), (true, 5), (false, 6)]), Some(id(0)));
    }

    #[test]
    fn a_much_later_connection_is_chosen_over_the_older_one() {
        assert_eq!(chosen(&[(true, 0), (false, 3000)]), Some(id(1)));
        assert_eq!(chosen(&[(true, 0), (true, 60_000), (true, 60_001)]), Some(id(1)));
    }

    #[test]
    fn a_closing_connection_is_never_chosen() {
        let mut table = table(&[(true, 0), (false, 1)], Instant::now());
        assert!(table.mark_closing(NODE, id(0)));
        assert_eq!(table.chosen(NODE), Some(id(1)));
        assert_eq!(table.closing(NODE), [id(0)]);
    }

    #[test]
    fn an_unused_connection_reaches_its_idle_limit_unless_it_is_exempt() {
        let start = Instant::now();
        let mut table = table(&[(false, 0)], start);
        table.mark_used(NODE, id(0), start + Duration::from_secs(1));
        let deadlines = |is_exempt: bool| table.idle_deadlines(move |_, _| is_exempt).collect::<Vec<_>>();
        let deadline = start + Duration::from_secs(1) + limits::NON_MEMBER_IDLE_TIMEOUT;
        assert_eq!(deadlines(false), [(NODE, id(0), deadline)]);
        assert_eq!(deadlines(true), []);
    }

    #[test]
    fn a_member_is_missing_from_the_loss_of_its_last_connection() {
        let start = Instant::now();
        let mut table = table(&[(false, 0), (true, 1)], start);
        table.remove(NODE, id(0));
        assert!(!table.begin_missing(NODE, start), "one connection is left");
        table.remove(NODE, id(1));
        assert!(table.begin_missing(NODE, start) && !table.begin_missing(NODE, start));
        let missing = table.missing_members(3, start + Duration::from_secs(2));
        assert_eq!((missing.member_count, missing.newest_missing_for), (3, Some(Duration::from_secs(2))));
        assert!(table.is_empty() && table.counts.lock().unwrap().is_empty());
    }
}
