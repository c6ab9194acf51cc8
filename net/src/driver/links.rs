//! Member links: on which connection, when again, with whom.

use std::sync::Arc;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::sync::oneshot;

use crate::driver::Driver;
use crate::event::{DownReason, Event, LinkId, LinkKind, Refusal, VisitError};
use crate::key;
use crate::link::hello::Greeting;
use crate::link::pump::{News, Note, Pump};
use crate::link::queue::Queue;
use crate::link::stream::{Outcome, StreamEvent};
use crate::peer::{Link, Rope, Visit};

impl Driver {
    /// As leader: sees to it that the link is, or is being opened, on the chosen connection and on no other.
    pub(super) fn tend(&mut self, node: NodeId) {
        if !self.leads(node) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(choice) = peer.choice().map(|connection| connection.id) else { return };
        let surplus: Vec<_> =
            peer.living().filter(|c| c.id != choice && !peer.visits_on(c.id)).map(|c| c.id).collect();
        if peer.link_connection() != Some(choice) {
            peer.end_link(DownReason::Replaced);
            peer.link = Link::Opening(choice);
            self.swarm.behaviour_mut().streams.open(peer.id, choice, LinkKind::Member);
        }
        for id in surplus {
            self.drop_connection(node, id);
        }
    }

    /// Closes one connection of several.
    fn drop_connection(&mut self, node: NodeId, id: ConnectionId) {
        if let Some(connection) = self.peers.get_mut(&node).and_then(|peer| peer.connection_mut(id)) {
            connection.closing = true;
        }
        self.swarm.close_connection(id);
    }

    pub(super) fn on_stream(&mut self, event: StreamEvent, now: Instant) {
        let Some(node) = key::node(&event.peer) else { return };
        let Some(peer) = self.peers.get(&node) else { return };
        let id = event.connection;
        if self.ending.begun() || !peer.living().any(|connection| connection.id == id) {
            return;
        }
        match event.outcome {
            Outcome::Opened(LinkKind::Member, stream) => self.on_link_opened(node, id, stream),
            Outcome::Opened(LinkKind::Stranger, stream) => self.on_visit_opened(node, id, stream),
            Outcome::Accepted(LinkKind::Member, stream) => self.on_link_accepted(node, id, stream),
            Outcome::Accepted(LinkKind::Stranger, stream) => self.on_visitor(node, id, stream, now),
            Outcome::Failed(LinkKind::Member, unsupported) => self.on_link_failed(node, id, unsupported, now),
            Outcome::Failed(LinkKind::Stranger, _) => self.fail_visit(node, VisitError::Declined),
        }
    }

    fn on_link_opened(&mut self, node: NodeId, id: ConnectionId, stream: Stream) {
        let asked =
            self.peers.get(&node).is_some_and(|peer| matches!(peer.link, Link::Opening(on) if on == id));
        if asked && self.is_member(node) {
            self.spawn_link(node, id, stream, Greeting::Open, None);
        }
    }

    fn on_link_failed(&mut self, node: NodeId, id: ConnectionId, unsupported: bool, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if matches!(peer.link, Link::Opening(on) if on == id) {
            peer.link = Link::None;
            peer.plan_relink(now, None);
            if unsupported {
                self.outbox.push(Event::Refused { peer: node, why: Refusal::Version });
            }
        }
    }

    /// As follower: the leader has opened a link, and with that chosen this connection.
    fn on_link_accepted(&mut self, node: NodeId, id: ConnectionId, stream: Stream) {
        if self.leads(node) {
            tracing::debug!(peer = %node.short(), "the follower of a pair opens no link");
            return;
        }
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let earlier = peer.link_connection().filter(|on| *on != id);
        peer.end_link(DownReason::Replaced);
        if self.is_member(node) {
            self.spawn_link(node, id, stream, Greeting::Accept, None);
        } else {
            let (admit, admitted) = oneshot::channel();
            self.spawn_link(node, id, stream, Greeting::Park(admitted), Some(admit));
        }
        // The leader has given up the connection that the link was on; it may not even know of it any more.
        if let Some(earlier) = earlier
            && self.peers.get(&node).is_some_and(|peer| !peer.visits_on(earlier))
        {
            self.drop_connection(node, earlier);
        }
    }

    fn spawn_link(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        stream: Stream,
        greeting: Greeting,
        admit: Option<oneshot::Sender<()>>,
    ) {
        let ours = matches!(greeting, Greeting::Open);
        let Some(mut pump) = self.pump(node, id, LinkKind::Member, ours) else { return };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let (before, done) = peer.begin();
        pump.before = before;
        let queue = Arc::clone(&pump.queue);
        peer.link = Link::Roped(Rope { link: pump.link, connection: id, queue, ours, admit });
        peer.pumps += 1;
        tokio::spawn(pump.run(stream, greeting, done));
    }

    /// A new link's task on that connection, not yet running.
    pub(super) fn pump(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        kind: LinkKind,
        opened: bool,
    ) -> Option<Pump> {
        let connection = self.peers.get(&node)?.connection(id)?;
        self.last_link += 1;
        Some(Pump {
            link: LinkId(self.last_link),
            peer: node,
            kind,
            opened,
            dialed: connection.dialed,
            addr: connection.addr.clone(),
            queue: Arc::new(Queue::new(kind)),
            registry: self.registry.clone(),
            feed: self.feed.clone(),
            notes: self.noter.clone(),
            before: None,
        })
    }

    pub(super) fn on_note(&mut self, note: Note, now: Instant) {
        let Some(peer) = self.peers.get_mut(&note.peer) else { return };
        let current = matches!(&peer.link, Link::Roped(rope) if rope.link == note.link);
        match note.what {
            News::OnHold => self.outbox.push(Event::Refused { peer: note.peer, why: Refusal::Unknown }),
            News::Up if current => {
                peer.linked = true;
                peer.dial.success();
            }
            News::Up => {
                let ours = peer.visits.iter().any(|rope| rope.link == note.link && rope.ours);
                if ours {
                    peer.visit = Visit::Open(note.link);
                }
            }
            News::Down(lasted) => {
                peer.pumps -= 1;
                if current {
                    peer.link = Link::None;
                    if self.is_member(note.peer) && self.leads(note.peer) && !self.ending.begun() {
                        self.peers
                            .get_mut(&note.peer)
                            .into_iter()
                            .for_each(|peer| peer.plan_relink(now, lasted));
                    }
                }
                self.on_visit_over(note.peer, note.link, now);
                self.close_dismissed(note.peer);
                self.forget_if_over(note.peer);
            }
        }
    }
}
