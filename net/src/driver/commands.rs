//! Runs the commands of the daemon.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::Multiaddr;

use crate::config::StartError;
use crate::discovery::address_book::AddressOrigin;
use crate::driver::{Driver, random_delay};
use crate::event::{DiscoverySource, DownReason};
use crate::peer::{MemberLinkState, PeerState};
use crate::{address, key, limits};

impl Driver {
    pub(super) fn run_commands(&mut self, now: Instant) {
        let commands = self.commands.take_pending();
        if let Some(peers) = commands.static_peers {
            let valid_addrs: Vec<_> =
                peers.into_iter().filter(|addr| address::parse_dial_target(addr).is_some()).collect();
            // The addresses are valid and within the limit, so this cannot fail.
            let _ = self
                .set_static_peers(valid_addrs.get(..limits::MAX_STATIC_PEERS).unwrap_or(&valid_addrs), now);
        }
        for (node, addrs) in commands.learned_addresses {
            self.learn_addresses(node, &addrs, now);
        }
        if let Some(members) = commands.members {
            self.set_members(members, now);
        }
        for node in commands.guest_streams {
            self.open_guest_stream(node, now);
        }
        if commands.reconnect_now {
            self.beacon_schedule.plan_soon_if_started(now);
            self.dial_missing_members(now);
        }
        if commands.shutdown {
            self.begin_shutdown(now);
        }
    }

    fn set_members(&mut self, mut members: BTreeSet<NodeId>, now: Instant) {
        members.remove(&self.local_node);
        while members.len() > limits::MAX_MEMBERS {
            tracing::warn!(
                count = members.len(),
                limit = limits::MAX_MEMBERS,
                "too many members: some are ignored"
            );
            members.pop_last();
        }
        let previous = std::mem::replace(&mut self.members, members);
        let peer_ids = self.members.iter().filter_map(|node| key::peer_id_of(*node)).collect();
        self.swarm.behaviour_mut().admission.set_members(peer_ids);
        self.address_book.set_members(self.members.clone());
        let removed: Vec<_> = previous.difference(&self.members).copied().collect();
        let added: Vec<_> = self.members.difference(&previous).copied().collect();
        removed.into_iter().for_each(|node| self.on_member_removed(node, now));
        let any_added = !added.is_empty();
        added.into_iter().for_each(|node| self.on_member_added(node, now));
        if any_added {
            self.beacon_schedule.plan_soon_if_started(now);
        }
    }

    /// Ends the links of a node that is no longer a member, then its connections.
    fn on_member_removed(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.end_link(DownReason::Removed);
        peer.guest_streams.iter().for_each(|handle| handle.queue.end_link(DownReason::Removed));
        peer.dial.clear();
        peer.connections.iter_mut().for_each(|connection| connection.is_closing = true);
        peer.mark_missing_if_disconnected(now);
        self.close_marked_connections(node);
        self.forget_if_unused(node);
    }

    /// Closes marked connections once no link task of the peer runs, which takes at most
    /// [`limits::FLUSH_TIMEOUT`].
    pub(super) fn close_marked_connections(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get(&node).filter(|peer| peer.running_link_tasks == 0) else { return };
        if self.is_member(node) {
            let closing: Vec<_> = peer.connections.iter().filter(|c| c.is_closing).map(|c| c.id).collect();
            for id in closing {
                self.swarm.close_connection(id);
            }
        } else if peer.connections.iter().all(|connection| connection.is_closing) {
            // This closes established connections and aborts dials.
            let _ = self.swarm.disconnect_peer_id(peer.peer_id);
        }
    }

    /// Dials a new member, or opens a link on an existing connection.
    fn on_member_added(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peer_or_insert(node, now) else { return };
        if !peer.is_connected() {
            peer.missing_since = Some(now);
            self.plan_dial_of_missing(node, now);
        } else if self.is_leader_towards(node) {
            self.reconcile_member_link(node);
        } else if let Some(MemberLinkState::Open(handle)) =
            self.peers.get_mut(&node).map(|peer| &mut peer.link)
            && let Some(release) = handle.release.take()
        {
            let _ = release.send(());
        }
    }

    /// Returns the state of `node`; inserts it if needed.
    pub(super) fn peer_or_insert(&mut self, node: NodeId, now: Instant) -> Option<&mut PeerState> {
        let id = key::peer_id_of(node)?;
        Some(self.peers.entry(node).or_insert_with(|| PeerState::new(node, id, now)))
    }

    /// Forgets a non-member without connections, links or requests.
    pub(super) fn forget_if_unused(&mut self, node: NodeId) {
        if !self.is_member(node) && self.peers.get(&node).is_some_and(PeerState::is_unused) {
            self.peers.remove(&node);
        }
    }

    /// Adds addresses that the daemon learned for `node`.
    pub(super) fn learn_addresses(&mut self, node: NodeId, addrs: &[Multiaddr], now: Instant) {
        let names_this_node = |target: &address::DialTarget| target.node.is_none_or(|named| named == node);
        let sockets: Vec<SocketAddr> = addrs
            .iter()
            .filter_map(address::parse_dial_target)
            .filter(names_this_node)
            .map(|target| target.socket)
            .collect();
        let mut any_new = false;
        for socket in sockets {
            if self.is_acceptable_address(node, socket) {
                any_new |= !self.address_book.addresses_of(node).contains(&socket);
                self.address_book.add_address(node, socket, AddressOrigin::Learned, now);
            }
        }
        if any_new && self.is_member(node) {
            self.plan_dial_of_missing(node, now);
        }
    }

    /// True if `node` may be at `socket`: a dialable address that is not one of this node.
    pub(super) fn is_acceptable_address(&self, node: NodeId, socket: SocketAddr) -> bool {
        let is_foreign_loopback = socket.ip().is_loopback() && !self.listeners.accepts_loopback_peers();
        let is_own = self.listeners.reachable().contains(&socket);
        node != self.local_node && address::is_dialable(socket) && !is_foreign_loopback && !is_own
    }

    /// Plans a dial of a missing node, after the head start of its leader.
    pub(super) fn plan_dial_of_missing(&mut self, node: NodeId, now: Instant) {
        let head_start = self.dial_head_start(node);
        if let Some(peer) = self.peers.get_mut(&node)
            && !peer.is_connected()
            && peer.dial.in_flight().is_none()
        {
            peer.dial.plan_no_later_than(now + head_start);
        }
    }

    /// How long this node waits for `node`, if that is the leader, to dial first.
    pub(super) fn dial_head_start(&self, node: NodeId) -> std::time::Duration {
        if self.is_leader_towards(node) {
            std::time::Duration::ZERO
        } else if self.address_book.has_undiscovered_address(node) {
            limits::LEADER_HEAD_START + random_delay(limits::LEADER_HEAD_START)
        } else {
            limits::DISCOVERED_LEADER_HEAD_START + random_delay(limits::LEADER_HEAD_START)
        }
    }

    /// Replaces the operator's peer addresses.
    pub(super) fn set_static_peers(&mut self, peers: &[Multiaddr], now: Instant) -> Result<(), StartError> {
        if peers.len() > limits::MAX_STATIC_PEERS {
            return Err(StartError::TooManyStaticPeers(peers.len()));
        }
        let mut addrs_without_node = Vec::new();
        for addr in peers {
            let target = address::parse_dial_target(addr)
                .ok_or_else(|| StartError::UnsupportedAddress(addr.clone()))?;
            match target.node {
                Some(node) if node == self.local_node => {}
                Some(node) => {
                    self.address_book.add_address(node, target.socket, AddressOrigin::Static, now);
                    self.report_discovered(node, DiscoverySource::Static, now);
                    self.plan_dial_of_missing(node, now);
                }
                None => addrs_without_node.push(target.socket),
            }
        }
        self.static_peers.set_addresses(&addrs_without_node, now);
        Ok(())
    }
}
