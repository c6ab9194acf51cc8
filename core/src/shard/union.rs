//! The union of a group's shards: its one document, as any Automerge tool opens it.
//!
//! Shards share no object and no actor, so their changes together are a history of their own: the same changes under the
//! same hashes, the same values, the same conflicts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, SaveOptions};

use super::Shard;
use super::document::{Document, Isolated};
use crate::id::ChangeId;

/// The documents of all shards at one moment, to be united wherever there is time for it.
#[derive(Clone, Debug)]
pub struct Parts {
    documents: Vec<Document>,
    changes: usize,
}

/// Why there is no union.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnionError {
    /// A defect in Automerge or this program took a part away.
    #[error(transparent)]
    Isolated(#[from] Isolated),
    /// Nobody's fault: a removal is being worked in.
    #[error("a part of the document is being made anew without what was removed")]
    Rebuilding,
    /// A defect in Automerge or this program.
    #[error("the parts of the document make no whole: {0}; please report this")]
    Defect(String),
}

impl Parts {
    /// Takes the documents of these shards as they are, which must all be flushed.
    pub fn of<'a>(shards: impl Iterator<Item = &'a Shard>) -> Result<Self, UnionError> {
        let mut parts = Self { documents: Vec::new(), changes: 0 };
        for shard in shards {
            let document = shard.document();
            if let Some(isolated) = document.isolated() {
                return Err(isolated.clone().into());
            }
            if document.is_rebuilding() || document.has_pending() {
                return Err(UnionError::Rebuilding);
            }
            parts.documents.push(document.clone());
            parts.changes += shard.graph().len();
        }
        Ok(parts)
    }

    /// How many changes they hold, roots not counted.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// The bytes of the one document. It takes as long as loading all of them, and half as much again of memory.
    pub fn unite(self) -> Result<Vec<u8>, UnionError> {
        let mut heads: Vec<ChangeId> = self.documents.iter().flat_map(Document::heads).collect();
        heads.sort_unstable();
        let unite = || {
            let mut whole = Automerge::new();
            for document in &self.documents {
                whole.apply_changes(document.changes_after(&[])).map_err(|error| error.to_string())?;
            }
            let mut found: Vec<ChangeId> = whole.get_heads().iter().map(|hash| ChangeId(hash.0)).collect();
            found.sort_unstable();
            if found != heads {
                return Err(format!("{} heads instead of {}", found.len(), heads.len()));
            }
            Ok(whole.save_with_options(SaveOptions { deflate: true, retain_orphans: false }))
        };
        let united = catch_unwind(AssertUnwindSafe(unite));
        united.unwrap_or_else(|_| Err("a panic".to_owned())).map_err(UnionError::Defect)
    }
}
