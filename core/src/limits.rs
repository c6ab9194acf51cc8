//! Every bound of the core, in one place, each with its reason.
//!
//! Two sorts stand apart. *Frozen* bounds decide whether a change or record is valid at all; every node must give
//! the same answer for ever, so they belong to the format version and never move within it. *Local* bounds may
//! differ from node to node and version to version: they only delay, page or evict.

// --- Frozen with format version 1: what a change may be -------------------------------------------------------

/// Version of the delta and record formats that this code writes and the newest it understands.
pub const FORMAT_VERSION: u8 = 1;
/// Longest encoded delta, in bytes. One `apply` is one change, so this bounds a manifest too.
pub const MAX_DELTA_BYTES: usize = 1 << 20;
/// Longest key (`<kind>/<name> <field>`), in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Longest string or byte value; what is longer is an artifact reference, never inline.
pub const MAX_VALUE_BYTES: usize = 64 << 10;
/// Longest change message with its trailers, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Most keys one change may put.
pub const MAX_PUTS_PER_CHANGE: usize = 10_000;
/// Most dependencies of one change. A writer that sees more heads merges them by empty changes first.
pub const MAX_DEPS_PER_CHANGE: usize = 64;
/// Most predecessors of one put: the visible values it replaces.
pub const MAX_PREDS_PER_PUT: usize = 256;
/// Highest operation counter; Automerge keeps counters in 32 bits and local commits near the end panic.
pub const MAX_OP_COUNTER: u64 = 1 << 31;
/// Highest sequence number in a chain, for the same reason.
pub const MAX_SEQ: u64 = 1 << 31;
/// Latest time a change may claim, in seconds since 1970: what a double holds exactly. Earliest is 0.
pub const MAX_TIME_SECONDS: i64 = 1 << 53;
/// Buckets of a `desired` shard.
pub const DESIRED_BUCKETS: u16 = 256;
/// Buckets of an `observed` shard.
pub const OBSERVED_BUCKETS: u16 = 16;
/// Every so many changes of a chain the author's signature is kept for ever.
pub const CHECKPOINT_INTERVAL: u64 = 64;
/// Most hashes between the end of a proved prefix and the signature beyond it.
pub const MAX_END_PROOF_HASHES: usize = 63;

// --- Frozen with format version 1: what a record may be --------------------------------------------------------

/// Longest encoded membership record, in bytes.
pub const MAX_RECORD_BYTES: usize = 32 << 10;
/// Longest group name or alias, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Most labels one grant may carry.
pub const MAX_LABELS_PER_GRANT: usize = 32;
/// Longest label key or value, in bytes.
pub const MAX_LABEL_BYTES: usize = 128;
/// Most chains one set of frontiers may name.
pub const MAX_FRONTIER_CHAINS: usize = 500;
/// Longest user or words that go with a record, in bytes.
pub const MAX_RECORD_NOTE_BYTES: usize = 1 << 10;
/// Longest line of grants from a member up to Genesis.
pub const MAX_GRANT_PATH_LEN: usize = 100;

// --- Local: the wire -------------------------------------------------------------------------------------------

/// Longest frame on a link between members, in bytes: one whole delta with room to spare.
pub const MAX_FRAME_BYTES: usize = 2 << 20;
/// Longest frame on a visit, the only stream a stranger may open, in bytes.
pub const MAX_GUEST_FRAME_BYTES: usize = 64 << 10;
/// Bytes handed to one link and not yet gone to the socket, above which what can wait does: live pushes, which a digest
/// later makes up for, and the pages of a comparison. Half of what the network lets wait before it ends the link, so
/// that the longest frame still fits.
pub const MAX_LINK_PENDING_BYTES: usize = 2 << 20;
/// Most bytes of columns in one range window, before compression: the receiver's unit of work and of memory.
pub const MAX_BATCH_BYTES: usize = 1 << 20;
/// Most bytes that the changes of a received window may unfold to: one window and one longest delta, with room.
pub const MAX_DECODED_BATCH_BYTES: usize = 2 * (MAX_BATCH_BYTES + MAX_DELTA_BYTES);
/// Most changes in one range window.
pub const MAX_BATCH_CHANGES: usize = 8192;
/// Most changes a server reads out of its document at once to serve windows from.
pub const MAX_SERVE_CHANGES: usize = 32_768;
/// Most chains asked for in one request.
pub const MAX_REQUESTED_CHAINS: usize = 4096;
/// Most positions in one frame.
pub const MAX_POSITIONS_PER_FRAME: usize = 20_000;
/// Branches of one chain that are kept though no other member built on them. *Frozen*: it decides what is kept.
pub const MAX_WEAK_BRANCHES: usize = 2;
/// Most tips kept and told of one chain (one, unless it forked).
pub const MAX_TIPS_PER_CHAIN: usize = 4;
/// Most records in one frame that is read.
pub const MAX_RECORDS_PER_RECEIVED_FRAME: usize = 256;
/// Most records in one frame that is sent: as many of the longest make half a frame.
pub const MAX_RECORDS_PER_SENT_FRAME: usize = MAX_FRAME_BYTES / MAX_RECORD_BYTES / 2;
/// How often a stranger's request is passed on in search of its issuer.
pub const MAX_FORWARD_HOPS: u8 = 8;
/// Most neighbours a presence message may name.
pub const MAX_PRESENCE_LINKS: usize = 256;
/// Most chains of one neighbour remembered a group; what it says beyond them is passed over.
pub const MAX_SESSION_CHAINS: usize = 4 * MAX_POSITIONS_PER_FRAME;
/// Most ends of branches remembered of one chain of a neighbour; it is told of the rest again.
pub const MAX_SESSION_TIPS_PER_CHAIN: usize = 64;
/// Most bytes of records taken in portions on one visit: the longest line of grants that is read.
pub const MAX_GRANT_PATH_BYTES: usize = 8 << 20;
/// Most bytes of records that are told to a node that takes itself, or this one, for no member without reason: half of
/// what a visit may carry.
pub const MAX_FULL_MEMBERSHIP_BYTES: usize = 512 << 10;
/// Most addresses of one node told to others.
pub const MAX_ADDRESSES_PER_NODE: usize = 8;
/// Longest address, software version or host name told to others, in bytes.
pub const MAX_NODE_TEXT_BYTES: usize = 256;

// --- Local: memory ---------------------------------------------------------------------------------------------

/// Pushed changes that wait for a dependency, and with it for the check of their signature: at most so many bytes a
/// group, then the oldest are forgotten and asked for again.
pub const MAX_ORPHAN_BYTES: usize = 16 << 20;
/// Signed records that wait for the grant they act under, at most so many a group.
pub const MAX_WAITING_RECORDS: usize = 1024;
/// Hashes of refused changes and records remembered a group, so that they are not asked for in a loop.
pub const MAX_REJECTED_IDS: usize = 4096;
/// Membership records of one group.
pub const MAX_RECORDS_PER_GROUP: usize = 20_000;
/// Groups one node may be in.
pub const MAX_GROUPS: usize = 64;
/// Invites one node keeps a group, used and expired ones included.
pub const MAX_INVITES_PER_GROUP: usize = 1000;
/// Join requests of others that wait here for their issuer.
pub const MAX_WAITING_JOINS: usize = 256;
/// Machines that ask this node to be let in without a code.
pub const MAX_INCOMING_PAIRINGS: usize = 32;
/// Nodes on the LAN remembered as seen.
pub const MAX_DISCOVERED_NODES: usize = 1024;
/// Visits (stranger links) open at once.
pub const MAX_GUEST_STREAMS: usize = 64;
/// Answers, sends and notices that wait for storage; above it new writes are refused as busy.
pub const MAX_OUTBOX_ENTRIES: usize = 100_000;
/// Ids named of those that an ambiguous prefix may mean.
pub const MAX_PREFIX_CANDIDATES: usize = 16;
/// Most changes that are aside and below one that is to be judged; what builds on more has to wait.
pub const MAX_UNACCEPTED_ANCESTORS: usize = 16_384;
/// Bytes of memory that a group's quarantine may take: valid changes that do not count.
pub const MAX_UNACCEPTED_BYTES: usize = 32 << 20;
/// Membership records of a group that are held and do not count.
pub const MAX_INEFFECTIVE_RECORDS: usize = 2000;
/// Changes of one window that may gather aside before it is looked at again which of them count.
pub const MAX_UNACCEPTED_PER_BATCH: usize = 256;
/// Changes that a document under reconstruction takes in at a time, some 50 ms of work.
pub const REBUILD_SLICE_CHANGES: usize = 1024;
/// Changes of one node that are looked through for the newest that is not undone.
pub const MAX_UNDO_SEARCH_CHANGES: usize = 1000;
/// Fields one write request may name.
pub const MAX_EDITS_PER_REQUEST: usize = MAX_PUTS_PER_CHANGE;
/// After loading a document, its unused capacity may grow by this much before it is replaced by a compact copy:
/// Automerge 0.12's value slabs keep their full capacity when they are split.
pub const COMPACT_AFTER_BYTES: usize = 32 << 20;

/// Lines that are compared to tell who wrote each line of one text, some 0.1 s of work. What is older stays with the
/// oldest version that was looked at, and is marked.
pub const MAX_BLAME_LINES: usize = 1 << 19;
/// An earlier version of a text counts for so many lines besides its own: what it costs to read.
pub const BLAME_VERSION_COST_LINES: usize = 64;

/// What a machine said of one resource is looked back through so far for the last that it applied.
pub const MAX_OBSERVED_LOOKBACK_CHANGES: usize = 1024;
/// Changes and records named that are not as they were signed; how many more there are is said.
pub const MAX_REPORTED_VERIFY_FAILURES: usize = 100;

// --- Local: time, in milliseconds --------------------------------------------------------------------------------

/// The longest time between two ticks.
pub const TICK_INTERVAL_MS: u64 = 500;
/// Presence is told at least this often; it is the heartbeat of a link. A link with nothing else to carry is pinged
/// after so long.
pub const PRESENCE_INTERVAL_MS: u64 = 5_000;
/// A node of which nothing was heard for so long is `away`.
pub const AWAY_AFTER_MS: u64 = 12_500;
/// A neighbour's digest that differs from ours for so long, with nothing under way, starts a session.
pub const REPAIR_DELAY_MS: u64 = 1_000;
/// A request for ranges without any answer for so long is asked of somebody else.
pub const RANGE_REQUEST_TIMEOUT_MS: u64 = 5_000;
/// A node that asks to be let in visits the same peer again after so long, for the first few times,
pub const GUEST_RETRY_MS: u64 = 2_000;
/// which are so many;
pub const FAST_GUEST_RETRIES: u32 = 2;
/// and then after so long: more of one stranger's visits no node takes in a row.
pub const SLOW_GUEST_RETRY_MS: u64 = 6_000;
/// A machine that asks without a code is forgotten after so long without a word, and gives up after so long.
pub const PAIRING_TIMEOUT_MS: u64 = 600_000;
/// A node that was seen within this time is near.
pub const NEARBY_WITHIN_MS: u64 = 60_000;
/// A member that is near and not linked after so long is visited, to show it who this node is,
pub const MEMBERSHIP_PROOF_DELAY_MS: u64 = 2_000;
/// and again after so long, while that goes on.
pub const MEMBERSHIP_PROOF_RETRY_MS: u64 = 20_000;
/// A visit without a step for so long is closed.
pub const GUEST_STREAM_IDLE_MS: u64 = 10_000;
/// A stranger's request that was passed on is remembered for so long, to lead the answer back.
pub const FORWARDED_JOIN_TTL_MS: u64 = 60_000;
/// Observed transitions are gathered for so long into one change.
pub const OBSERVED_DEBOUNCE_MS: u64 = 150;
/// At most one observed change in so long; what flaps is collapsed.
pub const OBSERVED_MIN_INTERVAL_MS: u64 = 1_000;
/// Of one node, a presence is taken at most this often.
pub const PRESENCE_MIN_INTERVAL_MS: u64 = 20;
/// While a neighbour is not known to be equal, what came from others is told of after so long, for all that came by then.
pub const BROADCAST_DEBOUNCE_MS: u64 = 150;
/// Changes of one author that are taken as they are pushed, in a second;
pub const MAX_AUTHOR_PUSHES_PER_SECOND: u64 = 1_000;
/// and at once. What is more is fetched in bulk, like anything that was missed.
pub const MAX_AUTHOR_PUSH_BURST: usize = 4_096;
/// A presence that is due because links changed waits so long for more of the same.
pub const PRESENCE_DEBOUNCE_MS: u64 = 50;

// --- Local: the store --------------------------------------------------------------------------------------------

/// A shard is written out whole after at least so many changes, or a quarter of its history if that is more.
pub const SNAPSHOT_AFTER_CHANGES: usize = 1024;
/// Longest user or command that goes with an own change, in bytes; what is longer is cut, so that there is room for
/// words.
pub const MAX_TRAILER_BYTES: usize = 1 << 10;
/// Longest observed message, in bytes; long output stays in a log on the node.
pub const MAX_OBSERVED_MESSAGE_BYTES: usize = 120;
