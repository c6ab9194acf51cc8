//! Which change or record is meant by the first digits of an id.

use crate::group::Group;
use crate::id::{ChangeId, EpochId, RecordId};
use crate::limits;
use crate::shard::Shard;

/// What an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// A change of the document.
    Change {
        /// The shard and epoch that it belongs to.
        epoch: EpochId,
        /// Its hash.
        id: ChangeId,
    },
    /// A membership record.
    Record(RecordId),
}

impl Found {
    /// The full id, in hex.
    pub fn id(&self) -> String {
        match self {
            Self::Change { id, .. } => id.to_string(),
            Self::Record(id) => id.to_string(),
        }
    }
}

/// Why a prefix means nothing here. The fault is the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No id begins so, or the text is not hex.
    #[error("no change or record here has an id that begins like this")]
    None,
    /// Several ids begin so: the first of them in full, at most [`limits::CANDIDATES`].
    #[error("several ids begin like this; give more digits of one of: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
}

/// The change (of any shard) or record whose id begins with `prefix`: one hex digit or more, in either case.
pub fn find(group: &Group, prefix: &str) -> Result<Found, FindError> {
    if prefix.is_empty() || !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(FindError::None);
    }
    let of_shard = |shard: &Shard| {
        let epoch = shard.root().epoch();
        shard.graph().with_prefix(prefix).into_iter().map(move |id| Found::Change { epoch, id })
    };
    let mut found: Vec<Found> = group.shards().flat_map(of_shard).collect();
    let lower = prefix.to_ascii_lowercase();
    let records = group.records().iter().map(crate::record::SignedRecord::id);
    found.extend(records.filter(|id| id.to_string().starts_with(&lower)).map(Found::Record));
    match found.as_slice() {
        [] => Err(FindError::None),
        [one] => Ok(*one),
        several => {
            let mut ids: Vec<String> = several.iter().map(Found::id).collect();
            ids.sort_unstable();
            ids.truncate(limits::CANDIDATES);
            Err(FindError::Ambiguous(ids))
        }
    }
}
