//! Resources that people who did not know of each other both touched, without a clash. Nothing is wrong and nothing is
//! held; but nobody saw the whole before it was whole, so somebody may want to.

use std::collections::{BTreeMap, BTreeSet};

use super::conflict::{Conflict, ConflictKind, Side, conflicts_of, tag};
use super::literal::Literal;
use super::view::{ResourceView, resources};
use crate::id::{ChangeId, Digest, hash16};
use crate::shard::Shard;
use crate::value::Value;

/// All such resources, in order of name, as conflicts of kind *review* without a field. The sides are the newest changes
/// that did not know of each other, each with the fields it wrote that still stand. The next change of the resource ends
/// it: whoever writes that has seen both.
pub fn reviews(shard: &Shard) -> Vec<Conflict> {
    let all = resources(shard.state());
    all.iter().filter(|view| view.name.is_managed()).filter_map(|view| review(shard, view)).collect()
}

fn review(shard: &Shard, view: &ResourceView<'_>) -> Option<Conflict> {
    let graph = shard.graph();
    let mut wrote: BTreeMap<ChangeId, BTreeSet<&str>> = BTreeMap::new();
    for (path, field) in &view.fields {
        for op in field.ops() {
            wrote.entry(graph.writer(&op)?.id).or_default().insert(path);
        }
    }
    if wrote.len() < 2 {
        return None;
    }
    let below = graph.clock_below(wrote.keys());
    let is_newest = |id: &ChangeId| graph.get(id).is_some_and(|entry| !graph.covers(&below, entry));
    wrote.retain(|id, _| is_newest(id));
    if wrote.len() < 2 || !conflicts_of(shard, view).is_empty() {
        return None;
    }
    let side = |(nth, (change, fields)): (usize, (ChangeId, BTreeSet<&str>))| {
        let fields = fields.into_iter().map(Value::from).collect();
        Side { tag: tag(nth), value: Some(Literal::List(fields)), change, winner: false }
    };
    let ids: Vec<&[u8]> = wrote.keys().map(|id| id.0.as_slice()).collect();
    let id = Digest(hash16("larder 1 review", &ids));
    let sides = wrote.into_iter().enumerate().map(side).collect();
    let (resource, field) = (view.name.clone(), String::new());
    Some(Conflict { id, kind: ConflictKind::Review, resource, field, base: None, sides })
}
