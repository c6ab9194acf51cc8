//! The guest streams of all peers: requested, waiting, incoming, and their limits. Pure: the caller passes
//! the time and starts the link tasks.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use larder_core::id::NodeId;
use larder_core::rate_limiter::{KeyedRateLimiter, RateLimit};
use libp2p::swarm::ConnectionId;

use crate::address::source_key;
use crate::event::{DownReason, GuestStreamError, LinkId};
use crate::limit_stats::SharedLimitStats;
use crate::limits;
use crate::link::link_tasks::StreamHandle;

/// The state of the guest stream that the daemon requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OutgoingGuestState {
    #[default]
    None,
    /// Waits for a connection until this time.
    Dialing(Instant),
    /// Waits for the accepted stream until this time.
    Opening(Instant),
    Open(LinkId),
}

#[derive(Default)]
struct PeerGuests {
    outgoing: OutgoingGuestState,
    /// The guest streams that are open or opening.
    streams: Vec<StreamHandle>,
}

impl PeerGuests {
    fn incoming_count(&self) -> usize {
        self.streams.iter().filter(|handle| !handle.is_opened_here).count()
    }

    /// When the requested stream has failed, and why, if it does not open before.
    fn setup_deadline(&self) -> Option<(Instant, GuestStreamError)> {
        match self.outgoing {
            OutgoingGuestState::Dialing(deadline) => Some((deadline, GuestStreamError::Unreachable)),
            OutgoingGuestState::Opening(deadline) => Some((deadline, GuestStreamError::Declined)),
            OutgoingGuestState::None | OutgoingGuestState::Open(_) => None,
        }
    }
}

/// A guest stream that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EndedGuestStream {
    pub(crate) connection: ConnectionId,
    /// True if it was requested and never came up.
    pub(crate) has_failed: bool,
}

/// The guest streams of all peers.
pub(crate) struct GuestStreams {
    peers: BTreeMap<NodeId, PeerGuests>,
    /// Nodes to open a guest stream to as soon as fewer outgoing ones are open.
    waiting: VecDeque<NodeId>,
    rate_by_node: KeyedRateLimiter<NodeId, Instant>,
    rate_by_source: KeyedRateLimiter<IpAddr, Instant>,
    limit_stats: SharedLimitStats,
}

impl GuestStreams {
    /// Creates the table without streams; it counts declined ones in `limit_stats`.
    pub(crate) fn new(limit_stats: SharedLimitStats) -> Self {
        Self {
            peers: BTreeMap::new(),
            waiting: VecDeque::new(),
            rate_by_node: KeyedRateLimiter::new(limits::MAX_RATE_LIMITED_SOURCES),
            rate_by_source: KeyedRateLimiter::new(limits::MAX_RATE_LIMITED_SOURCES),
            limit_stats,
        }
    }

    /// Requests a guest stream for the daemon. True if it is to be opened now; false if it waits, or if it
    /// is on its way already. `is_reachable` is true if the node is connected or has an address.
    pub(crate) fn request(
        &mut self,
        node: NodeId,
        is_reachable: bool,
        now: Instant,
    ) -> Result<bool, GuestStreamError> {
        match self.outgoing(node) {
            OutgoingGuestState::Dialing(_) | OutgoingGuestState::Opening(_) => Ok(false),
            OutgoingGuestState::Open(_) => Err(GuestStreamError::Busy),
            OutgoingGuestState::None if self.is_full() => self.queue(node).map(|()| false),
            OutgoingGuestState::None if !is_reachable => Err(GuestStreamError::NoAddress),
            OutgoingGuestState::None => {
                let deadline = now + limits::GUEST_STREAM_SETUP_TIMEOUT;
                self.peers.entry(node).or_default().outgoing = OutgoingGuestState::Dialing(deadline);
                Ok(true)
            }
        }
    }

    /// Queues a request. The order is first come, first served, and a repeated request keeps its place, so no
    /// node starves another.
    fn queue(&mut self, node: NodeId) -> Result<(), GuestStreamError> {
        if self.waiting.contains(&node) {
            return Ok(());
        }
        if self.waiting.len() >= limits::MAX_WAITING_GUEST_STREAMS {
            self.limit_stats.record("outgoing guest streams that wait", limits::MAX_WAITING_GUEST_STREAMS);
            return Err(GuestStreamError::Busy);
        }
        self.waiting.push_back(node);
        Ok(())
    }

    /// Takes the next waiting request that can be opened now.
    pub(crate) fn pop_waiting(&mut self) -> Option<NodeId> {
        if self.is_full() { None } else { self.waiting.pop_front() }
    }

    /// True if a requested stream waits for a connection.
    pub(crate) fn is_dialing(&self, node: NodeId) -> bool {
        matches!(self.outgoing(node), OutgoingGuestState::Dialing(_))
    }

    /// True if a requested stream waits for its acceptance.
    pub(crate) fn is_opening(&self, node: NodeId) -> bool {
        matches!(self.outgoing(node), OutgoingGuestState::Opening(_))
    }

    /// Records that the stream was requested on a connection.
    pub(crate) fn begin_opening(&mut self, node: NodeId, now: Instant) {
        let deadline = now + limits::GUEST_STREAM_SETUP_TIMEOUT;
        self.peers.entry(node).or_default().outgoing = OutgoingGuestState::Opening(deadline);
    }

    /// Ends the request of a stream that is not open yet; false if there is none.
    pub(crate) fn fail(&mut self, node: NodeId) -> bool {
        let failed = self.peers.get_mut(&node).filter(|guests| guests.setup_deadline().is_some());
        failed.map(|guests| guests.outgoing = OutgoingGuestState::None).is_some()
    }

    /// The requested streams that did not open in time, with the reason.
    pub(crate) fn expired(&self, now: Instant) -> Vec<(NodeId, GuestStreamError)> {
        let setups = self.peers.iter().filter_map(|(node, guests)| Some((*node, guests.setup_deadline()?)));
        setups.filter(|(_, (due, _))| *due <= now).map(|(node, (_, reason))| (node, reason)).collect()
    }

    /// Decides whether an incoming stream is within the limits. A declined one is counted.
    pub(crate) fn is_acceptable(&mut self, node: NodeId, source: IpAddr, now: Instant) -> bool {
        let exceeded = self.exceeded_limit(node, source_key(source), now);
        if let Some((subject, limit)) = exceeded {
            self.limit_stats.record(subject, limit);
            tracing::debug!(peer = %node.short(), %source, "guest stream declined: too many {subject}");
        }
        exceeded.is_none()
    }

    fn exceeded_limit(
        &mut self,
        node: NodeId,
        source: IpAddr,
        now: Instant,
    ) -> Option<(&'static str, usize)> {
        let refill = limits::GUEST_STREAM_REFILL_INTERVAL;
        let rate_by_node = RateLimit { burst: limits::GUEST_STREAM_BURST_PER_KEY, refill };
        let rate_by_source = RateLimit { burst: limits::GUEST_STREAM_BURST_PER_SOURCE, refill };
        let incoming_count: usize = self.peers.values().map(PeerGuests::incoming_count).sum();
        if incoming_count >= limits::MAX_INCOMING_GUEST_STREAMS {
            Some(("incoming guest streams at once", limits::MAX_INCOMING_GUEST_STREAMS))
        } else if self.peers.get(&node).is_some_and(|guests| guests.incoming_count() > 0) {
            Some(("incoming guest streams of one key at once", 1))
        } else if !self.rate_by_node.try_take(node, rate_by_node, now) {
            Some(("incoming guest streams of one key in a row", limits::GUEST_STREAM_BURST_PER_KEY as usize))
        } else if !self.rate_by_source.try_take(source, rate_by_source, now) {
            let limit = limits::GUEST_STREAM_BURST_PER_SOURCE as usize;
            Some(("incoming guest streams from one address in a row", limit))
        } else {
            None
        }
    }

    /// Adds a stream whose task was started.
    pub(crate) fn add(&mut self, node: NodeId, handle: StreamHandle) {
        self.peers.entry(node).or_default().streams.push(handle);
    }

    /// Records that a stream is up.
    pub(crate) fn on_up(&mut self, node: NodeId, link: LinkId) {
        if let Some(guests) = self.peers.get_mut(&node)
            && guests.streams.iter().any(|handle| handle.link == link && handle.is_opened_here)
        {
            guests.outgoing = OutgoingGuestState::Open(link);
        }
    }

    /// Forgets a stream after its task has ended.
    pub(crate) fn on_ended(&mut self, node: NodeId, link: LinkId) -> Option<EndedGuestStream> {
        let guests = self.peers.get_mut(&node)?;
        let index = guests.streams.iter().position(|handle| handle.link == link)?;
        let handle = guests.streams.remove(index);
        let mut ended = EndedGuestStream { connection: handle.connection, has_failed: false };
        if handle.is_opened_here {
            match guests.outgoing {
                OutgoingGuestState::Open(_) => guests.outgoing = OutgoingGuestState::None,
                OutgoingGuestState::Opening(_) => ended.has_failed = true,
                OutgoingGuestState::Dialing(_) | OutgoingGuestState::None => {}
            }
        }
        Some(ended)
    }

    /// True while a guest stream uses the connection.
    pub(crate) fn has_stream_on(&self, node: NodeId, id: ConnectionId) -> bool {
        self.peers.get(&node).is_some_and(|guests| guests.streams.iter().any(|h| h.connection == id))
    }

    /// Ends the streams of a connection that this node closed. Yamux does not wake their readers; those of a
    /// broken connection wake by themselves and read what has arrived.
    pub(crate) fn on_connection_closed_here(&mut self, node: NodeId, id: ConnectionId) {
        let streams = self.peers.get(&node).into_iter().flat_map(|guests| &guests.streams);
        streams.filter(|h| h.connection == id).for_each(|h| h.queue.end_link(DownReason::Lost));
    }

    /// Ends all streams of a node that is no longer a member.
    pub(crate) fn end_all(&mut self, node: NodeId, reason: DownReason) {
        let streams = self.peers.get(&node).into_iter().flat_map(|guests| &guests.streams);
        streams.for_each(|handle| handle.queue.end_link(reason));
    }

    /// Ends all streams, because the network shuts down.
    pub(crate) fn shut_down(&mut self) {
        self.all_streams().for_each(|handle| handle.queue.end_link(DownReason::Shutdown));
    }

    /// When a requested stream fails, or a silent one must make room for a request that waits.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let setup_deadlines = self.peers.values().filter_map(|guests| Some(guests.setup_deadline()?.0));
        let silent_since = self.outgoing_streams().filter_map(|handle| handle.queue.silent_since());
        let slot_deadline = silent_since.map(|since| since + limits::GUEST_FIRST_FRAME_TIMEOUT).min();
        setup_deadlines.chain(slot_deadline.filter(|_| !self.waiting.is_empty())).min()
    }

    /// Ends as many silent streams as requests wait.
    pub(crate) fn end_silent(&mut self, now: Instant) {
        let ending_count = self.outgoing_streams().filter(|handle| handle.queue.is_ending()).count();
        let is_timed_out = |since: Instant| since + limits::GUEST_FIRST_FRAME_TIMEOUT <= now;
        let silent_streams =
            self.outgoing_streams().filter(|handle| handle.queue.silent_since().is_some_and(is_timed_out));
        for handle in silent_streams.take(self.waiting.len().saturating_sub(ending_count)) {
            handle.queue.end_link(DownReason::Silent);
        }
    }

    /// True if the daemon has no request to this node in progress.
    pub(crate) fn is_unused(&self, node: NodeId) -> bool {
        self.outgoing(node) == OutgoingGuestState::None
    }

    /// Forgets the nodes that are no longer used and to which the daemon has no request in progress.
    pub(crate) fn retain(&mut self, is_used: impl Fn(NodeId) -> bool) {
        self.peers.retain(|node, guests| guests.outgoing != OutgoingGuestState::None || is_used(*node));
    }

    fn outgoing(&self, node: NodeId) -> OutgoingGuestState {
        self.peers.get(&node).map(|guests| guests.outgoing).unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        let is_outgoing = |guests: &&PeerGuests| guests.outgoing != OutgoingGuestState::None;
        self.peers.values().filter(is_outgoing).count() >= limits::MAX_OUTGOING_GUEST_STREAMS
    }

    fn all_streams(&self) -> impl Iterator<Item = &StreamHandle> {
        self.peers.values().flat_map(|guests| &guests.streams)
    }

    /// The outgoing guest streams, without waiting requests.
    fn outgoing_streams(&self) -> impl Iterator<Item = &StreamHandle> {
        self.all_streams().filter(|handle| handle.is_opened_here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LinkKind;

    fn node(seed: usize) -> NodeId {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        NodeId(bytes)
    }

    fn handle(link: usize, is_opened_here: bool) -> StreamHandle {
        let id = ConnectionId::new_unchecked(link);
        StreamHandle::new(LinkId(link as u64), id, LinkKind::Guest, is_opened_here)
    }

    /// A table whose outgoing streams are all in use, by the nodes 0, 1, …
    fn full_table(now: Instant) -> GuestStreams {
        let mut guests = GuestStreams::new(SharedLimitStats::default());
        for seed in 0..limits::MAX_OUTGOING_GUEST_STREAMS {
            assert_eq!(guests.request(node(seed), true, now), Ok(true));
            guests.begin_opening(node(seed), now);
            guests.add(node(seed), handle(seed, true));
            guests.on_up(node(seed), LinkId(seed as u64));
        }
        guests
    }

    #[test]
    fn a_request_that_does_not_open_in_time_expires_with_the_reason() {
        let (mut guests, now) = (GuestStreams::new(SharedLimitStats::default()), Instant::now());
        assert_eq!(guests.request(node(1), false, now), Err(GuestStreamError::NoAddress));
        assert_eq!(guests.request(node(1), true, now), Ok(true));
        assert_eq!(guests.request(node(1), true, now), Ok(false), "it is on its way");
        assert_eq!(guests.request(node(2), true, now), Ok(true));
        guests.begin_opening(node(2), now);
        let deadline = now + limits::GUEST_STREAM_SETUP_TIMEOUT;
        assert_eq!(guests.next_deadline(), Some(deadline));
        assert!(guests.expired(now).is_empty());
        let expired = [(node(1), GuestStreamError::Unreachable), (node(2), GuestStreamError::Declined)];
        assert_eq!(guests.expired(deadline), expired);
        assert!(guests.fail(node(1)) && !guests.fail(node(1)));
        assert!(guests.is_unused(node(1)) && !guests.is_unused(node(2)));
    }

    #[test]
    fn requests_beyond_the_limit_wait_in_order_until_a_silent_stream_ends() {
        let now = Instant::now();
        let mut guests = full_table(now);
        let slot_deadline = now + 2 * limits::GUEST_FIRST_FRAME_TIMEOUT;
        guests.end_silent(slot_deadline);
        assert!(!guests.all_streams().any(|handle| handle.queue.is_ending()), "no request waits");
        assert_eq!(guests.request(node(900), true, now), Ok(false));
        assert_eq!(guests.request(node(901), true, now), Ok(false));
        assert_eq!(guests.request(node(900), true, now), Ok(false), "it keeps its position");
        assert_eq!(guests.pop_waiting(), None);
        guests.end_silent(slot_deadline);
        guests.end_silent(slot_deadline);
        let ending: Vec<_> = guests.all_streams().filter(|h| h.queue.is_ending()).map(|h| h.link).collect();
        assert_eq!(ending.len(), 2, "as many end as wait");
        let connection = ConnectionId::new_unchecked(usize::try_from(ending[0].0).unwrap());
        let ended = guests.on_ended(node(connection_number(ending[0])), ending[0]);
        assert_eq!(ended, Some(EndedGuestStream { connection, has_failed: false }));
        assert_eq!(guests.pop_waiting(), Some(node(900)));
    }

    fn connection_number(link: LinkId) -> usize {
        usize::try_from(link.0).unwrap()
    }

    #[test]
    fn the_number_of_waiting_requests_is_bounded() {
        let now = Instant::now();
        let mut guests = full_table(now);
        for seed in 0..limits::MAX_WAITING_GUEST_STREAMS {
            assert_eq!(guests.request(node(1000 + seed), true, now), Ok(false));
        }
        assert_eq!(guests.request(node(9999), true, now), Err(GuestStreamError::Busy));
        assert_eq!(guests.limit_stats.take().iter().count(), 1);
    }

    #[test]
    fn incoming_streams_are_limited_for_each_key_and_in_total() {
        let (mut guests, now) = (GuestStreams::new(SharedLimitStats::default()), Instant::now());
        let source = |number: usize| IpAddr::from([10, 0, 0, u8::try_from(number).unwrap()]);
        for seed in 0..limits::MAX_INCOMING_GUEST_STREAMS {
            assert!(guests.is_acceptable(node(seed), source(seed), now));
            guests.add(node(seed), handle(seed, false));
            assert!(!guests.is_acceptable(node(seed), source(seed), now), "one at a time");
        }
        assert!(!guests.is_acceptable(node(99), source(99), now), "too many in total");
        guests.on_ended(node(0), LinkId(0));
        let burst = limits::GUEST_STREAM_BURST_PER_KEY - 1;
        assert!((0..burst).all(|_| guests.is_acceptable(node(0), source(0), now)));
        assert!(!guests.is_acceptable(node(0), source(0), now), "too many in a row");
    }

    #[test]
    fn a_stream_that_ends_before_it_is_up_has_failed() {
        let (mut guests, now) = (GuestStreams::new(SharedLimitStats::default()), Instant::now());
        guests.request(node(1), true, now).unwrap();
        guests.begin_opening(node(1), now);
        guests.add(node(1), handle(5, true));
        assert!(guests.has_stream_on(node(1), ConnectionId::new_unchecked(5)));
        assert!(guests.on_ended(node(1), LinkId(5)).unwrap().has_failed);
        assert!(guests.fail(node(1)) && guests.on_ended(node(1), LinkId(5)).is_none());
    }
}
