//! An oracle for values and conflicts: it reads the history of a shard slowly, in little code, and
//! independently of the product. It knows which puts a put replaces, which writer knew which change, and the
//! rule for conflicts. It uses no views, version vectors or graphs.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::delta::Delta;
use larder_core::id::{ChangeId, GroupId};
use larder_core::resource::conflict::ConflictKind;
use larder_core::shard::Shard;
use larder_core::value::Value;

/// The counter and the actor of a put.
pub(super) type OpId = (u64, [u8; 16]);
/// The resource, field and kind of a conflict.
pub(super) type ConflictKey = (String, String, ConflictKind);

/// One put that no other put replaced.
#[derive(Clone, Debug)]
struct LivePut {
    op: OpId,
    value: Value,
    /// The index of the change that contains the put.
    change: usize,
    /// True if that change is accepted only as a dependency.
    held: bool,
}

/// The evaluated history of one shard.
pub(super) struct History {
    /// The ancestors of each change and the change itself, one bit for each change.
    ancestors: Vec<Vec<u64>>,
    live_puts: BTreeMap<String, Vec<LivePut>>,
}

impl History {
    /// Reads the changes of a shard. Each change is read after its dependencies.
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

    /// True if the writer of change `newer` knew change `older`.
    fn knew_of(&self, newer: usize, older: usize) -> bool {
        self.ancestors[newer][older / 64] >> (older % 64) & 1 == 1
    }

    /// Every key, with the puts that no other put replaced.
    pub(super) fn visible(&self) -> BTreeMap<String, BTreeSet<OpId>> {
        let ops = |puts: &Vec<LivePut>| puts.iter().map(|put| put.op).collect();
        self.live_puts.iter().map(|(key, puts)| (key.clone(), ops(puts))).collect()
    }

    /// The conflicts of the shard:
    /// * a field whose visible values differ (no value counts as a value);
    /// * a list with an item that one side keeps and another removes;
    /// * a list against a single value;
    /// * a value that only removed members wrote;
    /// * a resource that one writer removed and another edited without knowledge of the removal.
    pub(super) fn conflicts(&self) -> BTreeSet<ConflictKey> {
        let mut out = BTreeSet::new();
        for (resource, fields) in self.fields() {
            for (field, keys) in &fields {
                if keys.iter().any(|key| self.has_only_held_values(key)) {
                    out.insert((resource.clone(), (*field).to_owned(), ConflictKind::RemovedAuthor));
                } else if self.has_differing_values(keys) {
                    out.insert((resource.clone(), (*field).to_owned(), ConflictKind::Value));
                }
            }
            let known = out
                .iter()
                .any(|(conflict_resource, field, _)| *conflict_resource == resource && field == "ensure");
            if !known && self.is_edited_while_removed(&fields) {
                out.insert((resource, "ensure".to_owned(), ConflictKind::EditRemove));
            }
        }
        out
    }

    /// Each resource with its fields, and the keys of each field: the key of the field, and `<field>#<mark>`
    /// for each item of a list.
    fn fields(&self) -> BTreeMap<String, BTreeMap<&str, Vec<&String>>> {
        let mut out: BTreeMap<String, BTreeMap<&str, Vec<&String>>> = BTreeMap::new();
        for key in self.live_puts.keys() {
            let Some((resource, field)) = key.split_once(' ') else { continue };
            let path = field.rsplit_once('#').map_or(field, |(path, _)| path);
            out.entry(resource.to_owned()).or_default().entry(path).or_default().push(key);
        }
        out
    }

    /// True if a visible value of the key was written only by changes that are accepted as dependencies.
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
                // The winning put decides whether the item is in the list.
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

/// Sorts changes so that each comes after its dependencies. Returns the index of each.
fn sort_causally(changes: &mut Vec<(ChangeId, Delta)>) -> BTreeMap<ChangeId, usize> {
    let all: BTreeSet<ChangeId> = changes.iter().map(|(id, _)| *id).collect();
    let mut index_of = BTreeMap::new();
    let mut waiting: Vec<(ChangeId, Delta)> = std::mem::take(changes);
    // Sorting by the counter of the first put makes the order nearly right, so few passes are needed.
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
