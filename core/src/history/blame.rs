//! Who wrote what a resource says, field by field.

use std::collections::{BTreeMap, BTreeSet};

use super::past::Past;
use super::spot::Spot;
use crate::group::{Group, Note};
use crate::id::{ChangeId, NodeId};
use crate::resource::ResourceName;
use crate::resource::literal::Literal;
use crate::shard::Shard;

/// One field that is set, and the change that made it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    /// The field's path.
    pub field: String,
    /// Its value; of several, the winner.
    pub value: Literal,
    /// The change that wrote it; of a list, the newest that put an item in or took one out.
    pub change: ChangeId,
    /// The node that wrote the change, if its grant is known.
    pub node: Option<NodeId>,
    /// The operator's local user there; empty if none was named.
    pub user: String,
    /// When, in seconds since 1970 by that node's clock.
    pub time: i64,
}

/// Who wrote the fields of a resource that were set in `desired` at `at`, in order of field. Empty if none was.
pub fn blame(group: &Group, resource: &ResourceName, at: &[ChangeId]) -> Vec<Blame> {
    let Some(shard) = group.desired() else { return Vec::new() };
    let past = Past::at(shard, at);
    let keys = shard.state().range_with_prefix(&resource.prefix());
    let spots: BTreeSet<Spot> = keys.filter_map(|(key, _)| Spot::of_key(key)).collect();
    let mut users: BTreeMap<ChangeId, String> = BTreeMap::new();
    let mut out = Vec::new();
    for spot in spots {
        let (Some(value), Some(change)) = past.read(&spot) else { continue };
        let Some(entry) = shard.graph().get(&change) else { continue };
        let chain = shard.graph().chain_of(entry);
        let holder = chain.and_then(|chain| group.records().holder(&chain.grant));
        let user = users.entry(change).or_insert_with(|| user_of(shard, &change)).clone();
        let node = holder.map(|(key, _)| key);
        out.push(Blame { field: spot.field(), value, change, node, user, time: entry.time });
    }
    out
}

fn user_of(shard: &Shard, change: &ChangeId) -> String {
    shard.delta(change).map(|delta| Note::read(&delta.message, delta.time).user).unwrap_or_default()
}
