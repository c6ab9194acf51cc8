//! All limits of the network, with their reasons.
//!
//! "Measured" means: on two cores, with network namespaces as hosts, and libp2p 0.57.1.

use std::time::Duration;

// --- Addresses -------------------------------------------------------------------------------------------

/// The default TCP port. If it is taken, the node uses a free one.
pub const DEFAULT_TCP_PORT: u16 = 7440;

/// Addresses stored and dialed for one node, newest first. Four are dialed at once. With ten addresses, nine
/// of them dead, a dial took 3 s (measured).
pub const MAX_ADDRESSES_PER_NODE: usize = 4;

/// The time for which a discovered address is kept beside a newer one. A node with two interfaces is
/// discovered at both again and again. An address without discovery for longer is outdated, by DHCP or a
/// restart.
pub const DISCOVERED_ADDRESS_LIFETIME: Duration = Duration::from_secs(45);

/// The time for which loopback must be the only address before it is reported. Interfaces are listed one by
/// one, loopback first.
pub const LOOPBACK_REPORT_DELAY: Duration = Duration::from_millis(100);

/// Non-members in the address book. Anyone on the LAN can invent keys, so the node without discovery for the
/// longest time is evicted first.
pub const MAX_NON_MEMBERS_IN_ADDRESS_BOOK: usize = 1024;

/// Peer addresses that the operator can configure (`peers`).
pub const MAX_STATIC_PEERS: usize = 64;

/// The time for which a node without discovery counts as known. After that, its next beacon is answered like
/// that of a new node.
pub const NEWCOMER_AFTER_SILENCE: Duration = Duration::from_secs(60);

/// Minimum interval between two `NodeDiscovered` events of one node that is known and unchanged.
pub const DISCOVERED_EVENT_INTERVAL: Duration = Duration::from_secs(10);

/// Minimum interval between two `NodeDiscovered` events of one node, even if its addresses change: a forger
/// of beacons chooses addresses freely.
pub const CHANGED_ADDRESS_EVENT_INTERVAL: Duration = Duration::from_millis(500);

// --- Beacon and mDNS -------------------------------------------------------------------------------------

/// The multicast group of the beacon, in the site-local block (RFC 2365), which is not routed off the site.
pub const BEACON_MULTICAST_GROUP: std::net::Ipv4Addr = std::net::Ipv4Addr::new(239, 255, 74, 40);

/// The UDP port of the beacon.
pub const BEACON_UDP_PORT: u16 = 7440;

/// Minimum interval between two beacons of this node, whatever causes them.
pub const MIN_BEACON_INTERVAL: Duration = Duration::from_millis(40);

/// Maximum random delay of an answer to a beacon, so that thirty hosts do not answer at the same moment.
pub const MAX_BEACON_REPLY_DELAY: Duration = Duration::from_millis(10);

/// Extra beacons after an interface appeared or regained its carrier, [`BEACON_INTERVAL_WHILE_MISSING`]
/// apart. Multicast is unreliable, and a lost first beacon would cost a whole
/// [`MIN_BEACON_INTERVAL_WHILE_COMPLETE`].
pub const BEACON_BURST_COUNT: u8 = 4;

/// Beacon interval while a member is missing.
pub const BEACON_INTERVAL_WHILE_MISSING: Duration = Duration::from_millis(250);

/// The beacon interval is at least this times the number of members, so that a group of any size sends about
/// 20 beacons a second.
pub const BEACON_INTERVAL_PER_HOST: Duration = Duration::from_millis(50);

/// Beacon interval while all missing members have been missing for [`LONG_MISSING_AFTER`], such as hosts that
/// are switched off.
pub const BEACON_INTERVAL_WHILE_LONG_MISSING: Duration = Duration::from_secs(1);

/// Minimum of [`BEACON_INTERVAL_WHILE_LONG_MISSING`] per member; see [`BEACON_INTERVAL_PER_HOST`].
pub const BEACON_INTERVAL_PER_HOST_WHILE_LONG_MISSING: Duration = Duration::from_millis(100);

/// Time after which a missing member counts as missing for long.
pub const LONG_MISSING_AFTER: Duration = Duration::from_secs(3600);

/// First beacon interval while no member is missing, and of a node without a group. It doubles with each
/// beacon up to [`MAX_BEACON_INTERVAL_WHILE_COMPLETE`], until something changes. This is the only regular
/// wake-up of an idle lone node. With its variation of a tenth it is always longer than five seconds. Each
/// costs four returns of `epoll_wait` (measured): three of the timer, one for the own packet.
pub const MIN_BEACON_INTERVAL_WHILE_COMPLETE: Duration = Duration::from_secs(6);

/// Maximum beacon interval while no member is missing. A node that lost the beacons of a new node, and whose
/// beacons at its own start were lost too, is discovered this late. It is below
/// [`DISCOVERED_ADDRESS_LIFETIME`], so that a node with two interfaces keeps both addresses.
pub const MAX_BEACON_INTERVAL_WHILE_COMPLETE: Duration = Duration::from_secs(20);
const _: () =
    assert!(MAX_BEACON_INTERVAL_WHILE_COMPLETE.as_secs() * 2 < DISCOVERED_ADDRESS_LIFETIME.as_secs());

/// Beacons per second accepted from one source address, which several nodes may share. One costs about 45 us
/// (measured).
pub const MAX_BEACONS_PER_SOURCE_PER_SECOND: u32 = 50;

/// Beacons per second accepted in total: 2 % of a core under a flood from invented addresses.
pub const MAX_BEACONS_PER_SECOND: u32 = 400;

/// Beacons that wait between the sockets and the driver. More are dropped, because another follows.
pub const BEACON_CHANNEL_CAPACITY: usize = 64;

/// Interfaces on which beacons are sent.
pub const MAX_BEACON_INTERFACES: usize = 16;

/// Interfaces whose carrier is watched; containers create hundreds.
pub const MAX_WATCHED_INTERFACES: usize = 1024;

/// mDNS records after which mDNS is paused. libp2p-mdns has no limit of its own, and anyone on the LAN can
/// answer with invented keys.
pub const MAX_MDNS_RECORDS: usize = 4096;

/// The pause of mDNS after [`MAX_MDNS_RECORDS`] is reached. The beacon continues.
pub const MDNS_FLOOD_PAUSE: Duration = Duration::from_secs(600);

/// Sources in one rate limiter. The one closest to a full bucket is evicted first.
pub const MAX_RATE_LIMITED_SOURCES: usize = 1024;

// --- Connections -----------------------------------------------------------------------------------------

/// Maximum duration of an inbound handshake (Noise, Yamux). A silent connection uses memory until then.
pub const INBOUND_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Timeout of a dial. The kernel repeats a SYN lost in a partition only after 1, 2 and 4 s, so a failing dial
/// must not outlive the partition for long.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout of a dial after [`SHORT_DIAL_ATTEMPTS`] failures in a row: a handshake over a slow line takes more
/// than a second.
pub const LONG_DIAL_TIMEOUT: Duration = Duration::from_secs(4);

/// Dials in a row that use [`DIAL_TIMEOUT`].
pub const SHORT_DIAL_ATTEMPTS: u32 = 3;

/// Delay after the first failed dial. It doubles with every further failure.
pub const MIN_REDIAL_DELAY: Duration = Duration::from_millis(250);

/// Maximum delay between dials of a peer that is not discovered.
pub const MAX_REDIAL_DELAY: Duration = Duration::from_secs(30);

/// Age at which a dial in progress is replaced when its peer is discovered. On a LAN a successful dial takes
/// 5 ms (measured). Without this, reconnection takes 1.2 s instead of 0.33 s.
pub const STALE_DIAL_AGE: Duration = Duration::from_millis(200);

/// Minimum interval between two dials of one peer that beacons cause, because beacons are easily forged.
pub const MIN_DIAL_INTERVAL: Duration = Duration::from_millis(100);

/// The time that the follower of a pair waits before it dials addresses that the leader may not know.
pub const LEADER_HEAD_START: Duration = Duration::from_millis(150);

/// The time that the follower of a pair waits before it dials discovered addresses. The leader has then
/// discovered this node too.
pub const DISCOVERED_LEADER_HEAD_START: Duration = Duration::from_secs(1);

/// Dials in progress at the same time.
pub const MAX_DIALS_IN_FLIGHT: usize = 64;

/// Maximum age difference of two connections of a pair that come from simultaneous dials. After a later
/// connection, the peer has lost the older one.
pub const SIMULTANEOUS_DIAL_INTERVAL: Duration = Duration::from_secs(3);

/// Connections in total. A full mesh of 260 members meets the memory goal; the rest is room for duplicates.
pub const MAX_CONNECTIONS: usize = 1024;

/// Connections from one key. This is well above what simultaneous dials and stale connections need. A limit
/// of one ends half of all simultaneous dials without a connection (measured).
pub const MAX_CONNECTIONS_PER_KEY: usize = 16;

/// Inbound connections in the handshake.
pub const MAX_PENDING_HANDSHAKES: usize = 128;

/// Inbound connections in the handshake from one source address.
pub const MAX_PENDING_HANDSHAKES_PER_SOURCE: usize = 32;

/// Inbound connections per second from one source address (IPv6: one /64) before Noise. Denying one costs
/// 0.06 ms, a handshake 0.5 ms (measured).
pub const MAX_INBOUND_PER_SOURCE_PER_SECOND: u32 = 10;

/// Inbound connections at once from one source address; [`MAX_INBOUND_PER_SOURCE_PER_SECOND`] refills them.
pub const MAX_INBOUND_BURST_PER_SOURCE: u32 = 32;

/// Factor by which source addresses of members exceed [`MAX_INBOUND_PER_SOURCE_PER_SECOND`] and
/// [`MAX_INBOUND_BURST_PER_SOURCE`], so that a hostile program on a host of a member does not lock the member
/// out.
pub const MEMBER_ADDRESS_RATE_FACTOR: u32 = 4;

/// Inbound connections of non-members.
pub const MAX_NON_MEMBER_CONNECTIONS: usize = 24;

/// Inbound connections of non-members from one source address.
pub const MAX_NON_MEMBER_CONNECTIONS_PER_SOURCE: usize = 12;

/// Time after which a connection without a link or guest stream is closed.
pub const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Time after which a connection of a non-member without a guest stream is closed, even if it carries other
/// streams.
pub const NON_MEMBER_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams of one connection: a link, its successor, a guest stream in each direction, and those being
/// negotiated. Yamux keeps up to 256 KiB unread per stream, so a connection of a non-member uses at most 1.5
/// MiB.
pub const MAX_STREAMS_PER_CONNECTION: usize = 6;

/// Inbound streams in negotiation at the same time on one connection.
pub const MAX_NEGOTIATING_STREAMS: usize = 4;

/// Maximum duration of the negotiation of a stream.
pub const STREAM_NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(2);

// --- Loss of a link --------------------------------------------------------------------------------------

/// `TCP_USER_TIMEOUT`: time after which unacknowledged data ends the connection (Linux).
pub const TCP_USER_TIMEOUT: Duration = Duration::from_millis(1000);

/// Time of silence after which the kernel sends a keepalive probe, and the interval between probes.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Unanswered keepalive probes that end the connection where there is no `TCP_USER_TIMEOUT`.
pub const TCP_KEEPALIVE_RETRIES: u32 = 2;

/// Time without received bytes after which a link is closed. The daemon sends at least every 5 s.
pub const MEMBER_SILENCE_TIMEOUT: Duration = Duration::from_millis(12_500);

/// Age after which a link counts as stable; a stable link is opened again without a delay.
pub const STABLE_LINK_AGE: Duration = Duration::from_secs(10);

/// First delay before a link is opened again on the same connection. It doubles each time, with jitter.
pub const MIN_RELINK_DELAY: Duration = Duration::from_millis(50);

/// Maximum delay before a link is opened again on the same connection.
pub const MAX_RELINK_DELAY: Duration = Duration::from_secs(10);

// --- Links -----------------------------------------------------------------------------------------------

/// Maximum wait for the hello of the acceptor. After that the stream counts as lost and is opened again.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// The time for which a link of a key that is not (yet) a member is held before it is refused. Slightly less
/// than [`NON_MEMBER_IDLE_TIMEOUT`], which ends the connection.
pub const HELD_LINK_TIMEOUT: Duration = Duration::from_secs(9);

/// Size of the largest frame of a link: a batch of a bulk transfer.
pub const MAX_MEMBER_FRAME_BYTES: usize = 2 << 20;

/// Size of the largest frame of a guest stream: a join request or a grant path.
pub const MAX_GUEST_FRAME_BYTES: usize = 64 << 10;

/// Frames received on one guest stream.
pub const MAX_GUEST_FRAMES: u32 = 64;

/// Bytes received on one guest stream.
pub const MAX_GUEST_STREAM_BYTES: usize = 1 << 20;

/// Maximum lifetime of a guest stream. A join that waits for an operator opens another.
pub const GUEST_STREAM_LIFETIME: Duration = Duration::from_secs(120);

/// Time without received bytes after which a guest stream is closed.
pub const GUEST_SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Incoming guest streams at the same time.
pub const MAX_INCOMING_GUEST_STREAMS: usize = 16;

/// Incoming guest streams in a row from one key; [`GUEST_STREAM_REFILL_INTERVAL`] refills them.
pub const GUEST_STREAM_BURST_PER_KEY: u32 = 4;

/// Time in which a key or an address regains one incoming guest stream. A joining node retries no faster than
/// that.
pub const GUEST_STREAM_REFILL_INTERVAL: Duration = Duration::from_secs(5);
const _: () =
    assert!(GUEST_STREAM_REFILL_INTERVAL.as_millis() < larder_core::limits::MAX_GUEST_RETRY_MS as u128);

/// Incoming guest streams in a row from one source address, because keys cost nothing;
/// [`GUEST_STREAM_REFILL_INTERVAL`] refills them.
pub const GUEST_STREAM_BURST_PER_SOURCE: u32 = 24;

/// Outgoing guest streams, open or in progress. Further requests wait.
pub const MAX_OUTGOING_GUEST_STREAMS: usize = 16;

/// Time after which an outgoing guest stream without a received frame is ended, if another request waits.
pub const GUEST_FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(2);

/// Requests for guest streams that wait.
pub const MAX_WAITING_GUEST_STREAMS: usize = 256;

/// Maximum time from the request of a guest stream until it is open, with the dial.
pub const GUEST_STREAM_SETUP_TIMEOUT: Duration = Duration::from_secs(8);

/// Bytes that wait to be sent on a link: two largest frames. More means that the peer does not read.
pub const MAX_MEMBER_QUEUE_BYTES: usize = 2 * MAX_MEMBER_FRAME_BYTES + QUEUED_FRAME_OVERHEAD_BYTES * 1024;

/// Bytes that wait to be sent on a guest stream.
pub const MAX_GUEST_QUEUE_BYTES: usize = 4 * MAX_GUEST_FRAME_BYTES;

/// Bytes that each waiting frame counts in addition to its content, so that many tiny frames reach the limit
/// too.
pub const QUEUED_FRAME_OVERHEAD_BYTES: usize = 64;

/// Size up to which small waiting frames are combined into one write.
pub const WRITE_BATCH_BYTES: usize = 64 << 10;

/// Step by which the buffer of an arriving frame grows: its length is unverified until the bytes are here.
pub const READ_GROWTH_BYTES: usize = 64 << 10;

/// Size of the read buffer of a link.
pub const READ_BUFFER_BYTES: usize = 8 << 10;

/// Maximum time in which a link that is closed on purpose sends its queue.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

// --- Between driver, links and daemon --------------------------------------------------------------------

/// Events that wait for the daemon. When full, links stop reading and TCP slows down the senders.
pub const EVENT_CHANNEL_CAPACITY: usize = 256;

/// Bytes of received frames that wait for the daemon, over all links.
pub const MAX_WAITING_FRAME_BYTES: usize = 8 << 20;

/// Events of the driver that wait for room in the channel. Beyond that the oldest `NodeDiscovered` is
/// dropped; it is sent again later.
pub const MAX_BACKLOG_EVENTS: usize = 512;

/// Messages from link tasks to the driver. Link tasks wait when it is full; the driver never waits for a
/// link.
pub const LINK_MSG_CHANNEL_CAPACITY: usize = 256;

/// Members of all groups together.
pub const MAX_MEMBERS: usize = 4096;
