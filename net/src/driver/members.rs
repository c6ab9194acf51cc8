//! The daemon's wishes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::Multiaddr;

use crate::config::StartError;
use crate::discovery::book::Origin;
use crate::driver::{Driver, jitter};
use crate::event::{DownReason, Source};
use crate::peer::{Link, Peer};
use crate::{address, key, limits};

impl Driver {
    pub(super) fn on_wishes(&mut self, now: Instant) {
        let wishes = self.mailbox.take();
        if let Some(peers) = wishes.peers {
            let known: Vec<_> = peers.into_iter().filter(|addr| address::parse(addr).is_some()).collect();
            // What else could be wrong with them was just left out.
            let _ = self.set_static_peers(known.get(..limits::STATIC_PEERS).unwrap_or(&known), now);
        }
        for (node, addrs) in wishes.learned {
            self.learn(node, &addrs, now);
        }
        if let Some(members) = wishes.members {
            self.set_members(members, now);
        }
        for node in wishes.visits {
            self.visit(node, now);
        }
        if wishes.hurry {
            self.pace.soon_if_started(now);
            self.hurry(now);
        }
        if wishes.stop {
            self.stop(now);
        }
    }

    fn set_members(&mut self, mut members: BTreeSet<NodeId>, now: Instant) {
        members.remove(&self.us);
        while members.len() > limits::MEMBERS {
            tracing::warn!(
                count = members.len(),
                most = limits::MEMBERS,
                "too many members: some are left out"
            );
            members.pop_last();
        }
        let before = std::mem::replace(&mut self.members, members);
        let peer_ids = self.members.iter().filter_map(|node| key::peer(*node)).collect();
        self.swarm.behaviour_mut().gate.set_members(peer_ids);
        self.book.set_members(self.members.clone());
        let gone: Vec<_> = before.difference(&self.members).copied().collect();
        let new: Vec<_> = self.members.difference(&before).copied().collect();
        gone.into_iter().for_each(|node| self.dismiss(node, now));
        let news = !new.is_empty();
        new.into_iter().for_each(|node| self.admit(node, now));
        if news {
            self.pace.soon_if_started(now);
        }
    }

    /// `node` is no longer a member.
    fn dismiss(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.end_link(DownReason::Removed);
        peer.visits.iter().for_each(|rope| rope.queue.end(DownReason::Removed));
        peer.dial.rest();
        peer.connections.iter_mut().for_each(|connection| connection.closing = true);
        peer.mark_missing(now);
        self.close_dismissed(node);
        self.forget_if_over(node);
    }

    /// Closes connections that are to be closed, once no link of theirs has anything left to say. That takes no longer than
    /// [`limits::FLUSH`].
    pub(super) fn close_dismissed(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get(&node).filter(|peer| peer.pumps == 0) else { return };
        if self.is_member(node) {
            let closing: Vec<_> = peer.connections.iter().filter(|c| c.closing).map(|c| c.id).collect();
            for id in closing {
                self.swarm.close_connection(id);
            }
        } else if peer.connections.iter().all(|connection| connection.closing) {
            // Closes what is established and aborts what is under way.
            let _ = self.swarm.disconnect_peer_id(peer.id);
        }
    }

    /// `node` is a member from now on.
    fn admit(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peer(node, now) else { return };
        if !peer.is_connected() {
            peer.missing = Some(now);
            self.plan_dial(node, now);
        } else if self.leads(node) {
            self.tend(node);
        } else if let Some(Link::Roped(rope)) = self.peers.get_mut(&node).map(|peer| &mut peer.link)
            && let Some(admit) = rope.admit.take()
        {
            let _ = admit.send(());
        }
    }

    /// What is known of `node`; a new entry if nothing is.
    pub(super) fn peer(&mut self, node: NodeId, now: Instant) -> Option<&mut Peer> {
        let id = key::peer(node)?;
        Some(self.peers.entry(node).or_insert_with(|| Peer::new(node, id, now)))
    }

    /// Members stay known; of others nothing is kept once they are gone.
    pub(super) fn forget_if_over(&mut self, node: NodeId) {
        if !self.is_member(node) && self.peers.get(&node).is_some_and(Peer::is_over) {
            self.peers.remove(&node);
        }
    }

    /// Takes in addresses that somebody told of `node`.
    pub(super) fn learn(&mut self, node: NodeId, addrs: &[Multiaddr], now: Instant) {
        let ours = |target: &address::Target| target.node.is_none_or(|named| named == node);
        let sockets: Vec<SocketAddr> =
            addrs.iter().filter_map(address::parse).filter(ours).map(|target| target.socket).collect();
        let mut news = false;
        for socket in sockets {
            if self.acceptable(node, socket) {
                news |= !self.book.addresses(node).contains(&socket);
                self.book.add(node, socket, Origin::Told, now);
            }
        }
        if news && self.is_member(node) {
            self.plan_dial(node, now);
        }
    }

    /// True if `node` may be at `socket`, and we are not.
    pub(super) fn acceptable(&self, node: NodeId, socket: SocketAddr) -> bool {
        let loopback = socket.ip().is_loopback() && !self.listeners.on_loopback();
        let own = self.listeners.reachable().contains(&socket);
        node != self.us && address::dialable(socket) && !loopback && !own
    }

    /// Plans a dial of a missing node, after the head start that its leader has.
    pub(super) fn plan_dial(&mut self, node: NodeId, now: Instant) {
        let head_start = self.head_start(node);
        if let Some(peer) = self.peers.get_mut(&node)
            && !peer.is_connected()
            && peer.dial.flight().is_none()
        {
            peer.dial.plan(now + head_start);
        }
    }

    /// How long we leave it to `node` to dial us.
    pub(super) fn head_start(&self, node: NodeId) -> std::time::Duration {
        if self.leads(node) {
            std::time::Duration::ZERO
        } else if self.book.one_sided(node) {
            limits::HEAD_START + jitter(limits::HEAD_START)
        } else {
            limits::HEAD_START_HEARD + jitter(limits::HEAD_START)
        }
    }

    /// The operator's addresses.
    pub(super) fn set_static_peers(&mut self, peers: &[Multiaddr], now: Instant) -> Result<(), StartError> {
        if peers.len() > limits::STATIC_PEERS {
            return Err(StartError::TooManyPeers(peers.len()));
        }
        let mut unnamed = Vec::new();
        for addr in peers {
            let target = address::parse(addr).ok_or_else(|| StartError::Address(addr.clone()))?;
            match target.node {
                Some(node) if node == self.us => {}
                Some(node) => {
                    self.book.add(node, target.socket, Origin::Static, now);
                    self.tell_seen(node, Source::Static, now);
                    self.plan_dial(node, now);
                }
                None => unnamed.push(target.socket),
            }
        }
        self.statics.set(&unnamed, now);
        Ok(())
    }
}
