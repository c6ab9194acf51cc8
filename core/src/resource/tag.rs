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
use crate::shard::state::Visible;
use crate::value::Value;

/// The one field of a tag.
pub(crate) const HEADS: &str = "heads";

/// A name for a point of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// The changes that it stands for, with all that they build on. Sorted.
    pub heads: Vec<ChangeId>,
    /// The change that made it.
    pub change: ChangeId,
}

/// What a tag says, as a value.
pub(crate) fn write(heads: &[ChangeId]) -> Value {
    let sorted: BTreeSet<String> = heads.iter().map(ToString::to_string).collect();
    Value::Str(sorted.into_iter().collect::<Vec<_>>().join(","))
}

/// All tags, in order of name. One that says nothing that can be read is left out.
pub fn tags(shard: &Shard) -> Vec<Tag> {
    let keys = shard.state().range_with_prefix(&format!("{TAG_KIND}/"));
    keys.filter_map(|(key, visible)| read(shard, ResourceName::of_key(key)?, visible)).collect()
}

/// The tag of this name, if there is one.
pub fn tag(shard: &Shard, name: &str) -> Option<Tag> {
    let resource = ResourceName::tag(name).ok()?;
    read(shard, (resource.clone(), HEADS), shard.state().get(&resource.key(HEADS)))
}

fn read(shard: &Shard, (resource, field): (ResourceName, &str), visible: &[Visible]) -> Option<Tag> {
    let winner = visible.last()?;
    let (Value::Str(text), HEADS) = (&winner.value, field) else { return None };
    let heads: Vec<ChangeId> = text.split(',').map(ChangeId::parse).collect::<Option<_>>()?;
    let change = shard.graph().writer(&winner.op)?.id;
    Some(Tag { name: resource.name().to_owned(), heads, change })
}
