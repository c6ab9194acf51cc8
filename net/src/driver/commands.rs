//! Passes the commands of the daemon to the parts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use larder_core::id::NodeId;
use libp2p::Multiaddr;

use crate::config::StartError;
use crate::dialer::head_start;
use crate::discovery::address_book::AddressOrigin;
use crate::driver::Driver;
use crate::event::{DiscoverySource, NetEvent};
use crate::{address, key, limits};

impl Driver {
    pub(super) fn run_commands(&mut self, now: Instant) {
        let commands = self.commands.take_pending();
        for (node, addrs) in commands.learned_addresses {
            self.learn_addresses(node, &addrs, now);
        }
        if let Some(members) = commands.members {
            self.set_members(members, now);
        }
        for node in commands.guest_streams {
            self.open_guest_stream(node, now);
        }
        if commands.shutdown && self.shutdown.begin(now) {
            self.discovery.beacons.stop();
            self.dialer.cancel_all();
            self.peers.shut_down();
        }
    }

    fn set_members(&mut self, members: BTreeSet<NodeId>, now: Instant) {
        let changes = self.members.replace(members);
        let all = self.members.all();
        let peer_ids = all.iter().filter_map(|node| key::peer_id_of(*node)).collect();
        self.swarm.behaviour_mut().admission.set_members(peer_ids);
        self.discovery.address_book.set_members(all.clone());
        for node in changes.removed {
            self.dialer.cancel(node);
            let (peers, mut ctx) = self.peers_with_context(now);
            peers.on_member_removed(node, &mut ctx);
        }
        if !changes.added.is_empty() {
            self.discovery.beacons.announce(now);
        }
        for node in changes.added {
            self.dialer.track(node);
            let (peers, mut ctx) = self.peers_with_context(now);
            if peers.on_member_added(node, &mut ctx) {
                self.plan_dial_of_missing(node, now);
            }
        }
    }

    /// Adds addresses that the daemon learned for `node`.
    pub(super) fn learn_addresses(&mut self, node: NodeId, addrs: &[Multiaddr], now: Instant) {
        if self.discovery.learn_addresses(node, addrs, now) && self.members.contains(node) {
            self.plan_dial_of_missing(node, now);
        }
    }

    /// Adds the operator's peer addresses. A node is dialed once it is a member; an address without a node id
    /// at once.
    pub(super) fn add_static_peers(&mut self, peers: &[Multiaddr], now: Instant) -> Result<(), StartError> {
        if peers.len() > limits::MAX_STATIC_PEERS {
            return Err(StartError::TooManyStaticPeers(peers.len()));
        }
        for addr in peers {
            let target = address::parse_dial_target(addr)
                .ok_or_else(|| StartError::UnsupportedAddress(addr.clone()))?;
            match target.node {
                Some(node) if node == self.members.local_node() => {}
                Some(node) => {
                    let origin = AddressOrigin::Static;
                    self.discovery.address_book.add_address(node, target.socket, origin, now);
                    self.discovery.report(node, DiscoverySource::Static, &mut self.effects, now);
                }
                None => self.dialer.static_peers().add(target.socket, now),
            }
        }
        Ok(())
    }

    /// Plans a dial of a missing node, after the head start of its leader.
    pub(super) fn plan_dial_of_missing(&mut self, node: NodeId, now: Instant) {
        if !self.peers.connections.is_connected(node) {
            self.dialer.plan(node, self.dial_head_start(node), now);
        }
    }

    /// The time that this node waits for `node`, if that is the leader, to dial first.
    pub(super) fn dial_head_start(&self, node: NodeId) -> Duration {
        let has_undiscovered_address = self.discovery.address_book.has_undiscovered_address(node);
        head_start(self.members.leads(node), has_undiscovered_address)
    }

    /// Opens a guest stream to `node` for the daemon, or queues the request.
    pub(super) fn open_guest_stream(&mut self, node: NodeId, now: Instant) {
        let is_connected = self.peers.connections.is_connected(node);
        let has_address = is_connected || !self.discovery.address_book.addresses_of(node).is_empty();
        let is_reachable = node != self.members.local_node() && has_address;
        match self.peers.guests.request(node, is_reachable, now) {
            Ok(true) if is_connected => {
                let (peers, mut ctx) = self.peers_with_context(now);
                peers.request_guest_stream(node, &mut ctx);
            }
            Ok(true) => {
                self.dialer.track(node);
                self.dialer.plan(node, Duration::ZERO, now);
            }
            Ok(false) => {}
            Err(reason) => self.effects.report(NetEvent::GuestStreamFailed { peer: node, reason }),
        }
    }
}
