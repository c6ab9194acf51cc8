//! Resources that people who did not know of each other both touched, without a clash. Nothing is wrong and nothing is
//! held; but nobody saw the whole before it was whole, so somebody may want to.

use std::collections::{BTreeMap, BTreeSet};

use super::conflict::{Conflict, ConflictKind, ConflictSide, conflicts_of, side_tag};
use super::literal::Literal;
use super::view::{ResourceView, resources};
use crate::id::{ChangeId, Digest, hash16};
use crate::shard::Shard;
use crate::value::Value;

/// All such resources, in order of name, as conflicts of kind *review* without a field. The sides are the newest changes
/// that did not know of each other, each with the fields it wrote that still stand. The next change of the resource ends
/// it: whoever writes that has seen both.
pub fn find_concurrent_edits(shard: &Shard) -> Vec<Conflict> {
    let all = resources(shard.state());
    all.iter()
        .filter(|view| view.name.is_managed())
        .filter_map(|view| concurrent_edits_of(shard, view))
        .collect()
}

fn concurrent_edits_of(shard: &Shard, view: &ResourceView<'_>) -> Option<Conflict> {
    let graph = shard.graph();
    let mut fields_by_change: BTreeMap<ChangeId, BTreeSet<&str>> = BTreeMap::new();
    for (path, field) in &view.fields {
        for op in field.ops() {
            fields_by_change.entry(graph.entry_of_op(&op)?.id).or_default().insert(path);
        }
    }
    if fields_by_change.len() < 2 {
        return None;
    }
    let ancestors = graph.version_below(fields_by_change.keys());
    let is_newest =
        |id: &ChangeId| graph.get(id).is_some_and(|entry| !graph.version_contains(&ancestors, entry));
    fields_by_change.retain(|id, _| is_newest(id));
    if fields_by_change.len() < 2 || !conflicts_of(shard, view).is_empty() {
        return None;
    }
    let side = |(nth, (change, fields)): (usize, (ChangeId, BTreeSet<&str>))| {
        let fields = fields.into_iter().map(Value::from).collect();
        ConflictSide { tag: side_tag(nth), value: Some(Literal::List(fields)), change, is_winner: false }
    };
    let ids: Vec<&[u8]> = fields_by_change.keys().map(|id| id.0.as_slice()).collect();
    let id = Digest(hash16("larder 1 review", &ids));
    let sides = fields_by_change.into_iter().enumerate().map(side).collect();
    let (resource, field) = (view.name.clone(), String::new());
    Some(Conflict { id, kind: ConflictKind::Review, resource, field, base: None, sides })
}
