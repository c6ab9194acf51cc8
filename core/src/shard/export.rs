//! The union of a group's shards: its one document, as any Automerge tool opens it.
//!
//! Shards share no object and no actor, so their changes together are a history of their own: the same changes under the
//! same hashes, the same values, the same conflicts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, SaveOptions};

use super::Shard;
use super::document::{Document, ShardFault};
use crate::id::ChangeId;

/// The documents of all shards at one moment, to be united wherever there is time for it.
#[derive(Clone, Debug)]
pub struct ExportParts {
    documents: Vec<Document>,
    change_count: usize,
}

/// Why there is no union.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// A defect in Automerge or this program took a part away.
    #[error(transparent)]
    ShardFault(#[from] ShardFault),
    /// Nobody's fault: a removal is being worked in.
    #[error("a part of the document is being made anew without what was removed")]
    Rebuilding,
    /// A defect in Automerge or this program.
    #[error("the parts of the document make no whole: {0}; please report this")]
    Defect(String),
}

impl ExportParts {
    /// Takes the documents of these shards as they are, which must all be flushed.
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

    /// How many changes they hold, roots not counted.
    pub fn change_count(&self) -> usize {
        self.change_count
    }

    /// The bytes of the one document. It takes as long as loading all of them, and half as much again of memory.
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
