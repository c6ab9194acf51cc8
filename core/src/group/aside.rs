//! Valid changes that the document is not made of: other branches of forks with what was built on them, what frontiers
//! name as evidence, and this node's quarantine.
//!
//! ```text
//!   shard (accepted)          aside
//!   r - 1 - 2 - 3 - 4          2' - 3'        kept: compared and passed on, not shown
//!           ^                  |
//!           +------------------+              what is aside builds on what is accepted or aside, never the other way
//!                              9'             outside: in quarantine, this node's alone, bounded
//! ```
//!
//! Each stands by its own proof, since chains branch here: its link in its chain, and the signature that covers it.

mod rule;

pub(super) use rule::check;

use std::collections::{BTreeMap, BTreeSet};

use crate::accept::Valid;
use crate::delta::OpRef;
use crate::delta::compose::Composed;
use crate::id::{Actor, ChangeId, NodeId};
use crate::limits;
use crate::shard::chain::{Cover, Link};

/// A valid change that is not part of the document.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The change.
    pub(super) composed: Composed,
    /// Its chain.
    pub actor: Actor,
    /// The key that wrote it.
    pub key: NodeId,
    /// The running hash of its chain, at it.
    pub(super) link: Link,
    /// What proves it.
    pub(super) cover: Cover,
    /// Longest way down to the root.
    pub(super) depth: u32,
    /// True if members pass it on; else it is in quarantine.
    pub kept: bool,
}

impl Beside {
    /// Its hash.
    pub fn id(&self) -> ChangeId {
        self.composed.id()
    }

    /// What it says.
    pub fn delta(&self) -> &crate::delta::Delta {
        self.composed.delta()
    }

    /// The author's change before it: one of those it builds on.
    fn is_before(&self, next: &Self) -> bool {
        self.actor == next.actor
            && self.delta().seq + 1 == next.delta().seq
            && next.delta().deps.binary_search(&self.id()).is_ok()
    }

    /// The change, as acceptance looks at it.
    pub fn valid(&self) -> Valid {
        let delta = self.delta();
        Valid {
            actor: self.actor,
            seq: delta.seq,
            grant: delta.grant,
            key: self.key,
            deps: delta.deps.clone(),
        }
    }

    /// About what it takes in memory.
    fn weight(&self) -> usize {
        // The delta, the Automerge change made of it, and what holds them.
        3 * self.composed.bytes().len() + 512
    }
}

/// What is aside of one shard.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    changes: BTreeMap<ChangeId, Beside>,
    /// How many came since it was last settled what counts.
    unsettled: usize,
}

impl Aside {
    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// All of it, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Beside> {
        self.changes.values()
    }

    /// The change `id`, if it is aside.
    pub fn get(&self, id: &ChangeId) -> Option<&Beside> {
        self.changes.get(id)
    }

    pub(super) fn contains(&self, id: &ChangeId) -> bool {
        self.changes.contains_key(id)
    }

    /// How many came since it was last settled what counts.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    pub(super) fn insert(&mut self, beside: Beside) {
        self.unsettled += 1;
        self.changes.insert(beside.id(), beside);
    }

    pub(super) fn remove(&mut self, id: &ChangeId) -> Option<Beside> {
        self.changes.remove(id)
    }

    /// Notes what is kept. Answers the ids of which that is news.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&ChangeId) -> bool) -> Vec<ChangeId> {
        self.unsettled = 0;
        let mut news = Vec::new();
        for (id, beside) in &mut self.changes {
            let kept = is_kept(id);
            if kept && !beside.kept {
                news.push(*id);
            }
            beside.kept = kept;
        }
        news
    }

    /// True if a chain has changes here.
    pub(super) fn has_chain(&self, actor: &Actor) -> bool {
        self.changes.values().any(|beside| beside.actor == *actor)
    }

    /// True if a chain has two ends or more here, so that with the accepted one it may have more than are kept.
    pub(super) fn is_crowded(&self) -> bool {
        let mut ends: BTreeMap<Actor, BTreeSet<ChangeId>> = BTreeMap::new();
        for beside in self.iter() {
            ends.entry(beside.actor).or_default().insert(beside.id());
        }
        for beside in self.iter() {
            if let (Some(previous), Some(ends)) = (self.previous(beside), ends.get_mut(&beside.actor)) {
                ends.remove(&previous.id());
            }
        }
        ends.values().any(|ends| ends.len() >= limits::WEAK_BRANCHES)
    }

    /// Bytes that the quarantine takes.
    pub(super) fn quarantined(&self) -> usize {
        self.iter().filter(|beside| !beside.kept).map(Beside::weight).sum()
    }

    /// What is kept, each after what it builds on.
    pub(super) fn kept(&self) -> Vec<&Beside> {
        let mut kept: Vec<&Beside> = self.iter().filter(|beside| beside.kept).collect();
        kept.sort_by_key(|beside| (beside.depth, beside.id()));
        kept
    }

    /// The kept ends of branches, by chain.
    pub(super) fn tips(&self) -> BTreeMap<Actor, Vec<&Beside>> {
        let mut tips: BTreeMap<Actor, Vec<&Beside>> = BTreeMap::new();
        for beside in self.kept() {
            let tips = tips.entry(beside.actor).or_default();
            tips.retain(|tip| !tip.is_before(beside));
            tips.push(beside);
        }
        tips
    }

    /// A change and those before it in its chain that are here too, newest first.
    pub(super) fn chain_to(&self, id: ChangeId) -> impl Iterator<Item = &Beside> {
        std::iter::successors(self.get(&id), |beside| self.previous(beside))
    }

    /// The author's change before it, if that is here too.
    pub(super) fn previous(&self, beside: &Beside) -> Option<&Beside> {
        beside.delta().deps.iter().filter_map(|dep| self.get(dep)).find(|dep| dep.is_before(beside))
    }

    /// What was built on these.
    pub(super) fn above(&self, of: &BTreeSet<ChangeId>) -> BTreeSet<ChangeId> {
        let mut above = of.clone();
        let mut order: Vec<&Beside> = self.iter().collect();
        order.sort_by_key(|beside| beside.depth);
        for beside in order {
            if beside.delta().deps.iter().any(|dep| above.contains(dep)) {
                above.insert(beside.id());
            }
        }
        above
    }

    /// What to let go of so that the quarantine takes no more than `most` bytes: of the key that has most of it, the
    /// newest, so that what is left still has all it builds on.
    pub(super) fn too_much(&self, most: usize) -> Vec<ChangeId> {
        let mut shares: BTreeMap<NodeId, (usize, Vec<&Beside>)> = BTreeMap::new();
        for beside in self.iter().filter(|beside| !beside.kept) {
            let share = shares.entry(beside.key).or_default();
            share.0 += beside.weight();
            share.1.push(beside);
        }
        shares.values_mut().for_each(|(_, share)| share.sort_by_key(|beside| (beside.depth, beside.id())));
        let mut total: usize = shares.values().map(|(bytes, _)| bytes).sum();
        let mut gone = BTreeSet::new();
        while total > most {
            let Some((bytes, share)) = shares.values_mut().max_by_key(|(bytes, _)| *bytes) else { break };
            let Some(newest) = share.pop() else { break };
            *bytes -= newest.weight();
            total -= newest.weight();
            gone.insert(newest.id());
        }
        self.above(&gone).into_iter().collect()
    }
}

/// The puts of a change, each with the operation that it is.
pub(super) fn ops(composed: &Composed, actor: Actor) -> impl Iterator<Item = (OpRef, &crate::delta::Put)> {
    let delta = composed.delta();
    (delta.start_op..).zip(&delta.puts).map(move |(counter, put)| (OpRef { counter, actor }, put))
}
