//! What a node keeps, as rows of a few sorted tables: the port that any storage fills.
//!
//! The core never reads a disk. It emits batches of [`GraphRow`]s, each to be made durable as a whole and in order, and reads
//! them back once, at the start, through [`RowReader`]. Integers in keys are big-endian, so that byte order is their order.
//!
//! ```text
//! table        key                                                        value
//! meta         name                                                       bytes
//! groups       group [16]                                                 GroupRow
//! records      group [16] | record [32]                                   record | signature [64]
//! changes      group [16] | epoch [16] | actor [16] | seq u64 | id [32]   delta
//! aside        as of changes                                              AsideRow: valid, and not part of the document
//! marks        group [16] | epoch [16] | actor [16] | seq u64             signature [64], every 64th change
//! covers       group [16] | epoch [16] | actor [16]                       seq u64 | Cover, of the newest change
//! own          group [16] | epoch [16] | grant [32]                       OwnRow
//! snapshots    group [16] | epoch [16]                                    SnapshotRow
//! index        group [16] | epoch [16]                                    IndexRow, see `crate::shard::touched`
//! invites      group [16] | invite [32]                                   InviteRow
//! joins        group [16]                                                 JoinRow, until the join is done
//! journal      group [16] | number u64                                    JournalRow: what came to count here, in order
//! applied      group [16] | <kind>/<name>                                 the fields last applied here
//! addresses    node [32]                                                  its addresses, newest first
//! ```
//!
//! Of a forked chain one branch is in `changes`, the others are in `aside`, whose keys hold the id for that. The `groups` row is written last of what
//! founds or joins a group, in the same batch: without it, nothing of the group exists.

pub mod key;
mod memory;
pub mod salvage;
pub mod verify;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use memory::MemoryStore;

use crate::codec::checksum;
pub use crate::codec::{decode_layout, encode_layout};
use crate::id::{ChangeId, GrantId, HistoryEntryId, Incarnation, RecordId};
use crate::shard::chain::EndProof;

/// The tables. Their names are those in the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Facts on the store itself.
    Meta,
    /// Which groups the node is in.
    Groups,
    /// Membership records.
    Records,
    /// Deltas: with the records and their signatures, the truth from which all else can be rebuilt.
    Changes,
    /// Changes that are valid and not part of the document, each with what proves it.
    Unaccepted,
    /// Kept signatures.
    Checkpoints,
    /// What proves the end of each chain.
    EndProofs,
    /// The last (incarnation, seq) this node used: outside the document, so that a lost document cannot forge a fork.
    OwnTips,
    /// Whole shards, to start from.
    Snapshots,
    /// Which changes touched what, as of a snapshot.
    ResourceIndexes,
    /// Invites made here.
    Invites,
    /// Joins under way.
    Joins,
    /// In which order this node came to count what it holds.
    Journal,
    /// What this machine runs.
    Applied,
    /// Where other nodes were reached.
    Addresses,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 15] = [
        Self::Meta,
        Self::Groups,
        Self::Records,
        Self::Changes,
        Self::Unaccepted,
        Self::Checkpoints,
        Self::EndProofs,
        Self::OwnTips,
        Self::Snapshots,
        Self::ResourceIndexes,
        Self::Invites,
        Self::Joins,
        Self::Journal,
        Self::Applied,
        Self::Addresses,
    ];

    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Groups => "groups",
            Self::Records => "records",
            Self::Changes => "changes",
            Self::Unaccepted => "aside",
            Self::Checkpoints => "marks",
            Self::EndProofs => "covers",
            Self::OwnTips => "own",
            Self::Snapshots => "snapshots",
            Self::ResourceIndexes => "index",
            Self::Invites => "invites",
            Self::Joins => "joins",
            Self::Journal => "journal",
            Self::Applied => "applied",
            Self::Addresses => "addresses",
        }
    }
}

/// One row to write, or to remove where there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where.
    pub table: Table,
    /// Under which key.
    pub key: Vec<u8>,
    /// What; `None` removes the row.
    pub value: Option<Vec<u8>>,
}

impl Row {
    /// A row that writes `value`.
    pub fn put(table: Table, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { table, key, value: Some(value) }
    }

    /// A row that writes a value of one of the layouts below.
    pub fn put_encoded<T: Serialize>(table: Table, key: Vec<u8>, value: &T) -> Self {
        Self::put(table, key, encode_layout(value))
    }

    /// A row that removes what is there.
    pub fn remove(table: Table, key: Vec<u8>) -> Self {
        Self { table, key, value: None }
    }
}

/// A row that was read back: key and value.
pub type StoredRow = (Vec<u8>, Vec<u8>);

/// Reads rows back. Implemented by whatever stores them; used only while a node starts.
pub trait RowReader {
    /// Why rows cannot be read.
    type Error: std::fmt::Display;

    /// Calls `each` with every row of `table` whose key begins with `prefix`, from `from` on if given, in order of key.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        on_row: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Self::Error>;

    /// The rows of `table` whose key begins with `prefix`, in order of key.
    fn read_rows(&self, table: Table, prefix: &[u8]) -> Result<Vec<StoredRow>, Self::Error> {
        let mut rows = Vec::new();
        self.scan(table, prefix, None, &mut |key, value| rows.push((key.to_vec(), value.to_vec())))?;
        Ok(rows)
    }
}

/// Why stored data could not be loaded. The disk is at fault, or whoever changed the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The rows could not be read.
    #[error("the store cannot be read: {0}")]
    Read(String),
    /// The rows differ from what this node wrote.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A newer version wrote the rows. They are intact; nothing was changed.
    #[error(
        "a newer version of larder wrote `{table}` in the store (layout {version}; this version knows {LAYOUT_VERSION})"
    )]
    Newer {
        /// The name of the table.
        table: &'static str,
        /// The layout version of the row.
        version: u8,
    },
}

/// Reads one of the layouts below that begin with their version; says which version wrote it, if that is newer.
pub fn decode_versioned<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, LoadError> {
    match bytes.first() {
        Some(&version) if version > LAYOUT_VERSION => Err(LoadError::Newer { table: table.name(), version }),
        _ => decode_layout(bytes).ok_or_else(|| LoadError::Damaged(format!("a row of `{}`", table.name()))),
    }
}

/// The version of every layout below that this code writes, and the newest that it understands. It is the first byte of
/// each.
pub const LAYOUT_VERSION: u8 = 1;

/// A group this node is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Layout version.
    pub version: u8,
    /// The Genesis record's id.
    pub genesis: RecordId,
    /// True while an operator paused syncing.
    pub paused: bool,
    /// True after damage, until the copy was found equal with that of a member: it may lack anything, and is shown to
    /// nobody as what the group wants.
    pub refetching: bool,
}

/// The place in a chain that this node wrote last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnTipRow {
    /// Layout version.
    pub version: u8,
    /// Which life of the grant.
    pub incarnation: Incarnation,
    /// The last seq used in it.
    pub seq: u64,
    /// The last change.
    pub id: ChangeId,
}

/// A valid change that is not part of the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnacceptedRow {
    /// Layout version.
    pub version: u8,
    /// What proves it, given its chain up to it.
    pub end_proof: EndProof,
    /// [`crate::delta::Delta::encode`].
    pub delta: Vec<u8>,
}

/// The hash context of a snapshot's checksum.
const SNAPSHOT_CONTEXT: &str = "larder 1 snapshot";

/// A shard written out whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRow {
    /// Layout version.
    pub version: u8,
    /// BLAKE3 of all that follows.
    pub checksum: [u8; 32],
    /// [`SnapshotBody`], in postcard.
    pub body: Vec<u8>,
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotBody {
    /// Every chain in the document: grant, incarnation, newest seq.
    pub chains: Vec<(GrantId, Incarnation, u64)>,
    /// The document's heads, sorted.
    pub heads: Vec<ChangeId>,
    /// Automerge's `save()` bytes.
    pub document: Vec<u8>,
}

impl SnapshotRow {
    /// Seals a body.
    pub fn seal(body: &SnapshotBody) -> Self {
        let body = encode_layout(body);
        Self { version: LAYOUT_VERSION, checksum: checksum(SNAPSHOT_CONTEXT, &body), body }
    }

    /// The body, if the checksum is right.
    pub fn open(&self) -> Option<SnapshotBody> {
        (self.version == LAYOUT_VERSION && checksum(SNAPSHOT_CONTEXT, &self.body) == self.checksum)
            .then(|| decode_layout(&self.body))
            .flatten()
    }
}

/// An invite made here. Its secret is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRow {
    /// Layout version.
    pub version: u8,
    /// The grant it was made under.
    pub grant: GrantId,
    /// The role it gives, see [`crate::build_record::Role::to_byte`].
    pub role_byte: u8,
    /// How often it may be used.
    pub max_uses: u32,
    /// When it was made, in seconds since 1970 by this node's clock.
    pub created_at: i64,
    /// When it ends, likewise.
    pub expires_at: i64,
}

/// A join under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRow {
    /// Layout version.
    pub version: u8,
    /// The code, as bytes.
    pub code: Vec<u8>,
    /// The alias asked for.
    pub alias: String,
    /// The labels asked for.
    pub labels: Vec<(String, String)>,
}

/// One step of what this node counts: a change or record more, or one less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRow {
    /// Layout version.
    pub version: u8,
    /// What it is about.
    pub subject: HistoryEntryId,
    /// True if it counts from here on; false if it does no longer.
    pub is_accepted: bool,
    /// How many rows are about it up to here, this one included: 1 but where it was taken back before.
    pub occurrence: u32,
}
