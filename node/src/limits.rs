//! Every limit of the daemon and of the command line, each with its reason.

use std::time::Duration;

/// Requests of the local API and of providers that wait for the owner task. Further callers block.
pub const COMMAND_QUEUE_LEN: usize = 1024;
/// Batches of rows that wait for the store's writer. The node refuses writes long before, see
/// [`larder_core::limits::MAX_OUTBOX_ENTRIES`]. This limits what neighbours can queue on a slow disk.
pub const STORE_QUEUE_BATCHES: usize = 4096;
/// Rows in one commit of the store.
pub const MAX_COMMIT_ROWS: usize = 20_000;
/// Bytes of memory for pages of the store. The daemon reads all rows once, at the start, so a small cache is
/// enough.
pub const STORE_CACHE_BYTES: usize = 16 << 20;
/// Bytes of writes that are kept in memory while a store is opened. Usually only headers are written.
pub const DEFERRED_WRITE_BYTES: usize = 64 << 20;
/// Lines of the log that wait for a slow reader of standard error. Further lines are dropped.
pub const LOG_QUEUE_LINES: usize = 4096;
/// The time that the daemon waits after a failed accept on its socket, for example without free descriptors.
pub const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The time between two checks of the daemon that its socket file still exists.
pub const SOCKET_CHECK_INTERVAL: Duration = Duration::from_secs(20);

/// Longest membership backup that is read, in bytes. The records of all groups of a node need far less.
pub const MEMBERSHIP_BACKUP_BYTES: u64 = 256 << 20;
/// The delay before a failed store is opened again. It doubles with each failure.
pub const STORE_REOPEN_DELAY: Duration = Duration::from_secs(1);
/// The longest delay before a failed store is opened again.
pub const STORE_REOPEN_MAX_DELAY: Duration = Duration::from_secs(30);

/// Longest body of a request to the local API, in bytes: a whole manifest as JSON.
pub const MAX_REQUEST_BYTES: usize = 8 << 20;
/// Longest response of the local API that a command reads, in bytes.
pub const MAX_RESPONSE_BYTES: u64 = 1 << 30;
/// Largest manifest, settings file or `FIELD=@FILE` that is read, in bytes. Longer values fit into no change.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// Bytes of rows in one chunk of a dump.
pub const DUMP_CHUNK_BYTES: usize = 64 << 10;
/// Chunks of a streamed response that wait for the client.
pub const STREAM_QUEUE_CHUNKS: usize = 16;
/// The time that a streamed response waits until the client reads the next chunk.
pub const STREAM_SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of rows in one commit while a store is filled from a dump.
pub const LOAD_COMMIT_BYTES: usize = 8 << 20;
/// The time between two progress messages of a backup or restore.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Directories `before-restore-N` that a data directory may hold.
pub const MAX_RESTORE_BACKUPS: usize = 1000;
/// Longest manifest of a backup that is read, in bytes.
pub const MAX_BACKUP_MANIFEST_BYTES: u64 = 64 << 20;

/// Exports of documents at the same time. Each needs memory for a whole document.
pub const CONCURRENT_DOC_EXPORTS: usize = 1;
/// Longest foreign document that `doc plan` reads, in bytes.
pub const MAX_DOC_BYTES: u64 = 256 << 20;
/// Address space of the process that reads a foreign document, in bytes.
pub const DOC_READER_MEMORY_BYTES: u64 = 4 << 30;
/// Processor time of the process that reads a foreign document, in seconds.
pub const DOC_READER_CPU_SECONDS: u64 = 120;
/// Longest request of `doc plan` to the daemon, in bytes: all keys and values of a document as JSON.
pub const MAX_DOC_PLAN_BYTES: usize = 64 << 20;

/// The time that a command waits for the daemon's response before it reports that the daemon hangs.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// The time that `join` waits by default. The daemon continues to try after that.
pub const JOIN_TIMEOUT: &str = "30s";
/// The time that `ping` waits for one response.
pub const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// The time that `sync now` waits until all linked neighbours are in sync.
pub const SYNC_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that a stopping daemon waits for each of its links, its running providers and the disk.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs of `log --verify` at the same time.
pub const CONCURRENT_VERIFIES: usize = 1;
/// Changes between two progress messages of `log --verify`.
pub const VERIFY_PROGRESS_CHANGES: u64 = 2048;

/// Attempts of `edit` to write while other resources of the group change.
pub const MAX_EDIT_TRIES: usize = 16;

/// The time that the daemon delays the response about a pairing while nothing changes. It is short, because
/// the command has its own timeout.
pub const PAIRING_POLL_TIMEOUT: Duration = Duration::from_secs(1);

/// The time between two attempts of `watch` to reach a daemon that has ended.
pub const WATCH_RECONNECT_INTERVAL: Duration = Duration::from_millis(300);
/// The time between two checks of `demo` whether a step is complete.
pub const DEMO_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The time that one step of `demo` may take on a slow host.
pub const DEMO_STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Contents that are kept, in bytes. When there are more, the oldest are dropped.
pub const MAX_KEPT_BYTES: u64 = 256 << 20;
/// The longest time for which contents are kept, in seconds: a year.
pub const MAX_KEPT_SECONDS: i64 = 366 * 86_400;
/// The smallest size that counts for one kept version, in bytes. It limits the number of small ones.
pub const MIN_KEPT_ENTRY_BYTES: u64 = 4 << 10;
/// Hexadecimal digits of the id of kept contents.
pub const KEPT_ID_HEX_DIGITS: usize = 16;

/// Resources that are applied at the same time. A provider that hangs delays only its own resource.
pub const MAX_APPLY_WORKERS: usize = 8;
/// The delay before a failed resource is applied again. It doubles with each failure.
pub const APPLY_RETRY_DELAY: Duration = Duration::from_secs(5);
/// The longest delay before a failed resource is applied again.
pub const APPLY_RETRY_MAX_DELAY: Duration = Duration::from_secs(300);

/// Watchers of one daemon at the same time. Each takes some time of the owner task.
pub const MAX_WATCHERS: usize = 64;
/// Transient events that are kept for slow watchers. Watchers read all other events from the journal.
pub const TRANSIENT_EVENT_QUEUE_LEN: usize = 1024;
/// Rows of the journal that a watcher reads at once. This limits how long a watcher occupies the owner task.
pub const WATCH_PAGE_ROWS: usize = 32;
/// Resources in which a watcher looks for conflicts one by one. With more, it looks in all resources at once.
pub const MAX_WATCH_TOUCHED_RESOURCES: usize = 256;
/// Longest event of `watch`, in bytes. A change may touch [`larder_core::limits::MAX_PUTS_PER_CHANGE`]
/// fields.
pub const MAX_EVENT_LINE_BYTES: usize = 32 << 20;
/// The time that `watch` waits by default for a daemon that has ended.
pub const WATCH_RECONNECT_TIMEOUT: &str = "1m";

/// Addresses that the store keeps for each node.
pub const MAX_ADDRESSES_PER_NODE: usize = 4;
/// Nodes whose addresses the store keeps.
pub const MAX_REMEMBERED_NODES: usize = 1024;

/// Seconds by which the time of a change may be ahead of this host's clock before `log` marks it. Clocks
/// differ a little.
pub const MAX_CLOCK_AHEAD_SECONDS: i64 = 300;
/// Entries of a whole log in the first request. Each request doubles the number, because it reads the earlier
/// entries again.
pub const LOG_PAGE_ENTRIES: usize = 500;
/// Entries that `log` shows by default.
pub const DEFAULT_LOG_ENTRIES: usize = 50;
/// Candidates that an error names when a prefix is ambiguous.
pub const MAX_CANDIDATES_SHOWN: usize = 10;
/// The time for which a command compares two texts line by line. It shows the remaining lines as replaced.
pub const TEXT_DIFF_TIMEOUT: Duration = Duration::from_millis(500);
/// Characters of a value in a table. `get` and `--json` show the whole value.
pub const MAX_TABLE_VALUE_CHARS: usize = 60;
/// Seconds for which an invite is valid by default.
pub const DEFAULT_INVITE_SECONDS: i64 = 3600;
/// The longest validity of an invite, in seconds: ten years.
pub const MAX_INVITE_SECONDS: i64 = 10 * 366 * 86_400;
/// Uses of the invite code that `up` prints.
pub const UP_INVITE_USES: u32 = 10;
