//! The connections, links and guest streams of all peers.
//!
//! The table passes each input to the part that it concerns, and connects the parts: a link needs a
//! connection, and a connection closes only after its streams.

use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::sync::{mpsc, oneshot};

use crate::address;
use crate::connections::{ConnectionCounts, ConnectionTable, PeerConnection};
use crate::effects::{DriverContext, SwarmAction};
use crate::event::{DownReason, GuestStreamError, LinkKind, LinkRefusal, NetEvent};
use crate::event_channel::EventSender;
use crate::guest_streams::GuestStreams;
use crate::limit_stats::SharedLimitStats;
use crate::link::hello::HelloRole;
use crate::link::link_table::LinkTable;
use crate::link::link_task::{LinkMsg, LinkStatus};
use crate::link::link_tasks::{LinkTasks, NewStream};
use crate::link::registry::LinkRegistry;
use crate::link::stream::StreamOutcome;
use crate::members::MemberSet;

/// All peers: their connections, links and guest streams.
pub(crate) struct PeerTable {
    pub(crate) connections: ConnectionTable,
    pub(crate) guests: GuestStreams,
    links: LinkTable,
    tasks: LinkTasks,
}

impl PeerTable {
    /// Creates the table without peers. The messages of its link tasks arrive at the receiver.
    pub(crate) fn new(
        counts: ConnectionCounts,
        limit_stats: SharedLimitStats,
        registry: LinkRegistry,
        event_sender: EventSender,
    ) -> (Self, mpsc::Receiver<LinkMsg>) {
        let (tasks, link_msgs) = LinkTasks::new(registry, event_sender);
        let connections = ConnectionTable::new(counts);
        (
            Self { connections, guests: GuestStreams::new(limit_stats), links: LinkTable::default(), tasks },
            link_msgs,
        )
    }

    /// Handles a new connection: opens the link or the requested guest stream on it.
    pub(crate) fn on_connected(
        &mut self,
        node: NodeId,
        connection: PeerConnection,
        ctx: &mut DriverContext<'_>,
    ) {
        self.connections.insert(node, connection);
        if ctx.members.contains(node) {
            self.reconcile_link(node, ctx);
        }
        if self.guests.is_dialing(node) {
            self.request_guest_stream(node, ctx);
        }
    }

    /// Handles a closed connection: moves the link to another one. `is_broken` is true if this node did not
    /// close it. True if the node is a member and is missing now.
    pub(crate) fn on_connection_closed(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        is_broken: bool,
        ctx: &mut DriverContext<'_>,
    ) -> bool {
        self.connections.remove(node, id);
        self.links.on_connection_closed(node, id, is_broken);
        if !is_broken {
            self.guests.on_connection_closed_here(node, id);
        }
        let is_member = ctx.members.contains(node);
        if is_member && self.connections.is_connected(node) {
            self.reconcile_link(node, ctx);
        }
        is_member && self.connections.begin_missing(node, ctx.now)
    }

    /// Handles a new member: opens its link, or releases it if the peer has opened it. True if the member is
    /// not connected.
    pub(crate) fn on_member_added(&mut self, node: NodeId, ctx: &mut DriverContext<'_>) -> bool {
        if !self.connections.is_connected(node) {
            self.connections.begin_missing(node, ctx.now);
            return true;
        }
        if ctx.members.leads(node) {
            self.reconcile_link(node, ctx);
        } else {
            self.links.release(node);
        }
        false
    }

    /// Ends the streams of a node that is no longer a member, then its connections.
    pub(crate) fn on_member_removed(&mut self, node: NodeId, ctx: &mut DriverContext<'_>) {
        self.links.end(node, DownReason::Removed);
        self.guests.end_all(node, DownReason::Removed);
        self.connections.mark_all_closing(node);
        self.connections.end_missing(node);
        self.close_marked_connections(node, ctx);
    }

    /// Closes marked connections once no link task of the peer runs, which takes at most
    /// [`limits::FLUSH_TIMEOUT`](crate::limits::FLUSH_TIMEOUT).
    fn close_marked_connections(&mut self, node: NodeId, ctx: &mut DriverContext<'_>) {
        if self.tasks.is_running(node) {
            return;
        }
        if ctx.members.contains(node) {
            let closing = self.connections.closing(node);
            closing.into_iter().for_each(|id| ctx.effects.act(SwarmAction::CloseConnection(id)));
        } else if !self.connections.is_connected(node) {
            // This also aborts dials.
            ctx.effects.act(SwarmAction::Disconnect(node));
        }
    }

    /// As leader: requests the link on the chosen connection and closes the surplus connections.
    fn reconcile_link(&mut self, node: NodeId, ctx: &mut DriverContext<'_>) {
        if !ctx.members.leads(node) {
            return;
        }
        let Some(chosen) = self.connections.chosen(node) else { return };
        let open = self.connections.open(node).map(|connection| connection.id);
        let surplus_ids: Vec<_> =
            open.filter(|id| *id != chosen && !self.guests.has_stream_on(node, *id)).collect();
        if self.links.move_to(node, chosen) {
            ctx.effects.act(SwarmAction::RequestStream(node, chosen, LinkKind::Member));
        }
        for id in surplus_ids {
            self.begin_closing(node, id, ctx);
        }
    }

    fn begin_closing(&mut self, node: NodeId, id: ConnectionId, ctx: &mut DriverContext<'_>) {
        self.connections.mark_closing(node, id);
        ctx.effects.act(SwarmAction::CloseConnection(id));
    }

    /// Handles a stream that was opened, accepted or refused on a connection.
    pub(crate) fn on_stream(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        outcome: StreamOutcome,
        ctx: &mut DriverContext<'_>,
    ) {
        if !self.connections.open(node).any(|connection| connection.id == id) {
            return;
        }
        match outcome {
            StreamOutcome::Opened(LinkKind::Member, stream) => {
                if self.links.is_requested_on(node, id) && ctx.members.contains(node) {
                    self.start_link(node, id, stream, HelloRole::Opener, None);
                }
            }
            StreamOutcome::Opened(LinkKind::Guest, stream) => {
                if self.guests.is_opening(node) {
                    self.start_guest_stream(node, id, stream, HelloRole::Opener);
                }
            }
            StreamOutcome::Accepted(LinkKind::Member, stream) => self.on_link_accepted(node, id, stream, ctx),
            StreamOutcome::Accepted(LinkKind::Guest, stream) => {
                let addr = self.connections.get(node, id).map(|connection| &connection.addr);
                let source = addr.and_then(address::parse_dial_target).map(|target| target.socket.ip());
                // The opener notices the end of a stream that is not accepted.
                if source.is_some_and(|source| self.guests.is_acceptable(node, source, ctx.now)) {
                    self.start_guest_stream(node, id, stream, HelloRole::Acceptor);
                }
            }
            StreamOutcome::Failed(LinkKind::Member, is_unsupported) => {
                if self.links.on_request_failed(node, id, ctx.now) && is_unsupported {
                    let reason = LinkRefusal::UnsupportedVersion;
                    ctx.effects.report(NetEvent::LinkRefused { peer: node, reason });
                }
            }
            StreamOutcome::Failed(LinkKind::Guest, _) => {
                self.fail_guest_stream(node, GuestStreamError::Declined, ctx);
            }
        }
    }

    /// As follower: accepts the link that the leader opened. The leader chose its connection.
    fn on_link_accepted(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        stream: Stream,
        ctx: &mut DriverContext<'_>,
    ) {
        if ctx.members.leads(node) {
            tracing::debug!(peer = %node.short(), "link dropped: only the leader of a pair opens one");
            return;
        }
        let previous_connection = self.links.connection(node).filter(|previous| *previous != id);
        self.links.end(node, DownReason::Replaced);
        if ctx.members.contains(node) {
            self.start_link(node, id, stream, HelloRole::Acceptor, None);
        } else {
            let (release, released) = oneshot::channel();
            self.start_link(node, id, stream, HelloRole::HoldBack(released), Some(release));
        }
        // The leader no longer uses the connection of the earlier link, and may have lost it already.
        if let Some(previous) = previous_connection.filter(|id| !self.guests.has_stream_on(node, *id)) {
            self.begin_closing(node, previous, ctx);
        }
    }

    fn start_link(
        &mut self,
        peer: NodeId,
        id: ConnectionId,
        stream: Stream,
        hello_role: HelloRole,
        release: Option<oneshot::Sender<()>>,
    ) {
        let Some(connection) = self.connections.get(peer, id) else { return };
        let (predecessor, done_sender) = self.links.begin(peer);
        let new_stream = NewStream { peer, kind: LinkKind::Member, stream, hello_role };
        let mut handle = self.tasks.spawn(new_stream, connection, predecessor, done_sender);
        handle.release = release;
        self.links.set_open(peer, handle);
    }

    fn start_guest_stream(&mut self, peer: NodeId, id: ConnectionId, stream: Stream, hello_role: HelloRole) {
        let Some(connection) = self.connections.get(peer, id) else { return };
        let new_stream = NewStream { peer, kind: LinkKind::Guest, stream, hello_role };
        let handle = self.tasks.spawn(new_stream, connection, None, oneshot::channel().0);
        self.guests.add(peer, handle);
    }

    /// Handles a message of a link task. True if the link with a member has come up.
    pub(crate) fn on_link_msg(
        &mut self,
        msg: &LinkMsg,
        is_stopping: bool,
        ctx: &mut DriverContext<'_>,
    ) -> bool {
        let (peer, link) = (msg.peer, msg.link);
        let is_current = self.links.is_current(peer, link);
        match msg.status {
            LinkStatus::HeldByPeer => {
                ctx.effects.report(NetEvent::LinkRefused { peer, reason: LinkRefusal::NotAMember });
            }
            LinkStatus::Up => self.guests.on_up(peer, link),
            LinkStatus::Down(up_for) => {
                self.tasks.on_ended(peer);
                if is_current {
                    let is_opener = ctx.members.contains(peer) && ctx.members.leads(peer);
                    self.links.on_down(peer, up_for, is_opener && !is_stopping, ctx.now);
                }
                if let Some(ended) = self.guests.on_ended(peer, link) {
                    self.connections.mark_used(peer, ended.connection, ctx.now);
                    if ended.has_failed {
                        self.fail_guest_stream(peer, GuestStreamError::Declined, ctx);
                    }
                }
                self.close_marked_connections(peer, ctx);
            }
        }
        is_current && msg.status == LinkStatus::Up
    }

    /// Requests the guest stream on the existing connection.
    pub(crate) fn request_guest_stream(&mut self, node: NodeId, ctx: &mut DriverContext<'_>) {
        let Some(id) = self.connections.chosen(node) else { return };
        self.guests.begin_opening(node, ctx.now);
        ctx.effects.act(SwarmAction::RequestStream(node, id, LinkKind::Guest));
    }

    /// Ends the request of a guest stream and reports why.
    pub(crate) fn fail_guest_stream(
        &mut self,
        peer: NodeId,
        reason: GuestStreamError,
        ctx: &mut DriverContext<'_>,
    ) {
        if self.guests.fail(peer) {
            ctx.effects.report(NetEvent::GuestStreamFailed { peer, reason });
        }
    }

    /// When the next thing is due here.
    pub(crate) fn next_deadline(&self, members: &MemberSet) -> Option<Instant> {
        let idle = self.idle_deadlines(members).map(|(_, _, deadline)| deadline).min();
        [self.links.next_deadline(), self.guests.next_deadline(), idle].into_iter().flatten().min()
    }

    /// Opens due links again, fails guest streams that took too long, and closes idle connections.
    pub(crate) fn run_due(&mut self, ctx: &mut DriverContext<'_>) {
        for node in self.links.take_due(ctx.now) {
            self.reconcile_link(node, ctx);
        }
        for (node, reason) in self.guests.expired(ctx.now) {
            self.fail_guest_stream(node, reason, ctx);
        }
        let idle = self.idle_deadlines(ctx.members).filter(|(_, _, deadline)| *deadline <= ctx.now);
        for (node, id, _) in idle.collect::<Vec<_>>() {
            if self.links.connection(node) == Some(id) {
                self.links.end(node, DownReason::Removed);
            }
            self.begin_closing(node, id, ctx);
        }
    }

    /// The connections of non-members that carried no guest stream for too long. A held link does not count,
    /// or it would occupy a connection without end.
    fn idle_deadlines(&self, members: &MemberSet) -> impl Iterator<Item = (NodeId, ConnectionId, Instant)> {
        let is_exempt = move |node, id| members.contains(node) || self.guests.has_stream_on(node, id);
        self.connections.idle_deadlines(is_exempt)
    }

    /// True if nothing is open or requested with this node.
    pub(crate) fn is_unused(&self, node: NodeId) -> bool {
        !self.connections.has_any(node) && !self.tasks.is_running(node) && self.guests.is_unused(node)
    }

    /// Forgets the non-members with which nothing is open or requested.
    pub(crate) fn forget_unused(&mut self, members: &MemberSet) {
        let Self { connections, guests, links, tasks } = self;
        let is_open =
            |node: NodeId| members.contains(node) || connections.has_any(node) || tasks.is_running(node);
        links.retain(is_open);
        guests.retain(is_open);
    }

    /// Ends all links and guest streams, because the network shuts down.
    pub(crate) fn shut_down(&mut self) {
        self.links.shut_down();
        self.guests.shut_down();
    }

    /// True while a link task runs.
    pub(crate) fn has_running_tasks(&self) -> bool {
        !self.tasks.is_idle()
    }
}
