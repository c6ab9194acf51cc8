//! A naive reader of a shard's history: slow, short, and written apart from the product. It knows what a put
//! replaces, who knew of whom, and the words of the rule for conflicts; nothing of views, clocks or graphs.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::delta::Delta;
use larder_core::id::{ChangeId, GroupId};
use larder_core::shard::Shard;
use larder_core::value::Value;

/// Counter and actor of a put.
pub(super) type OpId = (u64, [u8; 16]);
/// Resource, field and kind of a conflict.
pub(super) type ConflictKey = (String, String, &'static str);

/// One put that nothing replaced.
#[derive(Clone, Debug)]
struct LivePut {
    op: OpId,
    value: Value,
    /// The index of the change that wrote it.
    change: usize,
    /// True if that change does not count by itself.
    held: bool,
}

/// A whole history, read once.
pub(super) struct History {
    /// The ancestors of every change and itself, a bit each.
    ancestors: Vec<Vec<u64>>,
    live_puts: BTreeMap<String, Vec<LivePut>>,
}

impl History {
    /// Reads what a shard holds, in any order in which causes come first.
    pub(super) fn of_shard(shard: &Shard, group: GroupId) -> Self {
        let mut changes: Vec<_> =
            shard.graph().iter().filter_map(|entry| Some((entry.id, shard.read_delta(&entry.id)?))).collect();
        let index_of: BTreeMap<ChangeId, usize> = sort_causally(&mut changes);
        let word_count = changes.len() / 64 + 1;
        let mut known: Vec<Vec<u64>> = vec![vec![0; word_count]; changes.len()];
        let mut live: BTreeMap<String, Vec<LivePut>> = BTreeMap::new();
        let mut replaced: BTreeSet<(&str, OpId)> = BTreeSet::new();
        for (id, delta) in &changes {
            let nth = index_of[id];
            for dep in delta.deps.iter().filter_map(|dep| index_of.get(dep)) {
                let theirs = known[*dep].clone();
                known[nth].iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine |= theirs);
            }
            known[nth][nth / 64] |= 1 << (nth % 64);
            let actor = delta.chain_id(group).0;
            for (counter, put) in (delta.start_op..).zip(&delta.puts) {
                replaced
                    .extend(put.preds.iter().map(|pred| (put.key.as_str(), (pred.counter, pred.chain_id.0))));
                let held = shard.dependency_only().contains(id);
                let one = LivePut { op: (counter, actor), value: put.value.clone(), change: nth, held };
                live.entry(put.key.clone()).or_default().push(one);
            }
        }
        for (key, puts) in &mut live {
            puts.retain(|put| !replaced.contains(&(key.as_str(), put.op)));
            puts.sort_by_key(|put| put.op);
        }
        Self { ancestors: known, live_puts: live }
    }

    /// True if the writer of change `newer` knew of change `older`.
    fn knew_of(&self, newer: usize, older: usize) -> bool {
        self.ancestors[newer][older / 64] >> (older % 64) & 1 == 1
    }

    /// Every key with the puts that nothing replaced.
    pub(super) fn visible(&self) -> BTreeMap<String, BTreeSet<OpId>> {
        let ops = |puts: &Vec<LivePut>| puts.iter().map(|put| put.op).collect();
        self.live_puts.iter().map(|(key, puts)| (key.clone(), ops(puts))).collect()
    }

    /// The conflicts: a field whose visible values differ (an unset one is a value too), a list with an item
    /// that one side keeps and another takes out, a list against a single value; a value for which only
    /// removed members stand; and a resource that is removed and at the same time edited by somebody who did
    /// not know of it.
    pub(super) fn conflicts(&self) -> BTreeSet<ConflictKey> {
        let mut out = BTreeSet::new();
        for (resource, fields) in self.fields() {
            for (field, keys) in &fields {
                if keys.iter().any(|key| self.has_only_held_values(key)) {
                    out.insert((resource.clone(), (*field).to_owned(), "removed-author"));
                } else if self.has_differing_values(keys) {
                    out.insert((resource.clone(), (*field).to_owned(), "value"));
                }
            }
            let known = out
                .iter()
                .any(|(conflict_resource, field, _)| *conflict_resource == resource && field == "ensure");
            if !known && self.is_edited_while_removed(&fields) {
                out.insert((resource, "ensure".to_owned(), "edit/remove"));
            }
        }
        out
    }

    /// Resources with their fields, and the keys that make up each: itself, and `<field>#<mark>` of every
    /// list item.
    fn fields(&self) -> BTreeMap<String, BTreeMap<&str, Vec<&String>>> {
        let mut out: BTreeMap<String, BTreeMap<&str, Vec<&String>>> = BTreeMap::new();
        for key in self.live_puts.keys() {
            let Some((resource, field)) = key.split_once(' ') else { continue };
            let path = field.rsplit_once('#').map_or(field, |(path, _)| path);
            out.entry(resource.to_owned()).or_default().entry(path).or_default().push(key);
        }
        out
    }

    /// True if a value is visible here that nobody wrote who counts.
    fn has_only_held_values(&self, key: &str) -> bool {
        let puts = &self.live_puts[key];
        puts.iter().any(|put| puts.iter().filter(|other| other.value == put.value).all(|other| other.held))
    }

    fn has_differing_values(&self, keys: &[&String]) -> bool {
        let (mut single, mut list) = (false, false);
        for key in keys {
            let puts = &self.live_puts[*key];
            let (unset, set) =
                (puts.iter().any(|put| put.value.is_null()), puts.iter().any(|put| !put.value.is_null()));
            if key.contains('#') {
                if unset && set {
                    return true;
                }
                // The winner says whether the item is in the list.
                list |= puts.last().is_some_and(|put| !put.value.is_null());
            } else {
                if puts.iter().any(|put| put.value != puts[0].value) {
                    return true;
                }
                single |= set;
            }
        }
        single && list
    }

    fn is_edited_while_removed(&self, fields: &BTreeMap<&str, Vec<&String>>) -> bool {
        let puts = |field: &str| {
            fields.get(field).into_iter().flatten().flat_map(|key| &self.live_puts[*key]).collect::<Vec<_>>()
        };
        let ensure = puts("ensure");
        if ensure.last().is_none_or(|winner| winner.value != Value::from("absent")) {
            return false;
        }
        let edits = fields.keys().filter(|field| **field != "ensure").flat_map(|field| puts(field));
        edits.filter(|edit| !edit.value.is_null()).any(|edit| {
            let is_concurrent = |removal: &&LivePut| {
                !self.knew_of(removal.change, edit.change) && !self.knew_of(edit.change, removal.change)
            };
            ensure.iter().all(is_concurrent)
        })
    }
}

/// Sorts changes so that each comes after those it builds on; answers the place of each.
fn sort_causally(changes: &mut Vec<(ChangeId, Delta)>) -> BTreeMap<ChangeId, usize> {
    let all: BTreeSet<ChangeId> = changes.iter().map(|(id, _)| *id).collect();
    let mut index_of = BTreeMap::new();
    let mut waiting: Vec<(ChangeId, Delta)> = std::mem::take(changes);
    // Nearly sorted by the counter of their first put, so that few passes do.
    waiting.sort_by_key(|(id, delta)| (delta.start_op, delta.seq, *id));
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut later = Vec::new();
        for (id, delta) in waiting {
            if delta.deps.iter().all(|dep| !all.contains(dep) || index_of.contains_key(dep)) {
                index_of.insert(id, changes.len());
                changes.push((id, delta));
            } else {
                later.push((id, delta));
            }
        }
        waiting = later;
        assert!(waiting.len() < before, "a history goes round in a circle");
    }
    index_of
}
