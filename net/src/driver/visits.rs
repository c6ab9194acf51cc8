//! Stranger links, ours and others'.

use std::sync::Arc;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::sync::oneshot;

use crate::driver::Driver;
use crate::event::{DownReason, Event, LinkId, LinkKind, VisitError};
use crate::gate::budget::{self, Rate};
use crate::link::hello::Greeting;
use crate::peer::{Rope, Visit};
use crate::{address, limits};

impl Driver {
    /// The daemon wants to visit `node`.
    pub(super) fn visit(&mut self, node: NodeId, now: Instant) {
        let is_full = self.visits_under_way() >= limits::VISITS_OUT;
        let known = self.peers.get(&node);
        match known.map_or(Visit::None, |peer| peer.visit) {
            Visit::Dialing(_) | Visit::Opening(_) => return,
            Visit::Open(_) => return self.refuse_visit(node, VisitError::Busy),
            Visit::None if is_full => return self.visit_later(node),
            Visit::None => {}
        }
        let connected = known.is_some_and(|peer| peer.is_connected());
        if node == self.us || (!connected && self.book.addresses(node).is_empty()) {
            return self.refuse_visit(node, VisitError::NoAddress);
        }
        let Some(peer) = self.peer(node, now) else { return };
        peer.visit = Visit::Dialing(now + limits::VISIT_SETUP);
        if connected {
            self.open_visit(node, now);
        } else if peer.dial.flight().is_none() {
            peer.dial.plan(now);
        }
    }

    fn visits_under_way(&self) -> usize {
        self.peers.values().filter(|peer| peer.visit != Visit::None).count()
    }

    /// First come, first served: whoever is asked again and again takes no place from one that was not reached yet.
    fn visit_later(&mut self, node: NodeId) {
        if self.to_visit.contains(&node) {
            return;
        }
        if self.to_visit.len() >= limits::VISITS_WAITING {
            self.tally.note("visits to others that wait", limits::VISITS_WAITING);
            return self.refuse_visit(node, VisitError::Busy);
        }
        self.to_visit.push_back(node);
    }

    /// Our visits, waiting ones apart.
    fn our_visits(&self) -> impl Iterator<Item = &Rope> {
        self.peers.values().flat_map(|peer| &peer.visits).filter(|rope| rope.ours)
    }

    /// When a visit on which nothing was said yet is to give its place to another, if one waits.
    pub(super) fn next_place(&self) -> Option<Instant> {
        if self.to_visit.is_empty() {
            return None;
        }
        let silent = self.our_visits().filter_map(|rope| rope.queue.silent_since());
        silent.min().map(|since| since + limits::VISIT_PATIENCE)
    }

    /// Begins visits that wait for a place, as long as there is one; who says nothing gives up theirs.
    pub(super) fn visit_waiting(&mut self, now: Instant) {
        while !self.to_visit.is_empty() && self.visits_under_way() < limits::VISITS_OUT {
            self.to_visit.pop_front().into_iter().for_each(|node| self.visit(node, now));
        }
        if self.to_visit.is_empty() {
            return;
        }
        let freed = self.our_visits().filter(|rope| rope.queue.is_ending()).count();
        let is_over = |since: &Instant| *since + limits::VISIT_PATIENCE <= now;
        let silent = self.our_visits().filter(|rope| rope.queue.silent_since().as_ref().is_some_and(is_over));
        for rope in silent.take(self.to_visit.len().saturating_sub(freed)) {
            rope.queue.end(DownReason::Silent);
        }
    }

    fn refuse_visit(&mut self, peer: NodeId, reason: VisitError) {
        self.outbox.push(Event::VisitFailed { peer, reason });
    }

    /// Asks for the stream of our visit on the connection that there is.
    pub(super) fn open_visit(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(id) = peer.choice().map(|connection| connection.id) else { return };
        peer.visit = Visit::Opening(now + limits::VISIT_SETUP);
        self.swarm.behaviour_mut().streams.open(peer.id, id, LinkKind::Stranger);
    }

    pub(super) fn on_visit_opened(&mut self, node: NodeId, id: ConnectionId, stream: Stream) {
        if self.peers.get(&node).is_some_and(|peer| matches!(peer.visit, Visit::Opening(_))) {
            self.spawn_visit(node, id, stream, Greeting::Open);
        }
    }

    /// Our visit did not come about.
    pub(super) fn fail_visit(&mut self, node: NodeId, reason: VisitError) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if matches!(peer.visit, Visit::Dialing(_) | Visit::Opening(_)) {
            peer.visit = Visit::None;
            self.refuse_visit(node, reason);
            self.forget_if_over(node);
        }
    }

    /// Somebody visits us: within the budgets, the stream is accepted; else it is dropped, which its opener sees.
    pub(super) fn on_visitor(&mut self, node: NodeId, id: ConnectionId, stream: Stream, now: Instant) {
        let theirs = |visits: &[Rope]| visits.iter().filter(|rope| !rope.ours).count();
        let inside: usize = self.peers.values().map(|peer| theirs(&peer.visits)).sum();
        let Some(peer) = self.peers.get(&node) else { return };
        let source = peer.connection(id).and_then(|connection| address::parse(&connection.addr));
        let Some(source) = source.map(|target| budget::source(target.socket.ip())) else { return };
        let each = Rate { burst: limits::VISITS_PER_KEY, refill: limits::VISITS_REFILL };
        let address = Rate { burst: limits::VISITS_PER_SOURCE, refill: limits::VISITS_REFILL };
        let reached = if inside >= limits::VISITS_IN {
            Some(("visits of others at once", limits::VISITS_IN))
        } else if theirs(&peer.visits) > 0 {
            Some(("visits of one other at once", 1))
        } else if !self.visit_keys.take(node, each, now) {
            Some(("visits of one other in a row", limits::VISITS_PER_KEY as usize))
        } else if !self.visit_sources.take(source, address, now) {
            Some(("visits from one address in a row", limits::VISITS_PER_SOURCE as usize))
        } else {
            None
        };
        match reached {
            None => self.spawn_visit(node, id, stream, Greeting::Accept),
            Some((of, most)) => {
                self.tally.note(of, most);
                tracing::debug!(peer = %node.short(), %source, "a visit is declined: too many {of}");
            }
        }
    }

    fn spawn_visit(&mut self, node: NodeId, id: ConnectionId, stream: Stream, greeting: Greeting) {
        let ours = matches!(greeting, Greeting::Open);
        let Some(pump) = self.pump(node, id, LinkKind::Stranger, ours) else { return };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let queue = Arc::clone(&pump.queue);
        peer.visits.push(Rope { link: pump.link, connection: id, queue, ours, admit: None });
        peer.pumps += 1;
        tokio::spawn(pump.run(stream, greeting, oneshot::channel().0));
    }

    /// The task of `link` has ended, if that was a visit.
    pub(super) fn on_visit_over(&mut self, node: NodeId, link: LinkId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(place) = peer.visits.iter().position(|rope| rope.link == link) else { return };
        let rope = peer.visits.remove(place);
        if let Some(connection) = peer.connection_mut(rope.connection) {
            connection.used = now;
        }
        if !rope.ours {
            return;
        }
        match peer.visit {
            Visit::Open(_) => peer.visit = Visit::None,
            Visit::Opening(_) => self.fail_visit(node, VisitError::Declined),
            Visit::Dialing(_) | Visit::None => {}
        }
    }
}
