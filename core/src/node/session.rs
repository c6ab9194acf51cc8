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

use super::input::MonoTime;
use crate::group::{Group, Position, RejectedId, Tip};
use crate::id::{ChainId, ChangeId, Digest, NodeId, RecordId, ShardId};
use crate::limits;

/// What a neighbour is still to be told of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnsentDifference {
    /// A record that it lacks.
    Record(RecordId),
    /// Where this side stands in a shard.
    Shard(ShardId),
}

/// One neighbour in one group.
#[derive(Clone, Debug)]
pub struct SyncSession {
    /// Who.
    pub peer: NodeId,
    /// The ends of the branches of every chain that the neighbour has, as far as is known.
    peer_tips: BTreeMap<(ShardId, ChainId), Vec<Tip>>,
    /// From where on to ask for a chain whose branch there was not found yet, and how far that was gone back last.
    resume_points: BTreeMap<(ShardId, ChainId), (u64, u64)>,
    /// True once the digests were equal.
    pub has_synced: bool,
    /// True while they are, as far as is known.
    pub is_in_sync: bool,
    /// The digest that this side told last.
    pub(super) sent_digest: Option<Digest>,
    /// The digest that the other side told last: as soon as this side's is the same, the two are equal.
    pub(super) received_digest: Option<Digest>,
    /// When this side told what it has last, and what the digests of the two sides were then.
    pub(super) summary_sent: Option<(MonoTime, Digest, Option<Digest>)>,
    /// When a differing presence was first seen, to be looked at again.
    pub(super) mismatch: Option<(MonoTime, Digest)>,
    /// True if news were held back since the link was choked.
    pub(super) has_unsent_changes: bool,
    /// True from the first Positions of a round until nothing is left to ask for.
    pub(super) is_fetching: bool,
    /// Epochs of which a window was asked for and has not come. Unlike a want, this is not forgotten when the answer
    /// is late.
    pub(super) awaited_responses: BTreeSet<ShardId>,
    /// What the other side lacks and was not sent yet: it goes as the link takes it.
    pub(super) unsent_differences: VecDeque<UnsentDifference>,
}

impl SyncSession {
    pub(super) fn new(peer: NodeId) -> Self {
        Self {
            peer,
            peer_tips: BTreeMap::new(),
            resume_points: BTreeMap::new(),
            has_synced: false,
            is_in_sync: false,
            sent_digest: None,
            received_digest: None,
            summary_sent: None,
            mismatch: None,
            has_unsent_changes: false,
            is_fetching: false,
            awaited_responses: BTreeSet::new(),
            unsent_differences: VecDeque::new(),
        }
    }

    /// The neighbour has everything that is here.
    pub(super) fn mark_in_sync(&mut self, group: &Group) {
        for shard in group.shards() {
            let shard_id = shard.root().shard_id();
            self.set_positions(shard_id, &group.shard_states().chain_positions(&shard_id));
        }
        self.has_synced = true;
        self.is_in_sync = true;
        self.mismatch = None;
        self.summary_sent = None;
        self.is_fetching = false;
        self.resume_points.clear();
    }

    /// True if this side has told what it has lately, and neither side changed since.
    pub(super) fn has_sent_summary(&self, own_digest: Digest, now: MonoTime) -> bool {
        self.summary_sent.is_some_and(|(sent_at, sent_own, sent_peer)| {
            (sent_own, sent_peer) == (own_digest, self.received_digest)
                && now.ms_since(sent_at) < limits::REPAIR_DELAY_MS
        })
    }

    /// How long a digest that differs is left to what is under way. Between neighbours that were equal that is news on
    /// its way; else something was missed.
    pub(super) fn repair_delay_ms(&self) -> u64 {
        if self.is_in_sync { limits::REPAIR_DELAY_MS } else { limits::BROADCAST_DEBOUNCE_MS }
    }

    /// True if something waits until the link has room.
    pub(super) fn has_unsent(&self) -> bool {
        self.has_unsent_changes || !self.unsent_differences.is_empty()
    }

    /// When it is to be compared with again, unless it is found equal before.
    pub(super) fn repair_due_at(&self) -> Option<MonoTime> {
        self.mismatch.map(|(since, _)| since.plus_ms(self.repair_delay_ms()))
    }

    /// The neighbour said where it stands in a shard. Of a chain that is named nothing else is believed any more.
    pub(super) fn set_positions(&mut self, shard_id: ShardId, positions: &[Position]) {
        for position in positions {
            if let Some(tips) = self.peer_tips.get_mut(&(shard_id, position.chain_id)) {
                tips.clear();
            }
        }
        for position in positions {
            let is_full = self.peer_tips.len() >= limits::MAX_SESSION_CHAINS;
            if is_full && !self.peer_tips.contains_key(&(shard_id, position.chain_id)) {
                continue;
            }
            // What nobody can have is not believed.
            let tips = position.tips.iter().filter(|tip| tip.seq <= limits::MAX_SEQ);
            let known = self.peer_tips.entry((shard_id, position.chain_id)).or_default();
            known.extend(tips.take(limits::MAX_SESSION_TIPS_PER_CHAIN - known.len()));
        }
    }

    /// The neighbour has this change and all before it, of which `previous` is the last.
    pub(super) fn advance_tip(
        &mut self,
        shard_id: ShardId,
        chain_id: ChainId,
        tip: Tip,
        previous: Option<ChangeId>,
    ) {
        let is_full = self.peer_tips.len() >= limits::MAX_SESSION_CHAINS
            && !self.peer_tips.contains_key(&(shard_id, chain_id));
        if is_full || tip.seq > limits::MAX_SEQ {
            return;
        }
        let known = self.peer_tips.entry((shard_id, chain_id)).or_default();
        if let Some(extended_tip) = known.iter_mut().find(|known_tip| Some(known_tip.id) == previous) {
            *extended_tip = tip;
        } else if known.is_empty() {
            known.push(tip);
        } else if let Some(newest) = known.iter_mut().max().filter(|newest| newest.seq < tip.seq) {
            *newest = tip;
        }
    }

    /// The neighbour cannot give what it seemed to have.
    pub(super) fn forget_chain(&mut self, shard_id: ShardId, chain_id: ChainId) {
        self.peer_tips.remove(&(shard_id, chain_id));
        self.resume_points.remove(&(shard_id, chain_id));
    }

    /// What the neighbour gave of a chain begins on a change that is not here: next time it is asked from further below.
    pub(super) fn search_earlier(&mut self, shard_id: ShardId, chain_id: ChainId, after: u64) {
        // Twice as far each time, so that no fork takes long to find.
        let step = match self.resume_points.get(&(shard_id, chain_id)) {
            None => limits::CHECKPOINT_INTERVAL,
            // It was asked from the beginning already, and parts again: no chain does.
            Some((0, _)) => return self.forget_chain(shard_id, chain_id),
            Some((_, step)) => step.saturating_mul(2),
        };
        self.resume_points.insert((shard_id, chain_id), (after.saturating_sub(step), step));
    }

    /// All that the neighbour gave of a chain, up to this place, is here. Where a branch is looked for, or is to be since
    /// nothing of it was new, it is asked from there next time: a window may end before the branch begins. True if that
    /// is so.
    pub(super) fn advance_search(
        &mut self,
        shard_id: ShardId,
        chain_id: ChainId,
        upto: u64,
        nothing_new: bool,
    ) -> bool {
        let chain_key = (shard_id, chain_id);
        let step = match self.resume_points.get(&chain_key) {
            Some((resume_at, _)) if *resume_at >= upto => return false,
            Some((_, step)) => *step,
            None if nothing_new => limits::CHECKPOINT_INTERVAL,
            None => return false,
        };
        let is_exhausted =
            self.peer_tips.get(&chain_key).is_none_or(|tips| tips.iter().all(|tip| tip.seq <= upto));
        match is_exhausted {
            true => drop(self.resume_points.remove(&chain_key)),
            false => drop(self.resume_points.insert(chain_key, (upto, step))),
        }
        !is_exhausted
    }

    /// True if a change after `previous` is what the neighbour lacks next of a chain.
    pub(super) fn is_next_change(
        &self,
        shard_id: ShardId,
        chain_id: ChainId,
        previous: Option<ChangeId>,
    ) -> bool {
        let tips = self.peer_tips.get(&(shard_id, chain_id)).map_or(&[][..], Vec::as_slice);
        match previous {
            None => tips.is_empty(),
            Some(previous) => tips.iter().any(|tip| tip.id == previous),
        }
    }

    /// How far the neighbour has got in a chain.
    pub(super) fn known_seq(&self, shard_id: ShardId, chain_id: ChainId) -> u64 {
        self.peer_tips.get(&(shard_id, chain_id)).into_iter().flatten().map(|tip| tip.seq).max().unwrap_or(0)
    }

    /// What the neighbour has and this node lacks: chain, from where on, tip there.
    pub(super) fn missing_ranges<'a>(
        &'a self,
        group: &'a Group,
    ) -> impl Iterator<Item = (ShardId, ChainId, u64, Tip)> + 'a {
        self.peer_tips.iter().flat_map(move |((shard_id, chain_id), tips)| {
            let unknown_tips = tips.iter().filter(move |tip| {
                !group.shard_states().has_change(shard_id, &tip.id)
                    && !group.rejected().contains(RejectedId::Change(tip.id))
            });
            unknown_tips.map(move |tip| {
                let guessed_seq = group.shard_states().resume_point(shard_id, chain_id, *tip);
                let resume_at = self
                    .resume_points
                    .get(&(*shard_id, *chain_id))
                    .map_or(guessed_seq, |(stored, _)| *stored);
                (*shard_id, *chain_id, resume_at, *tip)
            })
        })
    }

    /// How many changes the neighbour has that are not here, as far as is known.
    pub fn count_missing_here(&self, group: &Group) -> u64 {
        self.missing_ranges(group).map(|(_, _, after, tip)| tip.seq.saturating_sub(after)).sum()
    }

    /// How many changes are here that the neighbour lacks, as far as is known.
    pub fn count_missing_there(&self, group: &Group) -> u64 {
        if self.is_in_sync {
            return 0;
        }
        let mut missing = 0;
        for shard in group.shards() {
            let shard_id = shard.root().shard_id();
            for chain in shard.graph().chains() {
                missing += chain.len().saturating_sub(self.known_seq(shard_id, chain.id));
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SecretKey;

    #[test]
    fn number_of_chains_and_sequence_numbers_of_a_peer_are_limited() {
        let mut session = SyncSession::new(SecretKey::from_bytes(&[1; 32]).node_id());
        let tip = |seq| Tip { seq, id: ChangeId([1; 32]) };
        let chain_id = |n: usize| ChainId((n as u128).to_be_bytes());
        for n in 0..limits::MAX_SESSION_CHAINS + 10 {
            session.advance_tip(ShardId::ZERO, chain_id(n), tip(1), None);
        }
        assert_eq!(session.peer_tips.len(), limits::MAX_SESSION_CHAINS);
        session.advance_tip(ShardId::ZERO, chain_id(0), tip(2), Some(tip(1).id));
        session.advance_tip(ShardId::ZERO, chain_id(1), tip(limits::MAX_SEQ + 1), None);
        let known_seq = |n| session.known_seq(ShardId::ZERO, chain_id(n));
        assert_eq!((known_seq(0), known_seq(1), known_seq(limits::MAX_SESSION_CHAINS)), (2, 1, 0));
    }

    /// Wherever a chain forked, it is gone back to the beginning at the latest; and no further, whatever comes.
    #[test]
    fn search_for_a_fork_ends_at_the_start_of_the_chain() {
        let (shard_id, chain_id) = (ShardId::ZERO, ChainId([1; 16]));
        for seq in (1..400).chain([100_000, limits::MAX_SEQ]) {
            let mut session = SyncSession::new(SecretKey::from_bytes(&[1; 32]).node_id());
            session.advance_tip(shard_id, chain_id, Tip { seq: seq + 1, id: ChangeId([1; 32]) }, None);
            let (mut after, mut attempts) = (seq, 0);
            while after > 0 {
                session.search_earlier(shard_id, chain_id, after);
                let from = session.resume_points.get(&(shard_id, chain_id)).map(|(from, _)| *from);
                assert!(from.is_some_and(|from| from < after), "{seq}: {from:?} after {after}");
                (after, attempts) = (from.unwrap_or(0), attempts + 1);
            }
            assert!(attempts <= 64, "{seq}: {attempts}");
            session.search_earlier(shard_id, chain_id, seq);
            assert_eq!(
                session.known_seq(shard_id, chain_id),
                0,
                "it was asked for from the beginning already"
            );
        }
    }
}
