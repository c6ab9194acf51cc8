//! The bounds that a node may choose for itself: they delay, split or evict, and decide nothing about
//! validity.

use super::frozen::{
    MAX_DELTA_BYTES, MAX_DEPS_PER_CHANGE, MAX_MESSAGE_BYTES, MAX_PUTS_PER_CHANGE, MAX_RECORD_BYTES,
};

// --- The wire ---

/// The longest frame on a link between members, in bytes: one delta of full length, with room to spare.
pub const MAX_FRAME_BYTES: usize = 2 << 20;
/// The longest frame on a guest stream, in bytes. Any peer may open a guest stream, so it is short.
pub const MAX_GUEST_FRAME_BYTES: usize = 64 << 10;
/// The bytes that wait in one link's queue before this node delays pushes and batches on it. It is half of
/// what the network layer queues before it closes the link, so that one longest frame still fits.
pub const MAX_LINK_PENDING_BYTES: usize = 2 << 20;
/// The most bytes of columns in one batch, before compression. A batch is the receiver's unit of work and
/// memory.
pub const MAX_BATCH_BYTES: usize = 1 << 20;
/// The most bytes of changes that a received batch may decode to: twice one batch and one longest delta.
pub const MAX_DECODED_BATCH_BYTES: usize = 2 * (MAX_BATCH_BYTES + MAX_DELTA_BYTES);
/// The most changes in one batch.
pub const MAX_BATCH_CHANGES: usize = 8192;
/// The most changes that a node reads from its document at once to serve batches.
pub const MAX_SERVE_CHANGES: usize = 32_768;
/// The most chains in one range request.
pub const MAX_REQUESTED_CHAINS: usize = 4096;
/// The most chain positions in one frame.
pub const MAX_POSITIONS_PER_FRAME: usize = 20_000;
/// The most tips of one chain in one frame. A chain that never forked has one.
pub const MAX_TIPS_PER_CHAIN: usize = 4;
/// The most records in a received frame.
pub const MAX_RECORDS_PER_RECEIVED_FRAME: usize = 256;
/// The most records in a sent frame: as many as fill half a frame if all have the greatest length.
pub const MAX_RECORDS_PER_SENT_FRAME: usize = MAX_FRAME_BYTES / MAX_RECORD_BYTES / 2;
/// The most times that members forward a join request on its way to the node that issued the invite.
pub const MAX_FORWARD_HOPS: u8 = 8;
/// The most neighbours that a presence message may list.
pub const MAX_PRESENCE_LINKS: usize = 256;
/// The most chains of one neighbour that a sync session remembers. Positions beyond them are ignored.
pub const MAX_SESSION_CHAINS: usize = 4 * MAX_POSITIONS_PER_FRAME;
/// The most branch tips of one neighbour's chain that a sync session remembers. Changes beyond them are sent
/// again.
pub const MAX_SESSION_TIPS_PER_CHAIN: usize = 64;
/// The most bytes of records that a node takes on one guest stream: the longest grant path that it reads.
pub const MAX_GRANT_PATH_BYTES: usize = 8 << 20;
/// The most bytes of records in the full record set that a node sends to a peer with an outdated view of the
/// membership.
pub const MAX_FULL_MEMBERSHIP_BYTES: usize = 512 << 10;
/// The most addresses of one node in a presence message, an invite or a proof.
pub const MAX_ADDRESSES_PER_NODE: usize = 8;
/// The longest address, software version or host name that a node sends, in bytes.
pub const MAX_NODE_TEXT_BYTES: usize = 256;

// --- Memory ---

/// The most bytes of a group's orphans: pushed changes that wait for a dependency, unverified. The oldest are
/// evicted and requested again.
pub const MAX_ORPHAN_BYTES: usize = 16 << 20;
/// The most records of one group that wait for the grant under which they act.
pub const MAX_WAITING_RECORDS: usize = 1024;
/// The most ids of rejected changes and records that a group remembers, so that it does not request them
/// again.
pub const MAX_REJECTED_IDS: usize = 4096;
/// The most membership records of one group.
pub const MAX_RECORDS_PER_GROUP: usize = 20_000;
/// The most groups of one node.
pub const MAX_GROUPS: usize = 64;
/// The most invites of one group that a node stores, used and expired ones included.
pub const MAX_INVITES_PER_GROUP: usize = 1000;
/// The most forwarded join requests that wait at one node for the node that issued the invite.
pub const MAX_WAITING_JOINS: usize = 256;
/// The most peers whose pairing requests wait for this node's operator.
pub const MAX_INCOMING_PAIRINGS: usize = 32;
/// The most discovered nodes of the LAN that are remembered.
pub const MAX_DISCOVERED_NODES: usize = 1024;
/// The most guest streams that are open at once.
pub const MAX_GUEST_STREAMS: usize = 64;
/// The most effects that wait for the store. Above it, new writes are refused as busy.
pub const MAX_OUTBOX_ENTRIES: usize = 100_000;
/// The most candidates that are listed for an ambiguous prefix.
pub const MAX_PREFIX_CANDIDATES: usize = 16;
/// The most unaccepted ancestors of a change that is validated. A change with more waits until some are
/// accepted.
pub const MAX_UNACCEPTED_ANCESTORS: usize = 16_384;
/// The most bytes of memory for one group's unaccepted changes.
pub const MAX_UNACCEPTED_BYTES: usize = 32 << 20;
/// The most records of one group that are valid but have no effect.
pub const MAX_INEFFECTIVE_RECORDS: usize = 2000;
/// The most unaccepted changes of one batch before acceptance is computed again.
pub const MAX_UNACCEPTED_PER_BATCH: usize = 256;
/// The number of changes that a document under reconstruction applies at a time, which takes about 50 ms.
pub const REBUILD_SLICE_CHANGES: usize = 1024;
/// The most changes of one node that `undo` searches for the newest that is not undone.
pub const MAX_UNDO_SEARCH_CHANGES: usize = 1000;
/// The most versions of a key that are searched for the author of a value that an undo brought back.
pub const MAX_ORIGIN_SEARCH_CHANGES: usize = 1024;
/// The most fields that one write request may name.
pub const MAX_EDITS_PER_REQUEST: usize = MAX_PUTS_PER_CHANGE;
/// The most bytes of keys and values that one write request may set, with [`PUT_OVERHEAD_BYTES`] for each:
/// what remains of the longest delta beside its longest message and dependencies.
pub const MAX_WRITE_BYTES: usize =
    MAX_DELTA_BYTES - MAX_MESSAGE_BYTES - MAX_DEPS_PER_CHANGE * DEP_BYTES - DELTA_HEADER_BYTES;
/// The bytes of a put besides its key and value, with one replaced value; and those of each further one.
pub const PUT_OVERHEAD_BYTES: usize = 32;
/// The bytes of one dependency in a delta.
const DEP_BYTES: usize = 32;
/// The bytes of a delta's fields of fixed length, rounded up.
const DELTA_HEADER_BYTES: usize = 256;
/// The unused capacity of a loaded document, in bytes, above which a compact copy replaces it. Automerge 0.12
/// keeps the full capacity of a value slab when it splits one.
pub const COMPACT_AFTER_BYTES: usize = 32 << 20;
/// The most lines that line blame compares for one text, which takes about 0.1 s. Lines that are older than
/// the oldest compared version are marked.
pub const MAX_BLAME_LINES: usize = 1 << 19;
/// The lines that line blame counts for reading one earlier version, besides the version's own lines.
pub const BLAME_VERSION_COST_LINES: usize = 64;
/// The most changes of a node's observed shard that are searched for the last state `applied` of one
/// resource.
pub const MAX_OBSERVED_LOOKBACK_CHANGES: usize = 1024;
/// The most failures that `log --verify` lists. It counts the others.
pub const MAX_REPORTED_VERIFY_FAILURES: usize = 100;

// --- Time ---

/// The longest time between two presence messages, in milliseconds. Presence is the heartbeat of a link; a
/// link with no other traffic is pinged after the same time.
pub const PRESENCE_INTERVAL_MS: u64 = 5_000;
/// The time without presence, in milliseconds, after which a member is `away`.
pub const AWAY_AFTER_MS: u64 = 12_500;
/// The time that a neighbour's digest may differ, in milliseconds, before a sync session starts.
pub const REPAIR_DELAY_MS: u64 = 1_000;
/// The time without an answer, in milliseconds, after which a range is requested from another neighbour.
pub const RANGE_REQUEST_TIMEOUT_MS: u64 = 5_000;
/// The pause between the first two guest streams of a join to the same peer, in milliseconds. It doubles with
/// every further stream, up to [`MAX_GUEST_RETRY_MS`].
pub const MIN_GUEST_RETRY_MS: u64 = 2_000;
/// The longest pause between two guest streams of a join to the same peer, in milliseconds. Members admit
/// guest streams of one peer at about this rate.
pub const MAX_GUEST_RETRY_MS: u64 = 6_000;
/// The time, in milliseconds, after which a pairing gives up, and after which a member forgets a silent
/// pairing peer.
pub const PAIRING_TIMEOUT_MS: u64 = 600_000;
/// The time, in milliseconds, for which a discovered node counts as nearby.
pub const NEARBY_WITHIN_MS: u64 = 60_000;
/// The time, in milliseconds, after which this node sends its membership proof to a nearby member without a
/// link.
pub const MEMBERSHIP_PROOF_DELAY_MS: u64 = 2_000;
/// The time between two membership proofs to the same member, in milliseconds.
pub const MEMBERSHIP_PROOF_RETRY_MS: u64 = 20_000;
/// The time without progress, in milliseconds, after which a guest stream is closed.
pub const GUEST_STREAM_IDLE_MS: u64 = 10_000;
/// The time, in milliseconds, for which the way back of a forwarded join request is remembered.
pub const FORWARDED_JOIN_TTL_MS: u64 = 60_000;
/// The time, in milliseconds, for which transitions of observed states are collected into one change.
pub const OBSERVED_DEBOUNCE_MS: u64 = 150;
/// The shortest time between two observed changes, in milliseconds. States that flap in between are not
/// written.
pub const OBSERVED_MIN_INTERVAL_MS: u64 = 1_000;
/// The shortest time between two presence messages of one node, in milliseconds. Earlier ones are ignored.
pub const PRESENCE_MIN_INTERVAL_MS: u64 = 20;
/// The time, in milliseconds, after which this node sends its digest to a neighbour that is not known to be
/// in sync.
pub const BROADCAST_DEBOUNCE_MS: u64 = 150;
/// The number of pushed changes of one author that a node takes in a second. Changes beyond it are fetched in
/// batches.
pub const MAX_AUTHOR_PUSHES_PER_SECOND: u32 = 1_000;
/// The number of pushed changes of one author that a node takes at once. Changes beyond it are fetched in
/// batches.
pub const MAX_AUTHOR_PUSH_BURST: u32 = 4_096;
/// The authors whose pushes are counted. Beyond it, the author that pushed least is forgotten first.
pub const MAX_RATE_LIMITED_AUTHORS: usize = 4_096;
/// The time, in milliseconds, that a presence message waits for further changes of this node's links.
pub const PRESENCE_DEBOUNCE_MS: u64 = 50;
/// The time, in milliseconds, that a presence message waits for each member beyond
/// [`SMALL_GROUP_MEMBERS`]. Presence of every member to every other grows with the square of the group, and
/// would need two processors at about 34 members that all link up at once.
pub const PRESENCE_DEBOUNCE_PER_MEMBER_MS: u64 = 25;
/// The number of members up to which presence is sent and passed on without an additional delay.
pub const SMALL_GROUP_MEMBERS: usize = 8;

// --- The store ---

/// The fewest changes after which a shard's snapshot is written again. A long history waits for a quarter of
/// its length.
pub const SNAPSHOT_AFTER_CHANGES: usize = 1024;
/// The longest user or command in the trailers of an own change, in bytes. Longer ones are cut, so that the
/// message fits.
pub const MAX_TRAILER_BYTES: usize = 1 << 10;
/// The longest message of an observed state, in bytes. Longer output stays in a log on the node.
pub const MAX_OBSERVED_MESSAGE_BYTES: usize = 120;
