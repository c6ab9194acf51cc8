//! Tags: names for points of the past.
//!
//! ```text
//! key    tag/NAME heads
//! value  the ids of the changes it stands for, in hex, sorted, with commas between
//! ```
//!
//! A tag stands for what was known when it was made, which may be several heads. It is itself a change of `desired`, so
//! it reaches every node, and may be moved, taken away and put back like anything else.

use std::collections::BTreeSet;

use super::name::{ResourceName, TAG_KIND};
use crate::id::ChangeId;
use crate::shard::Shard;
use crate::shard::state::VisibleValue;
use crate::value::Value;

/// The one field of a tag.
pub(crate) const HEADS_FIELD: &str = "heads";

/// A name for a point of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryTag {
    /// Its name.
    pub name: String,
    /// The changes that it stands for, with all that they build on. Sorted.
    pub heads: Vec<ChangeId>,
    /// The change that made it.
    pub change: ChangeId,
}

/// What a tag says, as a value.
pub(crate) fn encode_heads(heads: &[ChangeId]) -> Value {
    let sorted: BTreeSet<String> = heads.iter().map(ToString::to_string).collect();
    Value::Str(sorted.into_iter().collect::<Vec<_>>().join(","))
}

/// All tags, in order of name. One that says nothing that can be read is left out.
pub fn all_tags(shard: &Shard) -> Vec<HistoryTag> {
    let keys = shard.state().range_with_prefix(&format!("{TAG_KIND}/"));
    keys.filter_map(|(key, visible)| decode_tag(shard, ResourceName::split_key(key)?, visible)).collect()
}

/// The tag of this name, if there is one.
pub fn find_tag(shard: &Shard, name: &str) -> Option<HistoryTag> {
    let resource = ResourceName::for_tag(name).ok()?;
    decode_tag(shard, (resource.clone(), HEADS_FIELD), shard.state().get(&resource.field_key(HEADS_FIELD)))
}

fn decode_tag(
    shard: &Shard,
    (resource, field): (ResourceName, &str),
    visible: &[VisibleValue],
) -> Option<HistoryTag> {
    let winner = visible.last()?;
    let (Value::Str(text), HEADS_FIELD) = (&winner.value, field) else { return None };
    let heads: Vec<ChangeId> = text.split(',').map(ChangeId::parse).collect::<Option<_>>()?;
    let change = shard.graph().entry_of_op(&winner.op)?.id;
    Some(HistoryTag { name: resource.name().to_owned(), heads, change })
}
