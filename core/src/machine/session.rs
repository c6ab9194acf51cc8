//! A session: how this node and one neighbour bring one group to the same state, and keep it there.
//!
//! ```text
//! A                                    B
//! |-- Digest ------------------------->|      both at once; equal: in sync
//! |<------------------------- Digest --|
//! |-- Have --------------------------->|      each answers a digest that differs
//! |<---------------------------- Have --|
//! |-- Records, Positions ------------->|      what the other lacks; where I stand where we differ
//! |<-------------- Records, Positions --|
//! |-- Want --------------------------->|      each asks for what it lacks, of one neighbour at a time
//! |<-------------------------- Window --|
//! |-- Digest ------------------------->|      nothing left to ask for: compare again
//! |<------------------------- Digest --|
//! |-- Push ... ----------------------->|      from then on: new changes as they come
//! ```
//!
//! A session holds what it believes of the other side; if that is ever wrong, the digests differ and a new round begins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::input::Moment;
use crate::group::{Group, Position, Tip};
use crate::id::{Actor, ChangeId, Digest, EpochId, NodeId, RecordId};
use crate::limits;

/// What a neighbour is still to be told of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// A record that it lacks.
    Record(RecordId),
    /// Where this side stands in a shard.
    Shard(EpochId),
}

/// One neighbour in one group.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who.
    pub peer: NodeId,
    /// The ends of the branches of every chain that the neighbour has, as far as is known.
    theirs: BTreeMap<(EpochId, Actor), Vec<Tip>>,
    /// From where on to ask for a chain whose branch there was not found yet, and how far that was gone back last.
    from: BTreeMap<(EpochId, Actor), (u64, u64)>,
    /// True once the digests were equal.
    pub synced: bool,
    /// True while they are, as far as is known.
    pub in_sync: bool,
    /// The digest that this side told last.
    pub(super) told: Option<Digest>,
    /// The digest that the other side told last: as soon as this side's is the same, the two are equal.
    pub(super) heard: Option<Digest>,
    /// When this side told what it has last, and what the digests of the two sides were then.
    pub(super) answered: Option<(Moment, Digest, Option<Digest>)>,
    /// When a differing presence was first seen, to be looked at again.
    pub(super) differs: Option<(Moment, Digest)>,
    /// True if news were held back since the link was choked.
    pub(super) behind: bool,
    /// True from the first Positions of a round until nothing is left to ask for.
    pub(super) fetching: bool,
    /// Epochs of which a window was asked for and has not come. Unlike a want, this is not forgotten when the answer
    /// is late.
    pub(super) owed: BTreeSet<EpochId>,
    /// What the other side lacks and was not sent yet: it goes as the link takes it.
    pub(super) differences: VecDeque<Difference>,
}

impl Session {
    pub(super) fn new(peer: NodeId) -> Self {
        Self {
            peer,
            theirs: BTreeMap::new(),
            from: BTreeMap::new(),
            synced: false,
            in_sync: false,
            told: None,
            heard: None,
            answered: None,
            differs: None,
            behind: false,
            fetching: false,
            owed: BTreeSet::new(),
            differences: VecDeque::new(),
        }
    }

    /// The neighbour has everything that is here.
    pub(super) fn has_all(&mut self, group: &Group) {
        for shard in group.shards() {
            let epoch = shard.root().epoch();
            self.stands(epoch, &group.positions(&epoch));
        }
        self.synced = true;
        self.in_sync = true;
        self.differs = None;
        self.answered = None;
        self.fetching = false;
        self.from.clear();
    }

    /// True if this side has told what it has lately, and neither side changed since.
    pub(super) fn has_answered(&self, mine: Digest, now: Moment) -> bool {
        self.answered.is_some_and(|(at, own, theirs)| {
            (own, theirs) == (mine, self.heard) && now.ms_since(at) < limits::REPAIR_MS
        })
    }

    /// How long a digest that differs is left to what is under way. Between neighbours that were equal that is news on
    /// its way; else something was missed.
    pub(super) fn patience_ms(&self) -> u64 {
        if self.in_sync { limits::REPAIR_MS } else { limits::SETTLE_MS }
    }

    /// When it is to be compared with again, unless it is found equal before.
    pub(super) fn repair_due(&self) -> Option<Moment> {
        self.differs.map(|(since, _)| since.plus_ms(self.patience_ms()))
    }

    /// The neighbour said where it stands in a shard. Of a chain that is named nothing else is believed any more.
    pub(super) fn stands(&mut self, epoch: EpochId, positions: &[Position]) {
        for position in positions {
            if let Some(tips) = self.theirs.get_mut(&(epoch, position.actor)) {
                tips.clear();
            }
        }
        for position in positions {
            let full = self.theirs.len() >= limits::SESSION_CHAINS;
            if full && !self.theirs.contains_key(&(epoch, position.actor)) {
                continue;
            }
            // What nobody can have is not believed.
            let tips = position.tips.iter().filter(|tip| tip.seq <= limits::MAX_SEQ);
            let known = self.theirs.entry((epoch, position.actor)).or_default();
            known.extend(tips.take(limits::SESSION_TIPS - known.len()));
        }
    }

    /// The neighbour has this change and all before it, of which `previous` is the last.
    pub(super) fn has(&mut self, epoch: EpochId, actor: Actor, tip: Tip, previous: Option<ChangeId>) {
        let full = self.theirs.len() >= limits::SESSION_CHAINS && !self.theirs.contains_key(&(epoch, actor));
        if full || tip.seq > limits::MAX_SEQ {
            return;
        }
        let known = self.theirs.entry((epoch, actor)).or_default();
        if let Some(follows) = known.iter_mut().find(|known| Some(known.id) == previous) {
            *follows = tip;
        } else if known.is_empty() {
            known.push(tip);
        } else if let Some(newest) = known.iter_mut().max().filter(|newest| newest.seq < tip.seq) {
            *newest = tip;
        }
    }

    /// The neighbour cannot give what it seemed to have.
    pub(super) fn lacks(&mut self, epoch: EpochId, actor: Actor) {
        self.theirs.remove(&(epoch, actor));
        self.from.remove(&(epoch, actor));
    }

    /// What the neighbour gave of a chain begins on a change that is not here: next time it is asked from further below.
    pub(super) fn go_back(&mut self, epoch: EpochId, actor: Actor, after: u64) {
        // Twice as far each time, so that no fork takes long to find.
        let step = match self.from.get(&(epoch, actor)) {
            None => limits::SIGNED_EVERY,
            // It was asked from the beginning already, and parts again: no chain does.
            Some((0, _)) => return self.lacks(epoch, actor),
            Some((_, step)) => step.saturating_mul(2),
        };
        self.from.insert((epoch, actor), (after.saturating_sub(step), step));
    }

    /// All that the neighbour gave of a chain, up to this place, is here. Where a branch is looked for, or is to be since
    /// nothing of it was new, it is asked from there next time: a window may end before the branch begins. True if that
    /// is so.
    pub(super) fn go_on(&mut self, epoch: EpochId, actor: Actor, upto: u64, was_known: bool) -> bool {
        let place = (epoch, actor);
        let step = match self.from.get(&place) {
            Some((from, _)) if *from >= upto => return false,
            Some((_, step)) => *step,
            None if was_known => limits::SIGNED_EVERY,
            None => return false,
        };
        let is_end = self.theirs.get(&place).is_none_or(|tips| tips.iter().all(|tip| tip.seq <= upto));
        match is_end {
            true => drop(self.from.remove(&place)),
            false => drop(self.from.insert(place, (upto, step))),
        }
        !is_end
    }

    /// True if a change after `previous` is what the neighbour lacks next of a chain.
    pub(super) fn stands_before(&self, epoch: EpochId, actor: Actor, previous: Option<ChangeId>) -> bool {
        let tips = self.theirs.get(&(epoch, actor)).map_or(&[][..], Vec::as_slice);
        match previous {
            None => tips.is_empty(),
            Some(previous) => tips.iter().any(|tip| tip.id == previous),
        }
    }

    /// How far the neighbour has got in a chain.
    pub(super) fn reach(&self, epoch: EpochId, actor: Actor) -> u64 {
        self.theirs.get(&(epoch, actor)).into_iter().flatten().map(|tip| tip.seq).max().unwrap_or(0)
    }

    /// What the neighbour has and this node lacks: chain, from where on, tip there.
    pub(super) fn ahead<'a>(
        &'a self,
        group: &'a Group,
    ) -> impl Iterator<Item = (EpochId, Actor, u64, Tip)> + 'a {
        self.theirs.iter().flat_map(move |((epoch, actor), tips)| {
            let unknown =
                tips.iter().filter(move |tip| !group.knows(epoch, &tip.id) && !group.is_refused(&tip.id));
            unknown.map(move |tip| {
                let guess = group.guess(epoch, actor, *tip);
                let from = self.from.get(&(*epoch, *actor)).map_or(guess, |(from, _)| *from);
                (*epoch, *actor, from, *tip)
            })
        })
    }

    /// How many changes the neighbour has that are not here, as far as is known.
    pub fn missing_here(&self, group: &Group) -> u64 {
        self.ahead(group).map(|(_, _, reach, tip)| tip.seq.saturating_sub(reach)).sum()
    }

    /// How many changes are here that the neighbour lacks, as far as is known.
    pub fn missing_there(&self, group: &Group) -> u64 {
        if self.in_sync {
            return 0;
        }
        let mut missing = 0;
        for shard in group.shards() {
            let epoch = shard.root().epoch();
            for chain in shard.graph().chains() {
                missing += chain.len().saturating_sub(self.reach(epoch, chain.actor));
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Secret;

    #[test]
    fn what_a_neighbour_says_has_bounds() {
        let mut session = Session::new(Secret::from_bytes(&[1; 32]).node());
        let tip = |seq| Tip { seq, id: ChangeId([1; 32]) };
        let actor = |n: usize| Actor((n as u128).to_be_bytes());
        for n in 0..limits::SESSION_CHAINS + 10 {
            session.has(EpochId::ZERO, actor(n), tip(1), None);
        }
        assert_eq!(session.theirs.len(), limits::SESSION_CHAINS);
        session.has(EpochId::ZERO, actor(0), tip(2), Some(tip(1).id));
        session.has(EpochId::ZERO, actor(1), tip(limits::MAX_SEQ + 1), None);
        let reach = |n| session.reach(EpochId::ZERO, actor(n));
        assert_eq!((reach(0), reach(1), reach(limits::SESSION_CHAINS)), (2, 1, 0));
    }

    /// Wherever a chain forked, it is gone back to the beginning at the latest; and no further, whatever comes.
    #[test]
    fn a_branch_is_looked_for_down_to_the_beginning() {
        let (epoch, actor) = (EpochId::ZERO, Actor([1; 16]));
        for seq in (1..400).chain([100_000, limits::MAX_SEQ]) {
            let mut session = Session::new(Secret::from_bytes(&[1; 32]).node());
            session.has(epoch, actor, Tip { seq: seq + 1, id: ChangeId([1; 32]) }, None);
            let (mut after, mut asked) = (seq, 0);
            while after > 0 {
                session.go_back(epoch, actor, after);
                let from = session.from.get(&(epoch, actor)).map(|(from, _)| *from);
                assert!(from.is_some_and(|from| from < after), "{seq}: {from:?} after {after}");
                (after, asked) = (from.unwrap_or(0), asked + 1);
            }
            assert!(asked <= 64, "{seq}: {asked}");
            session.go_back(epoch, actor, seq);
            assert_eq!(session.reach(epoch, actor), 0, "it was asked for from the beginning already");
        }
    }
}
