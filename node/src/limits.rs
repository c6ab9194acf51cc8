//! Every bound of the daemon and its command line, in one place, each with its reason.

use std::time::Duration;

/// Asks of the local API and of providers that wait for the machine: more than this and callers wait their turn.
pub const COMMAND_QUEUE_LEN: usize = 1024;
/// Batches of rows on their way to the disk. The machine declines writes long before, see
/// [`larder_core::limits::OUTBOX`]; this bounds what a slow disk can pile up from neighbours.
pub const STORE_QUEUE_BATCHES: usize = 4096;
/// Most rows that share one commit.
pub const MAX_COMMIT_ROWS: usize = 20_000;
/// Memory for the store's pages. The working set is small: rows are read once, at the start.
pub const STORE_CACHE_BYTES: usize = 16 << 20;
/// Bytes of writes that are kept in memory while a store is opened, at most: headers, and seldom more.
pub const DEFERRED_WRITE_BYTES: usize = 64 << 20;

/// Longest roster that is read: the records of every group a node may be in, many times over.
pub const MEMBERSHIP_BACKUP_BYTES: u64 = 256 << 20;
/// A store that failed is opened again after this long,
pub const STORE_REOPEN_DELAY: Duration = Duration::from_secs(1);
/// and after twice as long each time, up to this.
pub const STORE_REOPEN_MAX_DELAY: Duration = Duration::from_secs(30);

/// Longest body of a request to the local API: a whole manifest, with room for JSON around it.
pub const MAX_REQUEST_BYTES: usize = 8 << 20;
/// Longest answer that a command reads.
pub const MAX_RESPONSE_BYTES: u64 = 1 << 30;
/// Largest file that `FIELD=@FILE`, `apply` and the configuration file read: what is longer fits no change.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// Bytes of rows that are sent together in a backup,
pub const DUMP_CHUNK_BYTES: usize = 64 << 10;
/// how many such pieces wait for whoever takes them,
pub const STREAM_QUEUE_CHUNKS: usize = 16;
/// and how long for the next one to be taken.
pub const STREAM_SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of rows that share one commit while a store is filled from a backup's stream.
pub const LOAD_COMMIT_BYTES: usize = 8 << 20;
/// How often it is shown how far a backup is, and after how long for the first time.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Old data directories that restoring keeps.
pub const MAX_RESTORE_BACKUPS: usize = 1000;
/// Longest list of files of a backup.
pub const MAX_BACKUP_MANIFEST_BYTES: u64 = 64 << 20;

/// Documents united for `doc export` at once: each takes memory for a whole one more.
pub const CONCURRENT_DOC_EXPORTS: usize = 1;
/// Longest foreign document that is read.
pub const MAX_DOC_BYTES: u64 = 256 << 20;
/// Address space of the process that reads one, in bytes,
pub const DOC_READER_MEMORY_BYTES: u64 = 4 << 30;
/// and how long it may compute, in seconds.
pub const DOC_READER_CPU_SECONDS: u64 = 120;
/// Most bytes of keys and values of a document, as JSON, that a daemon is asked to plan.
pub const MAX_DOC_PLAN_BYTES: usize = 64 << 20;

/// How long a command waits for the daemon to answer before it says that it hangs, unless it was told otherwise.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long `join` waits by default before it leaves the rest to the daemon.
pub const JOIN_TIMEOUT: &str = "30s";
/// How long `ping` waits for one answer.
pub const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long `sync now` waits until all linked neighbours were found equal.
pub const SYNC_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stopping daemon waits for its links' goodbyes, for providers at work and for the disk, each.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Stores that are verified at the same time.
pub const CONCURRENT_VERIFIES: usize = 1;
/// Changes between two words on how far that is.
pub const VERIFY_PROGRESS_CHANGES: u64 = 2048;

/// How often `edit` tries again when the group wrote to other resources meanwhile.
pub const MAX_EDIT_TRIES: usize = 16;
/// Files that one command may lay out to be edited.
pub const MAX_EDIT_FILES: usize = 100;

/// How long the answer to how this node's asking stands is held while nothing changes. Short, since whoever asks keeps to a
/// time of its own.
pub const PAIRING_POLL_TIMEOUT: Duration = Duration::from_secs(1);

/// How often `watch` tries again whether a daemon that went away is back.
pub const WATCH_RECONNECT_INTERVAL: Duration = Duration::from_millis(300);
/// The same of `demo`, whose steps take less;
pub const DEMO_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// and how long one of them may take on a slow machine.
pub const DEMO_STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Resources applied at the same time: a hanging one delays nobody but itself.
pub const MAX_APPLY_WORKERS: usize = 8;
/// A resource that failed is tried again after this long,
pub const APPLY_RETRY_DELAY: Duration = Duration::from_secs(5);
/// and after twice as long each time, up to this.
pub const APPLY_RETRY_MAX_DELAY: Duration = Duration::from_secs(300);

/// Commands that watch one daemon at the same time: each costs a little of the one task that owns the machine.
pub const MAX_WATCHERS: usize = 64;
/// Things that passed and are kept for watchers that did not hear them yet. What is in the journal is read from there,
/// however late.
pub const TRANSIENT_EVENT_QUEUE_LEN: usize = 1024;
/// Rows of the journal that are read and described at once: what a watcher keeps the machine from other work with.
pub const WATCH_PAGE_ROWS: usize = 32;
/// Resources that a watcher looks for conflicts in one by one; above, in all of them at once.
pub const MAX_WATCH_TOUCHED_RESOURCES: usize = 256;
/// Longest line of an event. A change may touch [`larder_core::limits::MAX_PUTS_PER_CHANGE`] fields.
pub const MAX_EVENT_LINE_BYTES: usize = 32 << 20;
/// How long `watch` waits for a daemon that went away, unless it was told otherwise, in seconds.
pub const WATCH_RECONNECT_TIMEOUT: &str = "1m";

/// Addresses remembered of one node.
pub const MAX_ADDRESSES_PER_NODE: usize = 4;
/// Nodes whose addresses are remembered.
pub const MAX_REMEMBERED_NODES: usize = 1024;

/// A change that claims to be written later than so many seconds from now is marked: clocks differ a little.
pub const MAX_CLOCK_AHEAD_SECONDS: i64 = 300;
/// Entries of a whole log that are asked for first; then twice as many each time, since to read on means to read anew
/// what was read.
pub const LOG_PAGE_ENTRIES: usize = 500;
/// Entries that `log` shows unless told otherwise.
pub const DEFAULT_LOG_ENTRIES: usize = 50;
/// Candidates named where a prefix fits more than one.
pub const MAX_CANDIDATES_SHOWN: usize = 10;
/// How long a command compares two texts line by line before it shows the rest as replaced.
pub const TEXT_DIFF_TIMEOUT: Duration = Duration::from_millis(500);
/// Characters of a value shown in tables; `get` and `--json` show all.
pub const MAX_TABLE_VALUE_CHARS: usize = 60;
/// How long an invite is good, unless told otherwise, in seconds.
pub const DEFAULT_INVITE_SECONDS: i64 = 3600;
/// The longest an invite may be good, in seconds: ten years.
pub const MAX_INVITE_SECONDS: i64 = 10 * 366 * 86_400;
/// How often the code that `up` prints may be used.
pub const UP_INVITE_USES: u32 = 10;
