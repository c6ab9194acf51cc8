//! What a node stores: rows in a few sorted tables. Any storage can hold them.
//!
//! The core never reads a disk. It emits batches of [`Row`]s, each to be made durable as a whole and in
//! order, and reads rows back once, when it starts, through a [`RowReader`]. Integers in keys are big-endian,
//! so that byte order is their order.
//!
//! ```text
//! table           key                                                       value
//! meta            name                                                      bytes
//! groups          group [16]                                                GroupRow
//! records         group [16] | record [32]                                  record | signature [64]
//! changes         group [16] | shard [16] | chain [16] | seq u64 | id [32]  delta
//! unaccepted      as of changes                                             UnacceptedRow
//! checkpoints     group [16] | shard [16] | chain [16] | seq u64            signature [64]
//! end-proofs      group [16] | shard [16] | chain [16]                      seq u64 | EndProof
//! own-tips        group [16] | shard [16] | grant [32]                      OwnTipRow
//! snapshots       group [16] | shard [16]                                   SnapshotRow
//! resource-index  group [16] | shard [16]                                   ResourceIndexRow
//! invites         group [16] | invite [32]                                  InviteRow
//! joins           group [16]                                                JoinRow, until the join is done
//! journal         group [16] | number u64                                   JournalRow
//! applied         group [16] | <kind>/<name>                                fields last applied on this host
//! addresses       node [32]                                                 addresses, newest first
//! ```
//!
//! Of a forked chain, one branch is in `changes` and the others are in `unaccepted`; that is why keys contain
//! the change's id. The `groups` row is the last row of the batch that creates or joins a group: without it,
//! the group does not exist.

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

/// The tables of the drawing above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Facts about the store itself.
    Meta,
    /// The groups that this node is in.
    Groups,
    /// The membership records.
    Records,
    /// The accepted changes. Everything else can be rebuilt from them, the records and the signatures.
    Changes,
    /// The unaccepted changes, each with its end proof.
    Unaccepted,
    /// The signature of every 64th change of a chain.
    Checkpoints,
    /// The end proof of each chain.
    EndProofs,
    /// The last change of each chain that this node wrote. It is apart from the document, so that a node that
    /// lost its document does not fork its chain.
    OwnTips,
    /// Whole shards, from which a start is quick.
    Snapshots,
    /// The changes that touched each resource, as of a snapshot.
    ResourceIndexes,
    /// The invites that this node made.
    Invites,
    /// The joins that this node has not completed.
    Joins,
    /// The order in which records and changes came to count on this node.
    Journal,
    /// The fields that were last applied on this host.
    Applied,
    /// The addresses at which peers were reached.
    Addresses,
}

impl Table {
    /// All tables, in the order of their ids.
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
            Self::Unaccepted => "unaccepted",
            Self::Checkpoints => "checkpoints",
            Self::EndProofs => "end-proofs",
            Self::OwnTips => "own-tips",
            Self::Snapshots => "snapshots",
            Self::ResourceIndexes => "resource-index",
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
    /// The table of the row.
    pub table: Table,
    /// The key of the row.
    pub key: Vec<u8>,
    /// The value; `None` removes the row.
    pub value: Option<Vec<u8>>,
}

impl Row {
    /// A row that writes `value`.
    pub fn put(table: Table, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { table, key, value: Some(value) }
    }

    /// A row that writes a value with one of the layouts below.
    pub fn put_encoded<T: Serialize>(table: Table, key: Vec<u8>, value: &T) -> Self {
        Self::put(table, key, encode_layout(value))
    }

    /// A row that removes the value of a key.
    pub fn remove(table: Table, key: Vec<u8>) -> Self {
        Self { table, key, value: None }
    }
}

/// The key and value of a row that was read.
pub type StoredRow = (Vec<u8>, Vec<u8>);

/// Reads rows. Each storage implements it; the core uses it only when a node starts.
pub trait RowReader {
    /// The error if rows cannot be read.
    type Error: std::fmt::Display;

    /// Calls `on_row` with the rows of `table` from the key `from` on, by key, until it returns false.
    fn scan_from(
        &self,
        table: Table,
        from: &[u8],
        on_row: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Self::Error>;

    /// Calls `on_row` with every row of `table` whose key begins with `prefix`, by key; with `from`, only
    /// from that key on.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: Option<&[u8]>,
        on_row: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Self::Error> {
        self.scan_from(table, from.unwrap_or(prefix).max(prefix), &mut |key, value| {
            let is_below_prefix = key.starts_with(prefix);
            if is_below_prefix {
                on_row(key, value);
            }
            is_below_prefix
        })
    }

    /// The rows of `table` whose key begins with `prefix`, by key.
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
        "a newer version of larder wrote `{table}` in the store (layout {version}; this one knows \
         {LAYOUT_VERSION})"
    )]
    Newer {
        /// The name of the table.
        table: &'static str,
        /// The layout version of the row.
        version: u8,
    },
}

/// Decodes a layout that begins with its version. If a newer version wrote the row, the error says which.
pub fn decode_versioned<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, LoadError> {
    match bytes.first() {
        Some(&version) if version > LAYOUT_VERSION => Err(LoadError::Newer { table: table.name(), version }),
        _ => decode_layout(bytes).ok_or_else(|| LoadError::Damaged(format!("a row of `{}`", table.name()))),
    }
}

/// The version of the layouts below, in the first byte of each. This code writes it and reads no newer one.
pub const LAYOUT_VERSION: u8 = 1;

/// A group this node is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// The version of the layout.
    pub version: u8,
    /// The id of the group's Genesis record.
    pub genesis: RecordId,
    /// True if an operator paused syncing.
    pub paused: bool,
    /// True after damage, until this node's copy equals that of another member. The copy may lack anything,
    /// so the node does not reconcile its host with it.
    pub refetching: bool,
}

/// The last change that this node wrote in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnTipRow {
    /// The version of the layout.
    pub version: u8,
    /// The incarnation of the grant.
    pub incarnation: Incarnation,
    /// The number of the last change in the chain.
    pub seq: u64,
    /// The id of the last change.
    pub id: ChangeId,
}

/// An unaccepted change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnacceptedRow {
    /// The version of the layout.
    pub version: u8,
    /// The proof of the change's chain up to it.
    pub end_proof: EndProof,
    /// The bytes of the delta: [`crate::delta::Delta::encode`].
    pub delta: Vec<u8>,
}

/// The hash context of a snapshot's checksum.
const SNAPSHOT_CONTEXT: &str = "larder 1 snapshot";

/// A snapshot of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRow {
    /// The version of the layout.
    pub version: u8,
    /// The BLAKE3 checksum of the body.
    pub checksum: [u8; 32],
    /// The [`SnapshotBody`] in postcard.
    pub body: Vec<u8>,
}

/// The content of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotBody {
    /// The grant, incarnation and length of every chain in the document.
    pub chains: Vec<(GrantId, Incarnation, u64)>,
    /// The heads of the document, sorted.
    pub heads: Vec<ChangeId>,
    /// The bytes of the Automerge document.
    pub document: Vec<u8>,
}

impl SnapshotRow {
    /// Encodes a body and adds its checksum.
    pub fn seal(body: &SnapshotBody) -> Self {
        let body = encode_layout(body);
        Self { version: LAYOUT_VERSION, checksum: checksum(SNAPSHOT_CONTEXT, &body), body }
    }

    /// Decodes the body, if the checksum is right.
    pub fn open(&self) -> Option<SnapshotBody> {
        (self.version == LAYOUT_VERSION && checksum(SNAPSHOT_CONTEXT, &self.body) == self.checksum)
            .then(|| decode_layout(&self.body))
            .flatten()
    }
}

/// An invite that this node made, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRow {
    /// The version of the layout.
    pub version: u8,
    /// The grant of this node under which the invite was made.
    pub grant: GrantId,
    /// The role that the invite gives, see [`crate::record::Role::to_byte`].
    pub role_byte: u8,
    /// The number of nodes that may join with the invite.
    pub max_uses: u32,
    /// The time when the invite was made, by this node's clock, in seconds since 1970.
    pub created_at: i64,
    /// The time when the invite expires, by this node's clock, in seconds since 1970.
    pub expires_at: i64,
}

/// A join that is not completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRow {
    /// The version of the layout.
    pub version: u8,
    /// The invite code, as bytes.
    pub code: Vec<u8>,
    /// The alias that the node requested.
    pub alias: String,
    /// The labels that the node requested.
    pub labels: Vec<(String, String)>,
}

/// One journal row: a change or record begins or ceases to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRow {
    /// The version of the layout.
    pub version: u8,
    /// The change or record.
    pub subject: HistoryEntryId,
    /// True if the subject counts from here on; false if it no longer does.
    pub is_accepted: bool,
    /// The number of rows about the subject up to this one. More than 1 only if it ceased to count before.
    pub occurrence: u32,
}
