//! Acceptance: which valid changes the document is made of, as one pure function of records and changes.
//!
//! Whether a change is *valid* (see [`crate::shard::gate`]) follows from itself and its ancestors and never changes.
//! Whether it is *accepted* follows from the whole set of records and changes, and may change with every new one.
//! Nothing else has a say: not the order of arrival, not a clock, not what this node once showed.
//!
//! | set      | is                                                                                              |
//! |----------|-------------------------------------------------------------------------------------------------|
//! | anchors  | changes that count by themselves: their grant counts and is live, or they lie at or below the frontiers of all that ended it, or of a counting Admit |
//! | kept     | anchors and all their ancestors before forks are settled, and what a counting record's frontier names: stored, compared, passed on |
//! | accepted | anchors that are left once forks are settled, and all their ancestors: the document              |
//!
//! An ancestor is kept whoever wrote it: an honest member built on it before it knew better, and its work must not be
//! lost. What is valid and not kept is this node's *quarantine*: it has no effect, and is offered to nobody.
//!
//! ```text
//!            valid
//! +-------------------------------------------+
//! |  outside (quarantine)                     |
//! |      kept                                 |
//! |  +-------------------------------------+  |
//! |  |  losing (a fork's other branches)   |  |
//! |  |      accepted                       |  |
//! |  |  +-------------------------------+  |  |
//! |  |  |  held: ancestors, no anchors  |  |  |
//! |  |  |      anchors                  |  |  |
//! |  |  +-------------------------------+  |  |
//! |  +-------------------------------------+  |
//! +-------------------------------------------+
//! ```
//!
//! The argument for these rules, and the cases that it has to stand, are in `docs/trust.md`. A group does not call this
//! for every change: it lets in by itself what cannot alter the rest ([`crate::group`]). The simulator calls it after
//! every step, and both must say the same.
#![allow(clippy::indexing_slicing, reason = "places come from the index, and every array is as long as it")]

mod forks;
mod index;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Actor, ChangeId, GrantId, NodeId};
use crate::record::{Members, Records};
use crate::shard::Shard;
use index::{Index, Reach};

/// A valid change, as far as acceptance looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valid {
    /// Its chain.
    pub actor: Actor,
    /// Its place in it.
    pub seq: u64,
    /// The grant it was written under.
    pub grant: GrantId,
    /// The key of that grant.
    pub key: NodeId,
    /// What it was built on. Those that are not among the changes are the shard's root.
    pub deps: Vec<ChangeId>,
}

/// The valid changes of one shard, with all their ancestors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<ChangeId, Valid>);

impl Changes {
    /// No change at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The changes that a shard is made of.
    pub fn of(shard: &Shard, records: &Records) -> Self {
        let graph = shard.graph();
        let valid = graph.iter().filter_map(|entry| {
            let chain = graph.chain_of(entry)?;
            let (key, _) = records.holder(&chain.grant)?;
            let deps = graph.deps(entry).map(|dep| dep.id).collect();
            Some((entry.id, Valid { actor: chain.actor, seq: entry.seq, grant: chain.grant, key, deps }))
        });
        Self(valid.collect())
    }

    /// Adds a change that is valid.
    pub fn insert(&mut self, id: ChangeId, valid: Valid) {
        self.0.insert(id, valid);
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&ChangeId, &Valid)> {
        self.0.iter()
    }

    /// The ids of all of them.
    pub fn ids(&self) -> impl Iterator<Item = ChangeId> {
        self.0.keys().copied()
    }
}

/// Two or more changes in one place of one chain, of which one branch stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The chain.
    pub actor: Actor,
    /// The place.
    pub seq: u64,
    /// The first change of the branch that stays.
    pub winner: ChangeId,
    /// The first changes of the others, sorted.
    pub losers: Vec<ChangeId>,
}

/// What [`accept`] says. A change that is named nowhere here is an anchor and accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Accepted for the sake of what was built on them, and not by themselves.
    pub held: BTreeSet<ChangeId>,
    /// Kept, and not accepted: other branches of forks with what was built on them, and evidence.
    pub losing: BTreeSet<ChangeId>,
    /// Valid, and not kept.
    pub outside: BTreeSet<ChangeId>,
    /// The forks among what is kept, in the order in which they were settled.
    pub forks: Vec<Fork>,
}

impl Acceptance {
    /// True if the document holds it.
    pub fn is_accepted(&self, id: &ChangeId) -> bool {
        self.is_kept(id) && !self.losing.contains(id)
    }

    /// True if members pass it on.
    pub fn is_kept(&self, id: &ChangeId) -> bool {
        !self.outside.contains(id)
    }

    /// True if it counts by itself.
    pub fn is_anchor(&self, id: &ChangeId) -> bool {
        self.is_accepted(id) && !self.held.contains(id)
    }
}

/// Says which of one shard's valid changes count, given who is a member.
pub fn accept(members: &Members, changes: &Changes) -> Acceptance {
    let index = Index::new(changes);
    let mut anchors = anchors(members, &index);
    let closed = index.closure(&anchors);
    let thinned = forks::thin(&index, &closed, &anchors);
    index.all().filter(|at| !thinned[*at]).for_each(|at| anchors[at] = false);
    let closed = index.closure(&anchors);
    let mut kept: Vec<bool> =
        index.all().map(|at| closed[at] || members.named().contains(&index.id(at))).collect();
    kept = index.closure(&kept);
    let (accepted, forks) = forks::settle(members, &index, closed, &mut anchors);
    let ids =
        |holds: &dyn Fn(usize) -> bool| index.all().filter(|at| holds(*at)).map(|at| index.id(at)).collect();
    Acceptance {
        held: ids(&|at| accepted[at] && !anchors[at]),
        losing: ids(&|at| kept[at] && !accepted[at]),
        outside: ids(&|at| !kept[at]),
        forks,
    }
}

/// Which changes count by themselves, forks apart.
fn anchors(members: &Members, index: &Index<'_>) -> Vec<bool> {
    let mut reaches: BTreeMap<(Actor, (u64, ChangeId)), Reach> = BTreeMap::new();
    let mut is_below = |at: usize, actor: Actor, frontier: Option<&(u64, ChangeId)>| {
        let Some(frontier) = frontier else { return false };
        reaches.entry((actor, *frontier)).or_insert_with(|| index.reach(actor, frontier)).has(index, at)
    };
    let mut is_anchor = |at: usize| {
        let valid = index.valid(at);
        let endings = members.endings(&valid.grant);
        let counts = members.grant(&valid.grant).is_some()
            && endings.iter().all(|ending| is_below(at, valid.actor, ending.changes.get(&valid.actor)));
        counts || members.admits().any(|(_, admitted)| is_below(at, valid.actor, admitted.get(&valid.actor)))
    };
    index.all().map(&mut is_anchor).collect()
}
