//! Opens, queues and accepts guest streams.

use std::sync::Arc;
use std::time::Instant;

use larder_core::id::NodeId;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::sync::oneshot;

use crate::admission::rate_limit::{self, RateLimit};
use crate::driver::Driver;
use crate::event::{DownReason, GuestStreamError, LinkId, LinkKind, NetEvent};
use crate::link::hello::HelloRole;
use crate::peer::{OutgoingGuestState, StreamHandle};
use crate::{address, limits};

impl Driver {
    /// Opens a guest stream to `node` for the daemon, or queues the request.
    pub(super) fn open_guest_stream(&mut self, node: NodeId, now: Instant) {
        let is_full = self.outgoing_guest_stream_count() >= limits::MAX_OUTGOING_GUEST_STREAMS;
        let known_peer = self.peers.get(&node);
        match known_peer.map_or(OutgoingGuestState::None, |peer| peer.outgoing_guest) {
            OutgoingGuestState::Dialing(_) | OutgoingGuestState::Opening(_) => return,
            OutgoingGuestState::Open(_) => {
                return self.report_guest_stream_failed(node, GuestStreamError::Busy);
            }
            OutgoingGuestState::None if is_full => return self.queue_guest_stream(node),
            OutgoingGuestState::None => {}
        }
        let is_connected = known_peer.is_some_and(|peer| peer.is_connected());
        if node == self.local_node || (!is_connected && self.address_book.addresses_of(node).is_empty()) {
            return self.report_guest_stream_failed(node, GuestStreamError::NoAddress);
        }
        let Some(peer) = self.peer_or_insert(node, now) else { return };
        peer.outgoing_guest = OutgoingGuestState::Dialing(now + limits::GUEST_STREAM_SETUP_TIMEOUT);
        if is_connected {
            self.request_guest_stream(node, now);
        } else if peer.dial.in_flight().is_none() {
            peer.dial.plan_no_later_than(now);
        }
    }

    fn outgoing_guest_stream_count(&self) -> usize {
        self.peers.values().filter(|peer| peer.outgoing_guest != OutgoingGuestState::None).count()
    }

    /// Queues a request. The order is first come, first served, and a repeated request keeps its place, so no
    /// node starves another.
    fn queue_guest_stream(&mut self, node: NodeId) {
        if self.waiting_guest_streams.contains(&node) {
            return;
        }
        if self.waiting_guest_streams.len() >= limits::MAX_WAITING_GUEST_STREAMS {
            self.limit_stats.record("outgoing guest streams that wait", limits::MAX_WAITING_GUEST_STREAMS);
            return self.report_guest_stream_failed(node, GuestStreamError::Busy);
        }
        self.waiting_guest_streams.push_back(node);
    }

    /// Returns the outgoing guest streams, without queued requests.
    fn outgoing_guest_streams(&self) -> impl Iterator<Item = &StreamHandle> {
        self.peers.values().flat_map(|peer| &peer.guest_streams).filter(|handle| handle.is_opened_here)
    }

    /// When a silent outgoing stream must make room, if a request waits.
    pub(super) fn next_guest_slot_at(&self) -> Option<Instant> {
        if self.waiting_guest_streams.is_empty() {
            return None;
        }
        let silent_since = self.outgoing_guest_streams().filter_map(|handle| handle.queue.silent_since());
        silent_since.min().map(|since| since + limits::GUEST_FIRST_FRAME_TIMEOUT)
    }

    /// Opens waiting guest streams while there is room, and ends silent ones for the rest.
    pub(super) fn start_waiting_guest_streams(&mut self, now: Instant) {
        while !self.waiting_guest_streams.is_empty()
            && self.outgoing_guest_stream_count() < limits::MAX_OUTGOING_GUEST_STREAMS
        {
            self.waiting_guest_streams
                .pop_front()
                .into_iter()
                .for_each(|node| self.open_guest_stream(node, now));
        }
        if self.waiting_guest_streams.is_empty() {
            return;
        }
        let ending_count = self.outgoing_guest_streams().filter(|handle| handle.queue.is_ending()).count();
        let is_timed_out = |since: &Instant| *since + limits::GUEST_FIRST_FRAME_TIMEOUT <= now;
        let silent_streams = self
            .outgoing_guest_streams()
            .filter(|handle| handle.queue.silent_since().as_ref().is_some_and(is_timed_out));
        for handle in silent_streams.take(self.waiting_guest_streams.len().saturating_sub(ending_count)) {
            handle.queue.end_link(DownReason::Silent);
        }
    }

    fn report_guest_stream_failed(&mut self, peer: NodeId, reason: GuestStreamError) {
        self.event_backlog.push(NetEvent::GuestStreamFailed { peer, reason });
    }

    /// Requests the guest stream on the existing connection.
    pub(super) fn request_guest_stream(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(id) = peer.chosen_connection().map(|connection| connection.id) else { return };
        peer.outgoing_guest = OutgoingGuestState::Opening(now + limits::GUEST_STREAM_SETUP_TIMEOUT);
        self.swarm.behaviour_mut().streams.request_stream(peer.peer_id, id, LinkKind::Guest);
    }

    pub(super) fn on_guest_stream_opened(&mut self, node: NodeId, id: ConnectionId, stream: Stream) {
        if self
            .peers
            .get(&node)
            .is_some_and(|peer| matches!(peer.outgoing_guest, OutgoingGuestState::Opening(_)))
        {
            self.spawn_guest_link(node, id, stream, HelloRole::Opener);
        }
    }

    /// Reports that the requested guest stream failed.
    pub(super) fn fail_guest_stream(&mut self, node: NodeId, reason: GuestStreamError) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if matches!(peer.outgoing_guest, OutgoingGuestState::Dialing(_) | OutgoingGuestState::Opening(_)) {
            peer.outgoing_guest = OutgoingGuestState::None;
            self.report_guest_stream_failed(node, reason);
            self.forget_if_unused(node);
        }
    }

    /// Accepts a guest stream within the limits. Otherwise drops it, which its opener notices.
    pub(super) fn on_guest_stream_accepted(
        &mut self,
        node: NodeId,
        id: ConnectionId,
        stream: Stream,
        now: Instant,
    ) {
        let count_incoming =
            |streams: &[StreamHandle]| streams.iter().filter(|handle| !handle.is_opened_here).count();
        let incoming_count: usize = self.peers.values().map(|peer| count_incoming(&peer.guest_streams)).sum();
        let Some(peer) = self.peers.get(&node) else { return };
        let source = peer.connection(id).and_then(|connection| address::parse_dial_target(&connection.addr));
        let Some(source) = source.map(|target| rate_limit::source_key(target.socket.ip())) else { return };
        let rate_per_node = RateLimit {
            burst: limits::GUEST_STREAM_BURST_PER_KEY,
            refill: limits::GUEST_STREAM_REFILL_INTERVAL,
        };
        let rate_per_source = RateLimit {
            burst: limits::GUEST_STREAM_BURST_PER_SOURCE,
            refill: limits::GUEST_STREAM_REFILL_INTERVAL,
        };
        let exceeded = if incoming_count >= limits::MAX_INCOMING_GUEST_STREAMS {
            Some(("incoming guest streams at once", limits::MAX_INCOMING_GUEST_STREAMS))
        } else if count_incoming(&peer.guest_streams) > 0 {
            Some(("incoming guest streams of one key at once", 1))
        } else if !self.guest_rate_by_node.try_take(node, rate_per_node, now) {
            Some(("incoming guest streams of one key in a row", limits::GUEST_STREAM_BURST_PER_KEY as usize))
        } else if !self.guest_rate_by_source.try_take(source, rate_per_source, now) {
            Some((
                "incoming guest streams from one address in a row",
                limits::GUEST_STREAM_BURST_PER_SOURCE as usize,
            ))
        } else {
            None
        };
        match exceeded {
            None => self.spawn_guest_link(node, id, stream, HelloRole::Acceptor),
            Some((subject, limit)) => {
                self.limit_stats.record(subject, limit);
                tracing::debug!(peer = %node.short(), %source, "guest stream declined: too many {subject}");
            }
        }
    }

    fn spawn_guest_link(&mut self, node: NodeId, id: ConnectionId, stream: Stream, hello_role: HelloRole) {
        let is_opened_here = matches!(hello_role, HelloRole::Opener);
        let Some(task) = self.new_link_task(node, id, LinkKind::Guest, is_opened_here) else { return };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let queue = Arc::clone(&task.queue);
        peer.guest_streams.push(StreamHandle {
            link: task.link,
            connection: id,
            queue,
            is_opened_here,
            release: None,
        });
        peer.running_link_tasks += 1;
        tokio::spawn(task.run(stream, hello_role, oneshot::channel().0));
    }

    /// Forgets the guest stream `link` after its task has ended.
    pub(super) fn on_guest_stream_ended(&mut self, node: NodeId, link: LinkId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(index) = peer.guest_streams.iter().position(|handle| handle.link == link) else { return };
        let handle = peer.guest_streams.remove(index);
        if let Some(connection) = peer.connection_mut(handle.connection) {
            connection.last_used_at = now;
        }
        if !handle.is_opened_here {
            return;
        }
        match peer.outgoing_guest {
            OutgoingGuestState::Open(_) => peer.outgoing_guest = OutgoingGuestState::None,
            OutgoingGuestState::Opening(_) => self.fail_guest_stream(node, GuestStreamError::Declined),
            OutgoingGuestState::Dialing(_) | OutgoingGuestState::None => {}
        }
    }
}
