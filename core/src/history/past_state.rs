//! The state of a shard at an earlier point: at a time, or at given heads.

use std::collections::{BTreeMap, BTreeSet};

use super::field_value;
use crate::delta::OpRef;
use crate::id::{ChainId, ChangeId};
use crate::resource::FieldRef;
use crate::resource::literal::Literal;
use crate::shard::Shard;
use crate::shard::graph::{GraphEntry, VersionVector};
use crate::shard::state::{VisibleState, VisibleValue};

/// The heads of the state at `time`, in seconds since 1970, sorted. Only the root if there was nothing yet.
///
/// A change counts if its own time and the times of all its ancestors are at or before `time`. So the result
/// is a state that an author could have seen, and a clock that is behind does not move later work into the
/// past. A clock that is ahead hides its change and all that builds on it until that time. Times come from
/// authors' clocks and prove nothing.
pub fn heads_at_time(shard: &Shard, time: i64) -> Vec<ChangeId> {
    let graph = shard.graph();
    let mut reaches: BTreeMap<ChainId, u64> = BTreeMap::new();
    for entry in graph.iter() {
        let is_included = |dep: &GraphEntry| {
            let chain = graph.chain_of(dep);
            chain.is_none_or(|chain| reaches.get(&chain.id).is_some_and(|reach| *reach >= dep.seq))
        };
        if entry.time <= time && graph.deps(entry).all(is_included) {
            reaches.extend(graph.chain_of(entry).map(|chain| (chain.id, entry.seq)));
        }
    }
    graph.heads_of_version(&graph.version_from_seqs(reaches))
}

/// The state of a shard at `heads`: every key that was put by then, with its visible values. Unknown heads
/// are ignored.
///
/// The present state is a copy. Otherwise, a key that did not change since takes less than a microsecond, and
/// any other key about ten: a state of 10,000 keys takes a few milliseconds if little changed since, and 0.1
/// s if everything did.
pub fn state_at(shard: &Shard, heads: &[ChangeId]) -> VisibleState {
    let past = PastState::at(shard, heads);
    if past.is_present { shard.state().clone() } else { past.read_keys(shard.state().iter()) }
}

/// The state at `heads` of the keys with this prefix only, such as those of one resource.
pub fn state_at_with_prefix(shard: &Shard, heads: &[ChangeId], prefix: &str) -> VisibleState {
    PastState::at(shard, heads).read_keys(shard.state().range_with_prefix(prefix))
}

/// The number of changes that a bulk read visits in the time in which the past values of one key are read
/// singly.
const BULK_VISITS_PER_KEY_READ: usize = 128;

/// Keys with their present visible values.
pub(super) type VisibleKeys<'a> = Vec<(&'a str, &'a [VisibleValue])>;

/// A shard at given heads.
pub(super) struct PastState<'a> {
    shard: &'a Shard,
    heads: Vec<ChangeId>,
    version: VersionVector,
    is_present: bool,
}

impl<'a> PastState<'a> {
    pub(super) fn at(shard: &'a Shard, heads: &[ChangeId]) -> Self {
        let graph = shard.graph();
        let version = graph.version_of(heads);
        // Different lists of heads can mean the same set. The document accepts only this one.
        let heads = graph.heads_of_version(&version);
        let is_present = heads == graph.heads();
        Self { shard, heads, version, is_present }
    }

    /// True if a key with these present values had the same values then. A value that is visible now and was
    /// written by then was visible then. If there had been more, whatever replaced it would be visible now,
    /// or be replaced by a visible value.
    pub(super) fn is_unchanged(&self, current: &[VisibleValue]) -> bool {
        let graph = self.shard.graph();
        let is_included = |entry| graph.version_contains(&self.version, entry);
        self.is_present
            || current.iter().all(|visible| graph.entry_of_op(&visible.op).is_some_and(is_included))
    }

    /// The past state of the given keys, each passed with its present values.
    pub(super) fn read_keys<'k>(
        &self,
        keys: impl Iterator<Item = (&'k str, &'k [VisibleValue])>,
    ) -> VisibleState {
        let (mut state, mut changed) = (VisibleState::default(), BTreeSet::new());
        for (key, current) in keys {
            if self.is_unchanged(current) {
                if !current.is_empty() {
                    state.restore_key(key.to_owned(), current.to_vec());
                }
            } else {
                changed.insert(key);
            }
        }
        // A faulty document may lack values. They are left out here; `doctor` reports the fault.
        let past_values = if changed.len().saturating_mul(BULK_VISITS_PER_KEY_READ) < self.shard.graph().len()
        {
            let read = |key: &&str| Some(((*key).to_owned(), self.shard.visible_at(key, &self.heads).ok()?));
            changed.iter().filter_map(read).collect()
        } else {
            self.shard.visible_at_bulk(&changed, &self.heads).unwrap_or_default()
        };
        for (key, visible) in past_values.into_iter().filter(|(_, visible)| !visible.is_empty()) {
            state.restore_key(key, visible);
        }
        state
    }

    /// The past visible values of a key, the winner last.
    pub(super) fn visible(&self, key: &str) -> Vec<VisibleValue> {
        self.read_keys(std::iter::once((key, self.shard.state().get(key)))).get(key).to_vec()
    }

    /// The past value of a field, if it was set, and the change that last wrote it, if there is one.
    pub(super) fn read_field(&self, field_ref: &FieldRef) -> (Option<Literal>, Option<ChangeId>) {
        let (value, op) =
            field_value::read_field(&self.read_keys(field_ref.keys(self.shard.state())), field_ref);
        (value, op.and_then(|op| self.shard.graph().entry_of_op(&op)).map(|entry| entry.id))
    }

    /// The past values of many fields, each passed with its present keys, and the put that last wrote each.
    pub(super) fn read_fields<'k>(
        &self,
        fields: &'k [(FieldRef, VisibleKeys<'k>)],
    ) -> impl Iterator<Item = (Option<Literal>, Option<OpRef>)> {
        let state = self.read_keys(fields.iter().flat_map(|(_, keys)| keys.iter().copied()));
        fields.iter().map(move |(field_ref, _)| field_value::read_field(&state, field_ref))
    }
}
