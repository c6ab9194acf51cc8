//! Opens member links, chooses their connections and reopens them.

use std::sync::Arc;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::sync::oneshot;

use crate::driver::Driver;
use crate::event::{DownReason, GuestStreamError, LinkId, LinkKind, LinkRefusal, NetEvent};
use crate::key;
use crate::link::hello::HelloRole;
use crate::link::link_task::{LinkMsg, LinkStatus, LinkTask};
use crate::link::send_queue::SendQueue;
use crate::link::stream::{StreamEvent, StreamOutcome};
use crate::peer::{MemberLinkState, OutgoingGuestState, StreamHandle};

impl Driver {
    /// As leader: requests the link on the chosen connection and closes the surplus connections.
    pub(super) fn reconcile_member_link(&mut self, node: NodeId) {
        if !self.is_leader_towards(node) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(chosen) = peer.chosen_connection().map(|connection| connection.id) else { return };
        let surplus_ids: Vec<_> = peer
            .open_connections()
            .filter(|c| c.id != chosen && !peer.has_guest_stream_on(c.id))
            .map(|c| c.id)
            .collect();
        if peer.link_connection() != Some(chosen) {
            peer.end_link(DownReason::Replaced);
            peer.link = MemberLinkState::Requested(chosen);
            self.swarm.behaviour_mut().streams.request_stream(peer.peer_id, chosen, LinkKind::Member);
        }
        for id in surplus_ids {
            self.begin_closing_connection(node, id);
        }
    }

    /// Closes one connection of a peer that has several.
    fn begin_closing_connection(&mut self, node: NodeId, id: ConnectionId) {
        if let Some(connection) = self.peers.get_mut(&node).and_then(|peer| peer.connection_mut(id)) {
            connection.is_closing = true;
        }
        self.swarm.close_connection(id);
    }

    pub(super) fn on_stream_event(&mut self, event: StreamEvent, now: Instant) {
        let Some(node) = key::node_id_of(&event.peer) else { return };
        let Some(peer) = self.peers.get(&node) else { return };
        let id = event.connection;
        if self.shutdown.is_shutting_down() || !peer.open_connections().any(|connection| connection.id == id)
        {
            return;
        }
        match event.outcome {
            StreamOutcome::Opened(LinkKind::Member, stream) => self.on_member_stream_opened(node, id, stream),
            StreamOutcome::Opened(LinkKind::Guest, stream) => self.on_guest_stream_opened(node, id, stream),
            StreamOutcome::Accepted(LinkKind::Member, stream) => {
                self.on_member_stream_accepted(node, id, stream)
            }
            StreamOutcome::Accepted(LinkKind::Guest, stream) => {
                self.on_guest_stream_accepted(node, id, stream, now)
            }
            StreamOutcome::Failed(LinkKind::Member, unsupported) => {
                self.on_member_stream_failed(node, id, unsupported, now)
            }
            StreamOutcome::Failed(LinkKind::Guest, _) => {
                self.fail_guest_stream(node, GuestStreamError::Declined)
            }
        }
    }

    fn on_member_stream_opened(&mut self, node: NodeId, id: ConnectionId, stream: Stream) {
        let is_expected = self.peers.get(&node).is_some_and(
            |peer| matches!(peer.link, MemberLinkState::Requested(connection) if connection == id),
        );
        if is_expected && self.is_member(node) {
            self.spawn_member_link(node, id, stream, HelloRole::Opener, None);
        }
    }

    fn on_member_stream_failed(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        is_unsupported: bool,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if matches!(peer.link, MemberLinkState::Requested(connection) if connection == id) {
            peer.link = MemberLinkState::None;
            peer.plan_relink(now, None);
            if is_unsupported {
                self.event_backlog
                    .push(NetEvent::LinkRefused { peer: node, reason: LinkRefusal::UnsupportedVersion });
            }
        }
    }

    /// As follower: accepts the link that the leader opened. The leader chose its connection.
    fn on_member_stream_accepted(&mut self, node: NodeId, id: ConnectionId, stream: Stream) {
        if self.is_leader_towards(node) {
            tracing::debug!(peer = %node.short(), "link dropped: only the leader of a pair opens one");
            return;
        }
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let previous_connection = peer.link_connection().filter(|connection| *connection != id);
        peer.end_link(DownReason::Replaced);
        if self.is_member(node) {
            self.spawn_member_link(node, id, stream, HelloRole::Acceptor, None);
        } else {
            let (release, released) = oneshot::channel();
            self.spawn_member_link(node, id, stream, HelloRole::HoldBack(released), Some(release));
        }
        // The leader no longer uses the connection of the earlier link, and may have lost it already.
        if let Some(previous_connection) = previous_connection
            && self.peers.get(&node).is_some_and(|peer| !peer.has_guest_stream_on(previous_connection))
        {
            self.begin_closing_connection(node, previous_connection);
        }
    }

    fn spawn_member_link(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        stream: Stream,
        hello_role: HelloRole,
        release: Option<oneshot::Sender<()>>,
    ) {
        let is_opened_here = matches!(hello_role, HelloRole::Opener);
        let Some(mut task) = self.new_link_task(node, id, LinkKind::Member, is_opened_here) else { return };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let (predecessor, done_sender) = peer.begin_link();
        task.predecessor = predecessor;
        let queue = Arc::clone(&task.queue);
        peer.link = MemberLinkState::Open(StreamHandle {
            link: task.link,
            connection: id,
            queue,
            is_opened_here,
            release,
        });
        peer.running_link_tasks += 1;
        tokio::spawn(task.run(stream, hello_role, done_sender));
    }

    /// Builds the task of a new link on a connection; it does not run yet.
    pub(super) fn new_link_task(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        kind: LinkKind,
        is_opened_here: bool,
    ) -> Option<LinkTask> {
        let connection = self.peers.get(&node)?.connection(id)?;
        self.last_link_id += 1;
        Some(LinkTask {
            link: LinkId(self.last_link_id),
            peer: node,
            kind,
            is_opened_here,
            is_dialed_here: connection.is_dialed_here,
            addr: connection.addr.clone(),
            queue: Arc::new(SendQueue::new(kind)),
            registry: self.link_registry.clone(),
            event_sender: self.event_sender.clone(),
            link_msg_sender: self.link_msg_sender.clone(),
            predecessor: None,
        })
    }

    pub(super) fn on_link_msg(&mut self, msg: LinkMsg, now: Instant) {
        let Some(peer) = self.peers.get_mut(&msg.peer) else { return };
        let is_current = matches!(&peer.link, MemberLinkState::Open(handle) if handle.link == msg.link);
        match msg.status {
            LinkStatus::HeldByPeer => self
                .event_backlog
                .push(NetEvent::LinkRefused { peer: msg.peer, reason: LinkRefusal::NotAMember }),
            LinkStatus::Up if is_current => {
                peer.had_link = true;
                peer.dial.on_link_up();
            }
            LinkStatus::Up => {
                let is_opened_here =
                    peer.guest_streams.iter().any(|handle| handle.link == msg.link && handle.is_opened_here);
                if is_opened_here {
                    peer.outgoing_guest = OutgoingGuestState::Open(msg.link);
                }
            }
            LinkStatus::Down(up_for) => {
                peer.running_link_tasks -= 1;
                if is_current {
                    peer.link = MemberLinkState::None;
                    if self.is_member(msg.peer)
                        && self.is_leader_towards(msg.peer)
                        && !self.shutdown.is_shutting_down()
                    {
                        self.peers
                            .get_mut(&msg.peer)
                            .into_iter()
                            .for_each(|peer| peer.plan_relink(now, up_for));
                    }
                }
                self.on_guest_stream_ended(msg.peer, msg.link, now);
                self.close_marked_connections(msg.peer);
                self.forget_if_unused(msg.peer);
            }
        }
    }
}
