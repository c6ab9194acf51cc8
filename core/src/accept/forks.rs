//! Forks: two changes in one place of one chain. A machine that was copied or set back wrote them, or malice. Both are
//! valid, and one branch stays.
//!
//! Which one follows from what is kept and from nothing else, first to last:
//!
//! 1. the branch that an effective Revoke's frontier names, else one that a counting Admit names (of several: the record
//!    with the smallest hash);
//! 2. the one with anchors of more distinct other keys built on it. Chains that are forked themselves do not count from
//!    their fork on: nobody lends weight to two sides;
//! 3. the longer one;
//! 4. the one whose first change has the smaller hash.
//!
//! What loses stops counting, with all that was built on it; then the next fork is looked at, in order of chain and place.
#![allow(clippy::indexing_slicing, reason = "places come from the index, and every array is as long as it")]

use std::collections::{BTreeMap, BTreeSet};

use super::Fork;
use super::index::Index;
use crate::id::{Actor, ChangeId, NodeId};
use crate::limits;
use crate::record::Members;
use crate::record::fold::ChangeFrontier;

/// What is left of a closed set once all but the two longest of those branches of each chain are gone on which no other
/// key's anchor builds: whoever forks alone makes others keep no more than that.
pub(super) fn thin(index: &Index<'_>, closed: &[bool], anchors: &[bool]) -> Vec<bool> {
    let mut tips: BTreeMap<Actor, BTreeSet<usize>> = BTreeMap::new();
    // Places come in causal order, so a previous change is met before what follows it.
    for at in index.all().filter(|at| closed[*at]) {
        let tips = tips.entry(index.valid(at).actor).or_default();
        index.previous(at).map(|previous| tips.remove(&previous));
        tips.insert(at);
    }
    let mut dropped = vec![false; closed.len()];
    for tips in tips.values().filter(|tips| tips.len() > limits::WEAK_BRANCHES) {
        let Some(author) = tips.first().map(|tip| index.valid(*tip).key) else { continue };
        let others: Vec<bool> = index.all().map(|at| anchors[at] && index.valid(at).key != author).collect();
        let supported = index.closure(&others);
        let mut weak: Vec<usize> = tips.iter().copied().filter(|tip| !supported[*tip]).collect();
        weak.sort_by_key(|tip| (std::cmp::Reverse(index.valid(*tip).seq), index.id(*tip)));
        let gone: BTreeSet<usize> = weak.into_iter().skip(limits::WEAK_BRANCHES).collect();
        let stays: BTreeSet<usize> = tips.difference(&gone).flat_map(|tip| index.chain_to(*tip)).collect();
        let path = gone.iter().flat_map(|tip| index.chain_to(*tip));
        path.filter(|at| !stays.contains(at) && !supported[*at]).for_each(|at| dropped[at] = true);
    }
    let dropped = index.descendants(&dropped);
    index.all().map(|at| closed[at] && !dropped[at]).collect()
}

/// Settles all forks in the closure of `anchors`. Answers what is left of it; `anchors` are those that are left.
pub(super) fn settle(
    members: &Members,
    index: &Index<'_>,
    mut closed: Vec<bool>,
    anchors: &mut [bool],
) -> (Vec<bool>, Vec<Fork>) {
    let mut forks = Vec::new();
    loop {
        let by_chain = index.by_chain(&closed);
        let Some((place, branches)) = by_chain.iter().find(|(_, branches)| branches.len() > 1) else {
            return (closed, forks);
        };
        let forked = first_forks(&by_chain);
        let stays =
            Choice { members, index, closed: &closed, anchors, forked: &forked }.among(place.0, branches);
        let mut losers = vec![false; closed.len()];
        branches.iter().filter(|at| **at != stays).for_each(|at| losers[*at] = true);
        let lost = index.descendants(&losers);
        index.all().filter(|at| lost[*at]).for_each(|at| anchors[at] = false);
        let others = branches.iter().filter(|at| **at != stays).map(|at| index.id(*at));
        let mut others: Vec<ChangeId> = others.collect();
        others.sort_unstable();
        forks.push(Fork { actor: place.0, seq: place.1, winner: index.id(stays), losers: others });
        closed = index.closure(anchors);
    }
}

/// Where each chain forks first.
fn first_forks(by_chain: &BTreeMap<(Actor, u64), Vec<usize>>) -> BTreeMap<Actor, u64> {
    let mut first = BTreeMap::new();
    for ((actor, seq), _) in by_chain.iter().filter(|(_, branches)| branches.len() > 1) {
        first.entry(*actor).or_insert(*seq);
    }
    first
}

/// The choice among the branches of one fork.
struct Choice<'a> {
    members: &'a Members,
    index: &'a Index<'a>,
    closed: &'a [bool],
    anchors: &'a [bool],
    forked: &'a BTreeMap<Actor, u64>,
}

impl Choice<'_> {
    fn among(&self, actor: Actor, branches: &[usize]) -> usize {
        self.named(actor, branches).unwrap_or_else(|| {
            let rank = |at: &usize| {
                let above = self.index.above(*at);
                let (support, length) = (self.support(*at, &above), self.length(actor, &above));
                (std::cmp::Reverse((support, length)), self.index.id(*at))
            };
            branches.iter().copied().min_by_key(rank).unwrap_or_default()
        })
    }

    /// The branch that a record names.
    fn named(&self, actor: Actor, branches: &[usize]) -> Option<usize> {
        let grant = branches.first().map(|at| self.index.valid(*at).grant)?;
        let by = |frontier: &ChangeFrontier| {
            let named = frontier.get(&actor).and_then(|(_, change)| self.index.place(change))?;
            branches
                .iter()
                .copied()
                .filter(|at| self.index.is_at_or_below(*at, named))
                .min_by_key(|at| self.index.id(*at))
        };
        let endings = self.members.endings(&grant).iter();
        let revoked = endings
            .filter_map(|ending| Some((ending.record, by(&ending.changes)?)))
            .min_by_key(|(id, _)| *id);
        let admitted = || self.members.admits().find_map(|(_, frontier)| by(frontier));
        revoked.map(|(_, at)| at).or_else(admitted)
    }

    /// How many distinct other keys have an anchor above.
    fn support(&self, branch: usize, above: &[bool]) -> usize {
        let author = self.index.valid(branch).key;
        let supports = |at: &usize| {
            let valid = self.index.valid(*at);
            let sides = self.forked.get(&valid.actor).is_some_and(|first| valid.seq >= *first);
            above[*at] && self.closed[*at] && self.anchors[*at] && valid.key != author && !sides
        };
        let keys: BTreeSet<NodeId> =
            self.index.all().filter(supports).map(|at| self.index.valid(at).key).collect();
        keys.len()
    }

    /// How far the chain goes on above.
    fn length(&self, actor: Actor, above: &[bool]) -> u64 {
        let own = |at: &usize| above[*at] && self.closed[*at] && self.index.valid(*at).actor == actor;
        self.index.all().filter(own).map(|at| self.index.valid(at).seq).max().unwrap_or(0)
    }
}
