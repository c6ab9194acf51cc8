//! Tags: names for points of the history.
//!
//! ```text
//! key    tag/NAME heads
//! value  the ids of the heads, in hex, sorted and separated by commas
//! ```
//!
//! A tag names all heads that were known when it was made. It is a change of `desired` like any other, so it
//! reaches every node and can be moved, deleted and reverted. A tag whose name could be a change id is
//! ignored, wherever it comes from.

use std::collections::BTreeSet;

use super::name::{ResourceName, TAG_KIND};
use crate::id::ChangeId;
use crate::shard::Shard;
use crate::shard::state::VisibleValue;
use crate::value::Value;

/// True if `name` consists of hex digits. Such a name is reserved for the ids of changes.
pub(crate) fn looks_like_change_id(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_hexdigit())
}

/// The only field of a tag.
pub(crate) const HEADS_FIELD: &str = "heads";

/// A name for a point of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryTag {
    /// The tag's name.
    pub name: String,
    /// The heads of the point, sorted.
    pub heads: Vec<ChangeId>,
    /// The change that set the tag.
    pub change: ChangeId,
}

/// The value that stores a tag's heads.
pub(crate) fn encode_heads(heads: &[ChangeId]) -> Value {
    let sorted: BTreeSet<String> = heads.iter().map(ToString::to_string).collect();
    Value::Str(sorted.into_iter().collect::<Vec<_>>().join(","))
}

/// All tags with a valid value, in order of name.
pub fn all_tags(shard: &Shard) -> Vec<HistoryTag> {
    let keys = shard.state().range_with_prefix(&format!("{TAG_KIND}/"));
    keys.filter_map(|(key, visible)| decode_tag(shard, ResourceName::split_key(key)?, visible)).collect()
}

/// The tag with this name, if there is one.
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
    if looks_like_change_id(resource.name()) {
        return None;
    }
    let change = shard.graph().entry_of_op(&winner.op)?.id;
    Some(HistoryTag { name: resource.name().to_owned(), heads, change })
}
