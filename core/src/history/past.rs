//! A shard as it was: at a time, or at some of its changes.

use std::collections::{BTreeMap, BTreeSet};

use super::spot::{self, Spot};
use crate::delta::OpRef;
use crate::id::{Actor, ChangeId};
use crate::resource::literal::Literal;
use crate::shard::Shard;
use crate::shard::graph::{Clock, Entry};
use crate::shard::state::{State, Visible};

/// The heads of everything that was written by `time`, in seconds since 1970; the root's alone if nothing was. Sorted.
///
/// A change counts if its author's clock said so then, and so did the clocks of all that it builds on. So the answer is
/// a state that somebody could have seen, and a clock that is behind pulls no later work into the past. A clock that is
/// ahead hides its change, and all that was built on it, until that time has come: these clocks are advice, not proof.
pub fn heads_at_time(shard: &Shard, time: i64) -> Vec<ChangeId> {
    let graph = shard.graph();
    let mut reaches: BTreeMap<Actor, u64> = BTreeMap::new();
    for entry in graph.iter() {
        let is_in = |dep: &Entry| {
            let chain = graph.chain_of(dep);
            chain.is_none_or(|chain| reaches.get(&chain.actor).is_some_and(|reach| *reach >= dep.seq))
        };
        if entry.time <= time && graph.deps(entry).all(is_in) {
            reaches.extend(graph.chain_of(entry).map(|chain| (chain.actor, entry.seq)));
        }
    }
    graph.heads_of(&graph.clock_of(reaches))
}

/// What a shard said at `heads`: every key that was put by then, with its visible values. Heads that are not here count
/// for nothing.
///
/// The present is a copy. For anything else, telling that a key has not changed since costs under a microsecond, and
/// reading one that has about ten: a state of 10,000 keys takes a few milliseconds where little changed since, and 0.1 s
/// where all did.
pub fn state_at(shard: &Shard, heads: &[ChangeId]) -> State {
    let past = Past::at(shard, heads);
    if past.is_now { shard.state().clone() } else { past.gather(shard.state().iter()) }
}

/// The same of the keys that begin with `prefix` alone: what is asked of one resource costs no more than that.
pub fn part_at(shard: &Shard, heads: &[ChangeId], prefix: &str) -> State {
    Past::at(shard, heads).gather(shard.state().range_with_prefix(prefix))
}

/// About so many changes can be gone through in the time in which the past of one key is read by itself.
const BULK: usize = 128;

/// Keys, each with what it says now.
pub(super) type Keys<'a> = Vec<(&'a str, &'a [Visible])>;

/// A shard at some heads.
pub(super) struct Past<'a> {
    shard: &'a Shard,
    heads: Vec<ChangeId>,
    clock: Clock,
    is_now: bool,
}

impl<'a> Past<'a> {
    pub(super) fn at(shard: &'a Shard, heads: &[ChangeId]) -> Self {
        let graph = shard.graph();
        let clock = graph.clock(heads);
        // The same set may be named in many ways; this is the one that the document knows.
        let heads = graph.heads_of(&clock);
        let is_now = heads == graph.heads();
        Self { shard, heads, clock, is_now }
    }

    /// True if a key that says this now said the same then. What is visible now and was written by then was visible
    /// then; and had there been more, whatever replaced it since would be visible now or replaced by what is.
    pub(super) fn is_same(&self, now: &[Visible]) -> bool {
        let graph = self.shard.graph();
        let is_in = |entry| graph.covers(&self.clock, entry);
        self.is_now || now.iter().all(|visible| graph.writer(&visible.op).is_some_and(is_in))
    }

    /// The state of these keys, each given with what it says now.
    pub(super) fn gather<'k>(&self, keys: impl Iterator<Item = (&'k str, &'k [Visible])>) -> State {
        let (mut state, mut changed) = (State::default(), BTreeSet::new());
        for (key, now) in keys {
            if self.is_same(now) {
                if !now.is_empty() {
                    state.restore(key.to_owned(), now.to_vec());
                }
            } else {
                changed.insert(key);
            }
        }
        // What an isolated document does not tell is left out; that it is isolated is said elsewhere.
        let then = if changed.len().saturating_mul(BULK) < self.shard.graph().len() {
            let read = |key: &&str| Some(((*key).to_owned(), self.shard.visible_at(key, &self.heads).ok()?));
            changed.iter().filter_map(read).collect()
        } else {
            self.shard.visible_in_bulk(&changed, &self.heads).unwrap_or_default()
        };
        for (key, visible) in then.into_iter().filter(|(_, visible)| !visible.is_empty()) {
            state.restore(key, visible);
        }
        state
    }

    /// The visible values of a key, the winner last.
    pub(super) fn visible(&self, key: &str) -> Vec<Visible> {
        self.gather(std::iter::once((key, self.shard.state().get(key)))).get(key).to_vec()
    }

    /// The value of a field, if it was set, and the change that last decided it, if it was ever written.
    pub(super) fn read(&self, spot: &Spot) -> (Option<Literal>, Option<ChangeId>) {
        let (value, op) = spot::read(self.gather(spot.keys(self.shard.state())).iter());
        (value, op.and_then(|op| self.shard.graph().writer(&op)).map(|entry| entry.id))
    }

    /// The values of many fields, each given with what its keys say now; and the put that last decided each.
    pub(super) fn read_all<'k>(
        &self,
        fields: &'k [(Spot, Keys<'k>)],
    ) -> impl Iterator<Item = (Option<Literal>, Option<OpRef>)> {
        let state = self.gather(fields.iter().flat_map(|(_, keys)| keys.iter().copied()));
        fields.iter().map(move |(_, keys)| {
            let then = keys.iter().map(|(key, _)| (*key, state.get(key)));
            spot::read(then.filter(|(_, visible)| !visible.is_empty()))
        })
    }
}
