//! A shard as it was: at a time, or at some of its changes.

use std::collections::{BTreeMap, BTreeSet};

use super::field_value;
use crate::delta::OpRef;
use crate::id::{ChainId, ChangeId};
use crate::resource::FieldRef;
use crate::resource::literal::Literal;
use crate::shard::Shard;
use crate::shard::graph::{GraphEntry, VersionVector};
use crate::shard::state::{VisibleState, VisibleValue};

/// The heads of everything that was written by `time`, in seconds since 1970; the root's alone if nothing was. Sorted.
///
/// A change counts if its author's clock said so then, and so did the clocks of all that it builds on. So the answer is
/// a state that somebody could have seen, and a clock that is behind pulls no later work into the past. A clock that is
/// ahead hides its change, and all that was built on it, until that time has come: these clocks are advice, not proof.
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

/// What a shard said at `heads`: every key that was put by then, with its visible values. Heads that are not here count
/// for nothing.
///
/// The present is a copy. For anything else, telling that a key has not changed since costs under a microsecond, and
/// reading one that has about ten: a state of 10,000 keys takes a few milliseconds where little changed since, and 0.1 s
/// where all did.
pub fn state_at(shard: &Shard, heads: &[ChangeId]) -> VisibleState {
    let past = PastState::at(shard, heads);
    if past.is_present { shard.state().clone() } else { past.read_keys(shard.state().iter()) }
}

/// The same of the keys that begin with `prefix` alone: what is asked of one resource costs no more than that.
pub fn state_at_with_prefix(shard: &Shard, heads: &[ChangeId], prefix: &str) -> VisibleState {
    PastState::at(shard, heads).read_keys(shard.state().range_with_prefix(prefix))
}

/// About so many changes can be gone through in the time in which the past of one key is read by itself.
const BULK_READ_RATIO: usize = 128;

/// Keys, each with what it says now.
pub(super) type VisibleKeys<'a> = Vec<(&'a str, &'a [VisibleValue])>;

/// A shard at some heads.
pub(super) struct PastState<'a> {
    shard: &'a Shard,
    heads: Vec<ChangeId>,
    clock: VersionVector,
    is_present: bool,
}

impl<'a> PastState<'a> {
    pub(super) fn at(shard: &'a Shard, heads: &[ChangeId]) -> Self {
        let graph = shard.graph();
        let clock = graph.version_of(heads);
        // The same set may be named in many ways; this is the one that the document knows.
        let heads = graph.heads_of_version(&clock);
        let is_present = heads == graph.heads();
        Self { shard, heads, clock, is_present }
    }

    /// True if a key that says this now said the same then. What is visible now and was written by then was visible
    /// then; and had there been more, whatever replaced it since would be visible now or replaced by what is.
    pub(super) fn is_unchanged(&self, current: &[VisibleValue]) -> bool {
        let graph = self.shard.graph();
        let is_included = |entry| graph.version_contains(&self.clock, entry);
        self.is_present
            || current.iter().all(|visible| graph.entry_of_op(&visible.op).is_some_and(is_included))
    }

    /// The state of these keys, each given with what it says now.
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
        // What an isolated document does not tell is left out; that it is isolated is said elsewhere.
        let past_values = if changed.len().saturating_mul(BULK_READ_RATIO) < self.shard.graph().len() {
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

    /// The visible values of a key, the winner last.
    pub(super) fn visible(&self, key: &str) -> Vec<VisibleValue> {
        self.read_keys(std::iter::once((key, self.shard.state().get(key)))).get(key).to_vec()
    }

    /// The value of a field, if it was set, and the change that last decided it, if it was ever written.
    pub(super) fn read_field(&self, field_ref: &FieldRef) -> (Option<Literal>, Option<ChangeId>) {
        let (value, op) = field_value::read_field(self.read_keys(field_ref.keys(self.shard.state())).iter());
        (value, op.and_then(|op| self.shard.graph().entry_of_op(&op)).map(|entry| entry.id))
    }

    /// The values of many fields, each given with what its keys say now; and the put that last decided each.
    pub(super) fn read_fields<'k>(
        &self,
        fields: &'k [(FieldRef, VisibleKeys<'k>)],
    ) -> impl Iterator<Item = (Option<Literal>, Option<OpRef>)> {
        let state = self.read_keys(fields.iter().flat_map(|(_, keys)| keys.iter().copied()));
        fields.iter().map(move |(_, keys)| {
            let past_values = keys.iter().map(|(key, _)| (*key, state.get(key)));
            field_value::read_field(past_values.filter(|(_, visible)| !visible.is_empty()))
        })
    }
}
