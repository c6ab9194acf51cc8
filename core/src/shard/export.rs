//! The export of a group: the union of its shards as one document that any Automerge tool opens.
//!
//! Shards share no object and no actor, so their changes together are one history: the same changes with the
//! same hashes, the same values, the same conflicts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, SaveOptions};

use super::Shard;
use super::document::{Document, ShardFault};
use crate::id::ChangeId;

/// The documents of all shards at one moment. Merging them takes time and can be done in another thread.
#[derive(Clone, Debug)]
pub struct ExportParts {
    documents: Vec<Document>,
    change_count: usize,
}

/// Why the document cannot be exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// A defect isolated a shard.
    #[error(transparent)]
    ShardFault(#[from] ShardFault),
    /// A shard is being rebuilt after a retraction. Try again later.
    #[error(
        "a part of the document is being rebuilt without the changes of a removed member; try again shortly"
    )]
    Rebuilding,
    /// A defect in Automerge or this program: the shards could not be merged.
    #[error("the parts of the document could not be merged: {0}; please report this")]
    Defect(String),
}

impl ExportParts {
    /// Copies the documents of these shards, which must all be flushed.
    pub fn from_shards<'a>(shards: impl Iterator<Item = &'a Shard>) -> Result<Self, ExportError> {
        let mut parts = Self { documents: Vec::new(), change_count: 0 };
        for shard in shards {
            let document = shard.document();
            if let Some(fault) = document.fault() {
                return Err(fault.clone().into());
            }
            if document.is_rebuilding() || document.has_pending() {
                return Err(ExportError::Rebuilding);
            }
            parts.documents.push(document.clone());
            parts.change_count += shard.graph().len();
        }
        Ok(parts)
    }

    /// The number of changes in all documents, without the roots.
    pub fn change_count(&self) -> usize {
        self.change_count
    }

    /// Merges the documents and returns the bytes of the result. Takes as long as loading all of them, and
    /// half as much memory again.
    pub fn export(self) -> Result<Vec<u8>, ExportError> {
        let mut heads: Vec<ChangeId> = self.documents.iter().flat_map(Document::heads).collect();
        heads.sort_unstable();
        let merge_all = || {
            let mut merged = Automerge::new();
            for document in &self.documents {
                merged.apply_changes(document.changes_after(&[])).map_err(|error| error.to_string())?;
            }
            let mut merged_heads: Vec<ChangeId> =
                merged.get_heads().iter().map(|hash| ChangeId(hash.0)).collect();
            merged_heads.sort_unstable();
            if merged_heads != heads {
                return Err(format!("{} heads instead of {}", merged_heads.len(), heads.len()));
            }
            Ok(merged.save_with_options(SaveOptions { deflate: true, retain_orphans: false }))
        };
        let exported = catch_unwind(AssertUnwindSafe(merge_all));
        exported.unwrap_or_else(|_| Err("a panic".to_owned())).map_err(ExportError::Defect)
    }
}
