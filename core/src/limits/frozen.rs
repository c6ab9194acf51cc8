//! The bounds that are part of format version 1: they decide what a valid change or record is.

/// The version of the delta and record formats that this code writes, and the newest that it reads.
pub const FORMAT_VERSION: u8 = 1;

/// The longest encoded delta, in bytes. One `apply` is one change, so this bounds a manifest too.
pub const MAX_DELTA_BYTES: usize = 1 << 20;
/// The longest key of the document (`<kind>/<name> <field>`), in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// The longest string or byte value, in bytes. Larger content is referenced as an artifact.
pub const MAX_VALUE_BYTES: usize = 64 << 10;
/// The longest change message with its trailers, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// The most keys that one change may put.
pub const MAX_PUTS_PER_CHANGE: usize = 10_000;
/// The most dependencies of one change. A writer that sees more heads merges them by empty changes first.
pub const MAX_DEPS_PER_CHANGE: usize = 64;
/// The most predecessors of one put, which are the visible values that it replaces.
pub const MAX_PREDS_PER_PUT: usize = 256;
/// The highest operation counter. Automerge stores counters in 32 bits, and its commits panic near the end.
pub const MAX_OP_COUNTER: u64 = 1 << 31;
/// The highest sequence number in a chain. Automerge stores it in 32 bits too.
pub const MAX_SEQ: u64 = 1 << 31;
/// The latest time of a change, in seconds since 1970: the largest integer that a double holds exactly.
pub const MAX_TIME_SECONDS: i64 = 1 << 53;
/// The number of buckets of a `desired` shard.
pub const DESIRED_BUCKETS: u16 = 256;
/// The number of buckets of an `observed` shard.
pub const OBSERVED_BUCKETS: u16 = 16;
/// The number of changes of a chain between two checkpoints whose signatures are stored for ever.
pub const CHECKPOINT_INTERVAL: u64 = 64;
/// The most hashes of an end proof: a checkpoint is at most this many changes after the proved prefix.
pub const MAX_END_PROOF_HASHES: usize = 63;
/// The most branches of a forked chain that are accepted without another member's change on top.
pub const MAX_WEAK_BRANCHES: usize = 2;

/// The longest encoded membership record, in bytes.
pub const MAX_RECORD_BYTES: usize = 32 << 10;
/// The longest group name or alias, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The most labels in one grant.
pub const MAX_LABELS_PER_GRANT: usize = 32;
/// The longest label key or label value, in bytes.
pub const MAX_LABEL_BYTES: usize = 128;
/// The most chains in one set of frontiers.
pub const MAX_FRONTIER_CHAINS: usize = 500;
/// The longest user or message in a record's note, in bytes.
pub const MAX_RECORD_NOTE_BYTES: usize = 1 << 10;
/// The most grants on the path from a member's grant up to Genesis.
pub const MAX_GRANT_PATH_LEN: usize = 100;
