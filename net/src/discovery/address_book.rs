//! The address book: the newest addresses of each node, and when discovery last saw it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use larder_core::id::NodeId;

use crate::limit_stats::SharedLimitStats;
use crate::limits;

/// How an address became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressOrigin {
    /// The beacon or mDNS reported it, so the peer receives this node the same way.
    Discovered,
    /// A member reported it, or an earlier run stored it.
    Learned,
    /// The operator configured it.
    Static,
    /// A dial to it succeeded.
    Dialled,
}

#[derive(Clone, Copy, Debug)]
struct AddressEntry {
    socket: SocketAddr,
    origin: AddressOrigin,
    noted_at: Instant,
}

#[derive(Debug)]
struct NodeAddresses {
    entries: Vec<AddressEntry>,
    /// When discovery last saw the node.
    last_discovered: Option<Instant>,
    /// When `NodeDiscovered` was last sent, and with which addresses.
    last_reported: Option<(Instant, Vec<SocketAddr>)>,
    /// The address at which a dial last succeeded.
    last_dialled: Option<SocketAddr>,
}

/// The address book. All members fit; other nodes up to [`limits::MAX_NON_MEMBERS_IN_ADDRESS_BOOK`].
#[derive(Default)]
pub(crate) struct AddressBook {
    nodes: BTreeMap<NodeId, NodeAddresses>,
    members: BTreeSet<NodeId>,
    limit_stats: SharedLimitStats,
}

impl AddressBook {
    /// Creates an empty book; it counts evictions in `limit_stats`.
    pub(crate) fn new(limit_stats: SharedLimitStats) -> Self {
        Self { limit_stats, ..Self::default() }
    }

    /// Sets the members, which are never evicted.
    pub(crate) fn set_members(&mut self, members: BTreeSet<NodeId>) {
        self.members = members;
    }

    /// Adds an address as the newest of `node`. A discovered address replaces silent addresses and another
    /// port of the same host. A learned address goes behind recently discovered ones.
    pub(crate) fn add_address(
        &mut self,
        node: NodeId,
        socket: SocketAddr,
        origin: AddressOrigin,
        now: Instant,
    ) {
        self.evict_for(node);
        let node_addresses = self.nodes.entry(node).or_insert(NodeAddresses {
            entries: Vec::new(),
            last_discovered: None,
            last_reported: None,
            last_dialled: None,
        });
        let known_index = node_addresses.entries.iter().position(|e| e.socket == socket);
        let mut new_entry = AddressEntry { socket, origin, noted_at: now };
        if let Some(known_index) = known_index {
            let old = node_addresses.entries.remove(known_index);
            if old.origin == AddressOrigin::Static {
                new_entry.origin = AddressOrigin::Static;
            }
        }
        if origin == AddressOrigin::Discovered {
            node_addresses.last_discovered = Some(now);
            node_addresses
                .entries
                .retain(|e| e.origin == AddressOrigin::Static || !is_outdated(e, &new_entry));
        }
        let is_fresh = |e: &AddressEntry| {
            now.saturating_duration_since(e.noted_at) <= limits::DISCOVERED_ADDRESS_LIFETIME
        };
        let fresh_count = node_addresses.entries.iter().take_while(|e| is_fresh(e)).count();
        let index = if origin == AddressOrigin::Learned { fresh_count } else { 0 };
        node_addresses.entries.insert(index, new_entry);
        while node_addresses.entries.len() > limits::MAX_ADDRESSES_PER_NODE {
            let last_removable =
                node_addresses.entries.iter().rposition(|e| e.origin != AddressOrigin::Static);
            node_addresses.entries.remove(last_removable.unwrap_or(node_addresses.entries.len() - 1));
        }
    }

    /// Adds the address at which a dial succeeded. True if the last dial succeeded at another one.
    pub(crate) fn on_dial_answered(
        &mut self,
        node: NodeId,
        socket: SocketAddr,
        origin: AddressOrigin,
        now: Instant,
    ) -> bool {
        self.add_address(node, socket, origin, now);
        let last_dialled = self.nodes.get_mut(&node).and_then(|node| node.last_dialled.replace(socket));
        last_dialled != Some(socket)
    }

    /// Removes an address at which another node answered.
    pub(crate) fn remove_address(&mut self, node: NodeId, socket: SocketAddr) {
        if let Some(node_addresses) = self.nodes.get_mut(&node) {
            node_addresses.entries.retain(|e| e.socket != socket);
        }
    }

    /// Returns the addresses of `node`, newest first.
    pub(crate) fn addresses_of(&self, node: NodeId) -> Vec<SocketAddr> {
        self.nodes.get(&node).map(|node| node.entries.iter().map(|e| e.socket).collect()).unwrap_or_default()
    }

    /// True if an address of `node` did not come from discovery, so that `node` may not know this node.
    pub(crate) fn has_undiscovered_address(&self, node: NodeId) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|node| node.entries.iter().any(|e| e.origin != AddressOrigin::Discovered))
    }

    /// True if discovery has not seen `node` for [`limits::NEWCOMER_AFTER_SILENCE`]; it may not know this
    /// node.
    pub(crate) fn is_newcomer(&self, node: NodeId, now: Instant) -> bool {
        let last_discovered = self.nodes.get(&node).and_then(|node| node.last_discovered);
        last_discovered.is_none_or(|last_discovered| {
            now.saturating_duration_since(last_discovered) > limits::NEWCOMER_AFTER_SILENCE
        })
    }

    /// Returns the nodes known at `socket`.
    pub(crate) fn nodes_at(&self, socket: SocketAddr) -> impl Iterator<Item = NodeId> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.entries.iter().any(|e| e.socket == socket))
            .map(|(node, _)| *node)
    }

    /// Returns the addresses for a `NodeDiscovered`, if one is due.
    pub(crate) fn addresses_to_report(&mut self, node: NodeId, now: Instant) -> Option<Vec<SocketAddr>> {
        let node_addresses = self.nodes.get_mut(&node)?;
        let sockets: Vec<_> = node_addresses.entries.iter().map(|e| e.socket).collect();
        if let Some((reported_at, last_addresses)) = &node_addresses.last_reported {
            let changed = sockets.iter().any(|socket| !last_addresses.contains(socket));
            let min_interval = if changed {
                limits::CHANGED_ADDRESS_EVENT_INTERVAL
            } else {
                limits::DISCOVERED_EVENT_INTERVAL
            };
            if now.saturating_duration_since(*reported_at) < min_interval {
                return None;
            }
        }
        node_addresses.last_reported = Some((now, sockets.clone()));
        Some(sockets)
    }

    fn evict_for(&mut self, node: NodeId) {
        if self.nodes.contains_key(&node)
            || self.nodes.len() < limits::MAX_NON_MEMBERS_IN_ADDRESS_BOOK + self.members.len()
        {
            return;
        }
        self.limit_stats.record(
            "nodes in the address book that are not members",
            limits::MAX_NON_MEMBERS_IN_ADDRESS_BOOK,
        );
        let non_members = self.nodes.iter().filter(|(node, _)| !self.members.contains(node));
        let oldest = non_members.min_by_key(|(_, node)| node.last_discovered).map(|(node, _)| *node);
        oldest.and_then(|oldest| self.nodes.remove(&oldest));
    }
}

/// True if the discovered `new` replaces `old`.
fn is_outdated(old: &AddressEntry, new: &AddressEntry) -> bool {
    let is_same_host = old.socket.ip() == new.socket.ip();
    let is_silent =
        new.noted_at.saturating_duration_since(old.noted_at) > limits::DISCOVERED_ADDRESS_LIFETIME;
    is_same_host || (old.origin == AddressOrigin::Discovered && is_silent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn socket_on_host(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    fn node_from_seed(seed: u64) -> NodeId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_be_bytes());
        NodeId(key)
    }

    #[test]
    fn the_newest_address_comes_first_and_a_new_port_replaces_the_old_one() {
        let mut book = AddressBook::default();
        let now = Instant::now();
        for host in 1..=6 {
            book.add_address(node_from_seed(1), socket_on_host(host, 1), AddressOrigin::Discovered, now);
        }
        assert_eq!(book.addresses_of(node_from_seed(1)), [6, 5, 4, 3].map(|host| socket_on_host(host, 1)));
        book.add_address(node_from_seed(1), socket_on_host(4, 2), AddressOrigin::Discovered, now);
        assert_eq!(
            book.addresses_of(node_from_seed(1)),
            [socket_on_host(4, 2), socket_on_host(6, 1), socket_on_host(5, 1), socket_on_host(3, 1)]
        );
        book.add_address(
            node_from_seed(1),
            socket_on_host(7, 1),
            AddressOrigin::Discovered,
            now + Duration::from_secs(60),
        );
        assert_eq!(book.addresses_of(node_from_seed(1)), [socket_on_host(7, 1)], "the others fell silent");
    }

    #[test]
    fn a_static_address_is_never_evicted() {
        let mut book = AddressBook::default();
        let now = Instant::now();
        book.add_address(node_from_seed(1), socket_on_host(1, 1), AddressOrigin::Static, now);
        for host in 2..=9 {
            book.add_address(
                node_from_seed(1),
                socket_on_host(host, 1),
                AddressOrigin::Discovered,
                now + Duration::from_secs(60 * u64::from(host)),
            );
        }
        book.add_address(node_from_seed(1), socket_on_host(1, 1), AddressOrigin::Discovered, now);
        assert!(book.addresses_of(node_from_seed(1)).contains(&socket_on_host(1, 1)));
        assert!(book.has_undiscovered_address(node_from_seed(1)));
    }

    #[test]
    fn non_members_are_bounded_and_members_are_never_evicted() {
        let mut book = AddressBook::default();
        let now = Instant::now();
        book.set_members([node_from_seed(0)].into());
        for seed in 0..3000 {
            book.add_address(
                node_from_seed(seed),
                socket_on_host(1, 1),
                AddressOrigin::Discovered,
                now + Duration::from_millis(seed),
            );
        }
        assert_eq!(book.nodes.len(), limits::MAX_NON_MEMBERS_IN_ADDRESS_BOOK + 1);
        assert!(!book.addresses_of(node_from_seed(0)).is_empty());
        assert!(
            book.addresses_of(node_from_seed(1)).is_empty(),
            "the node without discovery for longest is evicted"
        );
    }

    #[test]
    fn a_change_is_reported_within_half_a_second_and_an_unchanged_node_every_ten() {
        let mut book = AddressBook::default();
        let now = Instant::now();
        let ms = Duration::from_millis;
        assert!(book.is_newcomer(node_from_seed(1), now));
        book.add_address(node_from_seed(1), socket_on_host(1, 1), AddressOrigin::Discovered, now);
        assert!(!book.is_newcomer(node_from_seed(1), now));
        assert!(book.addresses_to_report(node_from_seed(1), now).is_some());
        assert!(book.addresses_to_report(node_from_seed(1), now + ms(5000)).is_none());
        book.add_address(node_from_seed(1), socket_on_host(2, 1), AddressOrigin::Discovered, now);
        assert!(
            book.addresses_to_report(node_from_seed(1), now + ms(499)).is_none(),
            "changes are rate limited too"
        );
        assert!(book.addresses_to_report(node_from_seed(1), now + ms(500)).is_some());
        assert!(book.addresses_to_report(node_from_seed(1), now + ms(10_500)).is_some());
        assert!(book.is_newcomer(node_from_seed(1), now + ms(60_001)));
    }
}
