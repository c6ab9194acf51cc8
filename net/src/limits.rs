//! Every bound of the network in one place, each with its reason.
//!
//! "Measured" means: on two cores, hosts as network namespaces, libp2p 0.57.1.

use std::time::Duration;

// --- Addresses -----------------------------------------------------------------------------------------------

/// TCP port that a node listens on unless told otherwise or taken.
pub const DEFAULT_TCP_PORT: u16 = 7440;

/// Addresses kept and dialled for one node, newest first. Nine dead ones before the right one cost 3 s (measured),
/// four are dialled all at once.
pub const MAX_ADDRESSES_PER_NODE: usize = 4;

/// How long an address that discovery named stays beside a newer one. A node with two interfaces is heard at both
/// again and again; an address that fell silent for longer was left behind by DHCP or a restart.
pub const DISCOVERED_ADDRESS_LIFETIME: Duration = Duration::from_secs(30);

/// How long loopback must be all there is before it is reported as an address. Interfaces are listed one by one, and
/// loopback comes first.
pub const LOOPBACK_REPORT_DELAY: Duration = Duration::from_millis(100);

/// Nodes that are not members whose addresses are remembered. Anyone on the LAN can make up keys, so the longest
/// unheard goes first.
pub const MAX_NON_MEMBERS_IN_ADDRESS_BOOK: usize = 1024;

/// Addresses given by the operator (`peers`).
pub const MAX_STATIC_PEERS: usize = 64;

/// How long a silent node counts as known: heard again after that, it is told of us as a newcomer is.
pub const NEWCOMER_AFTER_SILENCE: Duration = Duration::from_secs(60);

/// At most one `NodeDiscovered` a node in this time, unless it is new or its addresses changed.
pub const DISCOVERED_EVENT_INTERVAL: Duration = Duration::from_secs(10);

/// At most one `NodeDiscovered` a node in this time, whatever changed: a forger of beacons chooses addresses freely.
pub const CHANGED_ADDRESS_EVENT_INTERVAL: Duration = Duration::from_millis(500);

// --- Beacon and mDNS -----------------------------------------------------------------------------------------

/// Multicast group of the beacon: of the site-local block (RFC 2365), never routed off the site.
pub const BEACON_MULTICAST_GROUP: std::net::Ipv4Addr = std::net::Ipv4Addr::new(239, 255, 74, 40);

/// UDP port of the beacon.
pub const BEACON_UDP_PORT: u16 = 7440;

/// Least time between two beacons of ours, whatever calls for one.
pub const MIN_BEACON_INTERVAL: Duration = Duration::from_millis(40);

/// Longest random wait of an answer to a beacon, so that thirty hosts do not answer in the same instant.
pub const MAX_BEACON_REPLY_DELAY: Duration = Duration::from_millis(10);

/// Extra beacons after an interface appeared or a carrier came back, [`BEACON_INTERVAL_WHILE_MISSING`] apart: multicast is lost
/// without notice, and a lost first one would cost a whole [`BEACON_INTERVAL_WHILE_COMPLETE`].
pub const BEACON_BURST_COUNT: u8 = 4;

/// Period while a member is missing.
pub const BEACON_INTERVAL_WHILE_MISSING: Duration = Duration::from_millis(250);

/// The period is at least this times the members, so that a group of any size sends about 20 a second.
pub const BEACON_INTERVAL_PER_HOST: Duration = Duration::from_millis(50);

/// Period while the only missing members have been so for [`LONG_MISSING_AFTER`]: machines that are switched off.
pub const BEACON_INTERVAL_WHILE_LONG_MISSING: Duration = Duration::from_secs(1);

/// As [`BEACON_INTERVAL_PER_HOST`], for [`BEACON_INTERVAL_WHILE_LONG_MISSING`].
pub const BEACON_INTERVAL_PER_HOST_WHILE_LONG_MISSING: Duration = Duration::from_millis(100);

/// How long a member is missing before its absence counts as usual.
pub const LONG_MISSING_AFTER: Duration = Duration::from_secs(3600);

/// Period while nobody is missing.
pub const BEACON_INTERVAL_WHILE_COMPLETE: Duration = Duration::from_secs(5);

/// Beacons a second taken from one source address (several nodes may share it), about 45 us each (measured).
pub const MAX_BEACONS_PER_SOURCE_PER_SECOND: u32 = 50;

/// Beacons a second taken in all: 2 % of a core under a flood from made-up addresses.
pub const MAX_BEACONS_PER_SECOND: u32 = 400;

/// Beacons on their way from the sockets to the driver; more are dropped, another comes.
pub const BEACON_CHANNEL_CAPACITY: usize = 64;

/// Interfaces that beacons go out on.
pub const MAX_BEACON_INTERFACES: usize = 16;

/// Interfaces whose carrier is watched (containers make hundreds).
pub const MAX_WATCHED_INTERFACES: usize = 1024;

/// mDNS records held by libp2p-mdns before it is thrown away and made anew: it has no bound of its own, and
/// anyone on the LAN can answer with made-up keys.
pub const MAX_MDNS_RECORDS: usize = 4096;

/// How long mDNS stays off after [`MAX_MDNS_RECORDS`] were reached; the beacon goes on.
pub const MDNS_FLOOD_PAUSE: Duration = Duration::from_secs(600);

/// Source addresses remembered by a table of budgets; the longest unused goes first.
pub const MAX_RATE_LIMITED_SOURCES: usize = 1024;

// --- Connections ---------------------------------------------------------------------------------------------

/// Inbound handshakes (Noise, Yamux) must end within this time; a silent connection costs memory until then.
pub const INBOUND_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// An attempt to dial ends after this time. A SYN lost in a partition is sent again by the kernel only after 1, 2,
/// 4 s, so that a doomed attempt must not outlive the partition for long.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The same after [`SHORT_DIAL_ATTEMPTS`] failures in a row: a handshake over a far, slow line takes more than a second.
pub const LONG_DIAL_TIMEOUT: Duration = Duration::from_secs(4);

/// Attempts that get only [`DIAL_TIMEOUT`].
pub const SHORT_DIAL_ATTEMPTS: u32 = 3;

/// First pause after a failed dial; doubled with every further one.
pub const MIN_REDIAL_DELAY: Duration = Duration::from_millis(250);

/// Longest pause between dials where nothing is heard of the peer.
pub const MAX_REDIAL_DELAY: Duration = Duration::from_secs(30);

/// A dial in flight is given up for a new one, once the peer is heard, if it is older than this. On a LAN a dial
/// that works takes 5 ms (measured); without this a heal takes 1.2 s instead of 0.33 s.
pub const STALE_DIAL_AGE: Duration = Duration::from_millis(200);

/// Least time between two dials of one peer because its beacon was heard: beacons are easily forged.
pub const MIN_DIAL_INTERVAL: Duration = Duration::from_millis(100);

/// How long the follower of a pair waits before it dials addresses that the leader may not know.
pub const LEADER_HEAD_START: Duration = Duration::from_millis(150);

/// The same for addresses that discovery named: then the leader has heard of us as well.
pub const DISCOVERED_LEADER_HEAD_START: Duration = Duration::from_secs(1);

/// Dials in flight at the same time.
pub const MAX_DIALS_IN_FLIGHT: usize = 64;

/// Two connections of a pair within this time come from dials of both sides at the same moment; a later one means
/// that the other side has lost the older.
pub const SIMULTANEOUS_DIAL_INTERVAL: Duration = Duration::from_secs(3);

/// Connections in all. A full mesh of 260 members fits the memory goal; the rest is room for duplicates.
pub const MAX_CONNECTIONS: usize = 1024;

/// Connections from one key. Well above what two simultaneous dials and leftovers make: a limit of one ends half
/// of all simultaneous dials without any connection (measured).
pub const MAX_CONNECTIONS_PER_KEY: usize = 16;

/// Inbound connections in the handshake.
pub const MAX_PENDING_HANDSHAKES: usize = 128;

/// The same from one source address.
pub const MAX_PENDING_HANDSHAKES_PER_SOURCE: usize = 32;

/// Inbound connections a second from one source address (of IPv6: one /64) before Noise: denying costs 0.06 ms,
/// a handshake 0.5 ms (measured).
pub const MAX_INBOUND_PER_SOURCE_PER_SECOND: u32 = 10;

/// Inbound connections at once from one source address, until [`MAX_INBOUND_PER_SOURCE_PER_SECOND`] refills.
pub const MAX_INBOUND_BURST_PER_SOURCE: u32 = 32;

/// How many times [`MAX_INBOUND_PER_SOURCE_PER_SECOND`] and [`MAX_INBOUND_BURST_PER_SOURCE`] an address has where members were met: a hostile program on a
/// member's machine should not keep the member out.
pub const MEMBER_ADDRESS_RATE_FACTOR: u32 = 4;

/// Connections of keys that are no members.
pub const MAX_NON_MEMBER_CONNECTIONS: usize = 24;

/// The same from one source address.
pub const MAX_NON_MEMBER_CONNECTIONS_PER_SOURCE: usize = 12;

/// A connection that carries neither a link nor a visit is closed after this time.
pub const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A stranger's connection is closed after this time without a visit, whatever else it does.
pub const NON_MEMBER_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams of one connection: a link, its successor, a visit each way, and those being negotiated. Yamux keeps up
/// to 256 KiB unread a stream, so a stranger's connection costs at most 1.5 MiB.
pub const MAX_STREAMS_PER_CONNECTION: usize = 6;

/// Inbound streams negotiating at the same time on one connection.
pub const MAX_NEGOTIATING_STREAMS: usize = 4;

/// A stream must be negotiated within this time.
pub const STREAM_NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(2);

// --- Loss of a link ------------------------------------------------------------------------------------------

/// `TCP_USER_TIMEOUT`: sent data that nobody acknowledged for this time ends the connection (Linux).
pub const TCP_USER_TIMEOUT: Duration = Duration::from_millis(1000);

/// The kernel asks the other side's kernel after this time of silence, and again after as long.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Unanswered questions that end the connection where there is no `TCP_USER_TIMEOUT`.
pub const TCP_KEEPALIVE_RETRIES: u32 = 2;

/// A member link on which nothing was received for this time is closed. The daemon sends at least every 5 s.
pub const MEMBER_SILENCE_TIMEOUT: Duration = Duration::from_millis(12_500);

/// A link that lasted this long was sound: after it a new one is opened without a pause.
pub const STABLE_LINK_AGE: Duration = Duration::from_secs(10);

/// First pause before a link is opened again on the same connection; doubled each time, with jitter.
pub const MIN_RELINK_DELAY: Duration = Duration::from_millis(50);

/// Longest such pause.
pub const MAX_RELINK_DELAY: Duration = Duration::from_secs(10);

// --- Links ---------------------------------------------------------------------------------------------------

/// The side that accepts a stream must say so within this time; else the stream was lost and is opened again.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the link of a key that is not (yet) a member is held back before it is refused. A little less than
/// [`NON_MEMBER_IDLE_TIMEOUT`], which ends its connection.
pub const HELD_LINK_TIMEOUT: Duration = Duration::from_secs(9);

/// Largest frame of a member link: a window of a bulk transfer.
pub const MAX_MEMBER_FRAME_BYTES: usize = 2 << 20;

/// Largest frame of a stranger link: a join request or a line of grants.
pub const MAX_GUEST_FRAME_BYTES: usize = 64 << 10;

/// Frames taken from one stranger link.
pub const MAX_GUEST_FRAMES: u32 = 64;

/// Bytes taken from one stranger link.
pub const MAX_GUEST_STREAM_BYTES: usize = 1 << 20;

/// Life of a stranger link. A join that waits for an operator visits again.
pub const GUEST_STREAM_LIFETIME: Duration = Duration::from_secs(120);

/// A stranger link on which nothing was received for this time is closed.
pub const GUEST_SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Stranger links open towards us.
pub const MAX_INCOMING_GUEST_STREAMS: usize = 16;

/// Stranger links at once from one key, until [`GUEST_STREAM_REFILL_INTERVAL`] refills.
pub const GUEST_STREAM_BURST_PER_KEY: u32 = 4;

/// Time in which a key or an address wins back one visit. A node that asks to be let in visits as often as that allows.
pub const GUEST_STREAM_REFILL_INTERVAL: Duration = Duration::from_secs(5);
const _: () =
    assert!(GUEST_STREAM_REFILL_INTERVAL.as_millis() < larder_core::limits::SLOW_GUEST_RETRY_MS as u128);
const _: () = assert!(larder_core::limits::FAST_GUEST_RETRIES + 1 < GUEST_STREAM_BURST_PER_KEY);

/// Stranger links at once from one source address, until [`GUEST_STREAM_REFILL_INTERVAL`] refills: keys cost nothing.
pub const GUEST_STREAM_BURST_PER_SOURCE: u32 = 24;

/// Stranger links that we have open or under way. Others wait for their turn.
pub const MAX_OUTGOING_GUEST_STREAMS: usize = 16;

/// A visit of ours on which nothing was said for this time gives its place to another that waits for one.
pub const GUEST_FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(2);

/// Visits asked for by the daemon and not yet begun.
pub const MAX_WAITING_GUEST_STREAMS: usize = 256;

/// A visit must be accepted within this time of being asked for, dialling included.
pub const GUEST_STREAM_SETUP_TIMEOUT: Duration = Duration::from_secs(8);

/// Bytes waiting to be sent on a member link: two largest frames. More means that the other side does not read.
pub const MAX_MEMBER_QUEUE_BYTES: usize = 2 * MAX_MEMBER_FRAME_BYTES + QUEUED_FRAME_OVERHEAD_BYTES * 1024;

/// The same on a stranger link.
pub const MAX_GUEST_QUEUE_BYTES: usize = 4 * MAX_GUEST_FRAME_BYTES;

/// What each waiting frame counts beyond its bytes, so that a million empty ones are not free.
pub const QUEUED_FRAME_OVERHEAD_BYTES: usize = 64;

/// Small frames that wait together go out as one write of up to this size.
pub const WRITE_BATCH_BYTES: usize = 64 << 10;

/// A frame that arrives grows by this much at a time: its length is only a claim until the bytes are here.
pub const READ_GROWTH_BYTES: usize = 64 << 10;

/// Read buffer of a link.
pub const READ_BUFFER_BYTES: usize = 8 << 10;

/// A link that is closed politely gets this long to send what waits.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

// --- Between driver, links and daemon ------------------------------------------------------------------------

/// Events waiting for the daemon. When full, links stop reading and TCP holds the senders back.
pub const EVENT_CHANNEL_CAPACITY: usize = 256;

/// Bytes of received frames waiting for the daemon, over all links.
pub const MAX_WAITING_FRAME_BYTES: usize = 8 << 20;

/// Events of the driver itself waiting for room; past it the oldest `NodeDiscovered` is dropped (it comes again).
pub const MAX_BACKLOG_EVENTS: usize = 512;

/// Messages from links to the driver. Links wait when it is full; the driver never waits for a link.
pub const LINK_MSG_CHANNEL_CAPACITY: usize = 256;

/// Members in all groups together.
pub const MAX_MEMBERS: usize = 4096;
