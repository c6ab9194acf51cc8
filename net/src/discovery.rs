//! Discovery: mDNS, the beacon, static peers and the address book, all used together.
//!
//! libp2p-mdns alone finds a peer in 5 ms, but it leaves 3-4 % of pairs apart when many hosts start together,
//! and sends nothing when a partition heals. Larder therefore sends its own [`beacon`] too.

pub(crate) mod address_book;
pub(crate) mod beacon;
pub(crate) mod beacon_schedule;
pub(crate) mod beacon_socket;
pub(crate) mod beacons;
pub(crate) mod link_state;
pub(crate) mod mdns;
pub(crate) mod static_peers;

use std::net::SocketAddr;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::Multiaddr;

use crate::address::{self, DialTarget};
use crate::effects::DriverEffects;
use crate::event::{DiscoverySource, NetEvent};
use crate::listen::Listeners;

use self::address_book::{AddressBook, AddressOrigin};
use self::beacons::Beacons;

/// The addresses of this node and of others.
pub(crate) struct Discovery {
    local_node: NodeId,
    pub(crate) listeners: Listeners,
    pub(crate) address_book: AddressBook,
    pub(crate) beacons: Beacons,
}

impl Discovery {
    /// Creates the discovery of a node that listens already.
    pub(crate) fn new(
        local_node: NodeId,
        listeners: Listeners,
        address_book: AddressBook,
        beacons: Beacons,
    ) -> Self {
        Self { local_node, listeners, address_book, beacons }
    }

    /// True if `node` may be at `socket`: a dialable address that is not one of this node.
    fn is_acceptable(&self, node: NodeId, socket: SocketAddr) -> bool {
        let is_foreign_loopback = socket.ip().is_loopback() && !self.listeners.accepts_loopback_peers();
        let is_own = self.listeners.reachable().contains(&socket);
        node != self.local_node && address::is_dialable(socket) && !is_foreign_loopback && !is_own
    }

    /// Adds addresses that the daemon learned for `node`. True if one is new.
    pub(crate) fn learn_addresses(&mut self, node: NodeId, addrs: &[Multiaddr], now: Instant) -> bool {
        let names_this_node = |target: &DialTarget| target.node.is_none_or(|named| named == node);
        let targets = addrs.iter().filter_map(address::parse_dial_target).filter(names_this_node);
        let mut any_new = false;
        for socket in targets.map(|target| target.socket) {
            if self.is_acceptable(node, socket) {
                any_new |= !self.address_book.addresses_of(node).contains(&socket);
                self.address_book.add_address(node, socket, AddressOrigin::Learned, now);
            }
        }
        any_new
    }

    /// Records that `node` was discovered at `socket`. Returns whether it is a newcomer; `None` if it cannot
    /// be at this address.
    pub(crate) fn on_discovered(
        &mut self,
        node: NodeId,
        socket: SocketAddr,
        source: DiscoverySource,
        effects: &mut DriverEffects,
        now: Instant,
    ) -> Option<bool> {
        if !self.is_acceptable(node, socket) {
            return None;
        }
        let is_newcomer = self.address_book.is_newcomer(node, now);
        self.address_book.add_address(node, socket, AddressOrigin::Discovered, now);
        self.report(node, source, effects, now);
        Some(is_newcomer)
    }

    /// Reports the addresses of `peer`, if a report is due.
    pub(crate) fn report(
        &mut self,
        peer: NodeId,
        source: DiscoverySource,
        effects: &mut DriverEffects,
        now: Instant,
    ) {
        if let Some(sockets) = self.address_book.addresses_to_report(peer, now) {
            let addrs = sockets.into_iter().map(address::to_multiaddr).collect();
            effects.report(NetEvent::NodeDiscovered { peer, addrs, source });
        }
    }

    /// The addresses at which to dial `node`, newest first.
    pub(crate) fn dial_addresses(&self, node: NodeId) -> Vec<SocketAddr> {
        let mut sockets = self.address_book.addresses_of(node);
        sockets.retain(|socket| self.is_acceptable(node, *socket));
        sockets
    }

    /// Reports the reachable addresses and sends beacons on their interfaces. True if an interface was added.
    pub(crate) fn on_reachable_changed(&mut self, effects: &mut DriverEffects, now: Instant) -> bool {
        let addrs: Vec<_> = self.listeners.reachable().iter().copied().map(address::to_multiaddr).collect();
        tracing::debug!(?addrs, "listening");
        effects.report(NetEvent::Listening { addrs });
        self.beacons.set_interfaces(self.listeners.reachable(), now)
    }
}
