//! What is planned, and when.

use std::time::{Duration, Instant};

use larder_core::id::NodeId;

use crate::discovery::pace::Absence;
use crate::driver::Driver;
use crate::event::{DownReason, VisitError};
use crate::limits;
use crate::peer::{Connection, Peer, Visit};

/// Longest sleep where nothing is planned.
const REST: Duration = Duration::from_secs(3600);

impl Driver {
    /// The next moment at which there is something to do.
    pub(super) fn due(&self, now: Instant) -> Instant {
        let peers = self.peers.iter().filter_map(|(node, peer)| peer.due(self.is_member(*node)));
        let others = [
            self.alone_at,
            self.pace.next(),
            self.statics.next(),
            self.watch.next(),
            self.next_place(),
            self.ending.due(),
        ];
        let due = if self.ending.begun() {
            self.ending.due()
        } else {
            peers.chain(others.into_iter().flatten()).min()
        };
        due.unwrap_or(now + REST).min(now + REST)
    }

    /// Does all that is due.
    pub(super) fn on_time(&mut self, now: Instant) {
        if self.ending.begun() {
            self.end(now);
            return;
        }
        if self.pace.next().is_some_and(|next| next <= now) {
            self.air.send();
            self.pace.sent(now, self.absence(now), rand::random());
        }
        if self.alone_at.is_some_and(|at| at <= now) {
            self.tell_listening(now);
        }
        self.dial_statics(now);
        let us = *self.swarm.local_peer_id();
        self.watch.wake(&mut self.swarm.behaviour_mut().mdns, us, now);
        let is_due =
            |node: &NodeId, peer: &Peer| peer.due(self.is_member(*node)).is_some_and(|due| due <= now);
        let due: Vec<NodeId> =
            self.peers.iter().filter(|(node, peer)| is_due(node, peer)).map(|(node, _)| *node).collect();
        for node in due {
            self.on_peer_due(node, now);
        }
        self.visit_waiting(now);
    }

    fn on_peer_due(&mut self, node: NodeId, now: Instant) {
        self.dial_due(node, now);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.relink_at.is_some_and(|at| at <= now) {
            peer.relink_at = None;
            self.tend(node);
        }
        self.visit_due(node, now);
        if !self.is_member(node) {
            self.close_idle(node, now);
            self.forget_if_over(node);
        }
    }

    /// A visit that did not come about in time.
    fn visit_due(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peers.get(&node) else { return };
        match peer.visit {
            Visit::Dialing(until) if until <= now => self.fail_visit(node, VisitError::Unreachable),
            Visit::Opening(until) if until <= now => self.fail_visit(node, VisitError::Declined),
            _ => {}
        }
    }

    /// Closes connections of a stranger that carry no visit for too long. A link that is held back does not count:
    /// else it would hold a place for ever.
    fn close_idle(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let idle = |c: &Connection| c.used + limits::STRANGER_IDLE <= now;
        let over: Vec<_> = peer.living().filter(|c| idle(c) && !peer.visits_on(c.id)).map(|c| c.id).collect();
        for id in over {
            if peer.link_connection() == Some(id) {
                peer.end_link(DownReason::Removed);
            }
            if let Some(connection) = peer.connection_mut(id) {
                connection.closing = true;
            }
            self.swarm.close_connection(id);
        }
        peer.mark_missing(now);
    }

    /// How many members there are and how long the newest absence has lasted.
    pub(super) fn absence(&self, now: Instant) -> Absence {
        let absent = self.members.iter().filter_map(|node| self.peers.get(node)?.missing);
        Absence {
            members: self.members.len(),
            missing: absent.map(|since| now.saturating_duration_since(since)).min(),
        }
    }
}
