//! Hearing of nodes and dialling them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use larder_core::id::NodeId;
use libp2p::mdns;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::DialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};

use crate::discovery::air::Heard;
use crate::discovery::book::Origin;
use crate::driver::{Driver, jitter};
use crate::event::{Event, Source, VisitError};
use crate::peer::Visit;
use crate::{address, key, limits};

/// Pause of a dial for which there is no room at the moment.
const NO_ROOM: Duration = Duration::from_millis(50);

impl Driver {
    pub(super) fn on_beacon(&mut self, heard: Heard, now: Instant) {
        self.on_heard(heard.node, heard.socket, Source::Beacon, now);
    }

    pub(super) fn on_mdns(&mut self, event: mdns::Event, now: Instant) {
        if let mdns::Event::Discovered(found) = event {
            for (peer, addr) in found {
                if let (Some(node), Some(target)) = (key::node(&peer), address::parse(&addr)) {
                    self.on_heard(node, target.socket, Source::Mdns, now);
                }
            }
        }
        self.watch.check(&mut self.swarm.behaviour_mut().mdns, &self.tally, now);
    }

    /// Discovery says that `node` is at `socket`.
    fn on_heard(&mut self, node: NodeId, socket: SocketAddr, by: Source, now: Instant) {
        if self.ending.begun() || !self.acceptable(node, socket) {
            return;
        }
        let news = self.book.is_news(node, now);
        self.book.add(node, socket, Origin::Heard, now);
        self.tell_seen(node, by, now);
        let missing = self.is_member(node) && self.peers.get(&node).is_some_and(|peer| !peer.is_connected());
        if missing {
            self.heard_missing(node, now);
        }
        // A newcomer may not have heard of us. A leader who misses us must: it is the one who dials. (A leader
        // itself dials rather than answers, so no two nodes answer each other for ever.)
        if news || (missing && !self.leads(node)) {
            self.answer(now);
        }
    }

    fn answer(&mut self, now: Instant) {
        if !self.air.is_empty() {
            self.pace.soon(now, jitter(limits::BEACON_JITTER));
        }
    }

    /// A missing member is there: earlier failures are forgotten, a doomed dial is given up.
    fn heard_missing(&mut self, node: NodeId, now: Instant) {
        let head_start = self.head_start(node);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.dial.heard(now, head_start) {
            peer.dial.abort();
            let _ = self.swarm.disconnect_peer_id(peer.id);
        }
    }

    /// Something changed for the better: missing members are looked for anew.
    pub(super) fn hurry(&mut self, now: Instant) {
        let missing = |node: &NodeId| self.peers.get(node).is_some_and(|peer| !peer.is_connected());
        let missing: Vec<_> = self.members.iter().copied().filter(missing).collect();
        for node in missing {
            self.heard_missing(node, now);
        }
        self.statics.hurry(now);
    }

    pub(super) fn tell_seen(&mut self, peer: NodeId, by: Source, now: Instant) {
        if let Some(sockets) = self.book.due_to_tell(peer, now) {
            let addrs = sockets.into_iter().map(address::plain).collect();
            self.outbox.push(Event::Seen { peer, addrs, by });
        }
    }

    /// Begins or gives up the dial of `node`, whichever is due.
    pub(super) fn dial_due(&mut self, node: NodeId, now: Instant) {
        let wanted = self.is_member(node);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.dial.due().is_none_or(|due| due > now) {
            return;
        }
        if peer.is_connected() || !(wanted || matches!(peer.visit, Visit::Dialing(_))) {
            peer.dial.rest();
        } else if peer.dial.flight().is_some() {
            peer.dial.give_up(now);
            let _ = self.swarm.disconnect_peer_id(peer.id);
            self.fail_visit_if_dialing(node);
        } else {
            self.dial(node, now);
        }
    }

    fn dial(&mut self, node: NodeId, now: Instant) {
        let sockets: Vec<_> =
            self.book.addresses(node).into_iter().filter(|socket| self.acceptable(node, *socket)).collect();
        let flights = self.peers.values().filter(|peer| peer.dial.flight().is_some()).count();
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if sockets.is_empty() {
            // Planned again once there is an address.
            peer.dial.rest();
            return;
        }
        if flights >= limits::DIALS {
            peer.dial.rest();
            peer.dial.plan(now + NO_ROOM);
            return;
        }
        // A new port always: with the listener's port on both sides, two dials at the same moment are a TCP
        // simultaneous open, two Noise initiators, and in 30-58 % of trials no connection.
        let opts = DialOpts::peer_id(peer.id)
            .condition(PeerCondition::Always)
            .addresses(sockets.into_iter().map(address::plain).collect())
            .allocate_new_port()
            .build();
        peer.dial.flying(opts.connection_id(), now);
        if let Err(error) = self.swarm.dial(opts) {
            tracing::debug!(peer = %node.short(), %error, "not dialled");
            peer.dial.give_up(now);
        }
    }

    /// Dials the operator's addresses that are due, to learn who is there.
    pub(super) fn dial_statics(&mut self, now: Instant) {
        while let Some(one) = self.statics.due(now) {
            let socket = one.socket;
            let connected = |node: &NodeId| self.peers.get(node).is_some_and(|peer| peer.is_connected());
            if let Some(node) = self.book.at(socket).find(connected) {
                one.found = Some(node);
                continue;
            }
            let opts =
                DialOpts::unknown_peer_id().address(address::plain(socket)).allocate_new_port().build();
            let connection = opts.connection_id();
            match self.swarm.dial(opts) {
                Ok(()) => one.flying(connection),
                Err(_) => one.later(now),
            }
        }
    }

    /// A dial ended without a connection.
    pub(super) fn on_dial_error(
        &mut self,
        node: Option<NodeId>,
        id: ConnectionId,
        error: DialError,
        now: Instant,
    ) {
        let at = |addr| address::parse(addr).map(|target| target.socket);
        match (&error, node) {
            (DialError::WrongPeerId { obtained, address }, Some(node)) => {
                if let (Some(socket), Some(obtained)) = (at(address), key::node(obtained)) {
                    self.on_wrong_node(node, obtained, socket, id, now);
                    return;
                }
            }
            (DialError::LocalPeerId { address }, _) => {
                self.statics.answered(id, self.us);
                if let (Some(node), Some(socket)) = (node, at(address)) {
                    self.book.remove(node, socket);
                }
            }
            _ => {}
        }
        if self.statics.failed(id, now) {
            return;
        }
        let Some(peer) = node.and_then(|node| self.peers.get_mut(&node)) else { return };
        if peer.dial.failed(id, now) {
            tracing::debug!(peer = %peer.node.short(), %error, "dial failed");
            let node = peer.node;
            self.fail_visit_if_dialing(node);
        }
    }

    /// Somebody else answers at an address of `node`: libp2p then fails the whole dial, so the rest is dialled anew.
    fn on_wrong_node(
        &mut self,
        node: NodeId,
        found: NodeId,
        socket: SocketAddr,
        id: ConnectionId,
        now: Instant,
    ) {
        tracing::info!(expected = %node.short(), found = %found.short(), %socket, "another node answers there");
        self.book.remove(node, socket);
        self.statics.forget(socket, now);
        if found != self.us {
            self.book.add(found, socket, Origin::Used, now);
            self.plan_dial(found, now);
        }
        let rest = !self.book.addresses(node).is_empty();
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if rest && peer.dial.flight().is_some_and(|flight| flight.connection == id) {
            peer.dial.abort();
            peer.dial.plan(now);
        } else if peer.dial.failed(id, now) {
            self.fail_visit_if_dialing(node);
        }
    }

    fn fail_visit_if_dialing(&mut self, node: NodeId) {
        if self.peers.get(&node).is_some_and(|peer| matches!(peer.visit, Visit::Dialing(_))) {
            self.fail_visit(node, VisitError::Unreachable);
        }
    }
}
