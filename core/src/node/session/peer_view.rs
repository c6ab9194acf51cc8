//! What is known of a neighbour's chains: their tips, and where the next request of each begins.

use std::collections::BTreeMap;

use crate::group::{Group, Position, RejectedId, Tip};
use crate::id::{ChainId, ChangeId, ShardId};
use crate::limits;

/// What is known of a neighbour's chains in one group. If it is wrong, the digests differ and a new round
/// corrects it.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct PeerView {
    /// The tips of every chain that the neighbour is known to have, one for each branch.
    tips: BTreeMap<(ShardId, ChainId), Vec<Tip>>,
    /// Where to resume a chain whose branch point was not found yet, and the last step of that search.
    resume_points: BTreeMap<(ShardId, ChainId), (u64, u64)>,
}

impl PeerView {
    /// Records that the neighbour has everything that is here.
    pub(in super::super) fn mark_equal(&mut self, group: &Group) {
        for shard in group.shards() {
            let shard_id = shard.root().shard_id();
            self.set_positions(shard_id, &group.shard_states().chain_positions(&shard_id));
        }
        self.resume_points.clear();
    }

    /// Takes over the tips that the neighbour sent of a shard. They replace what was known of each named
    /// chain.
    pub(in super::super) fn set_positions(&mut self, shard_id: ShardId, positions: &[Position]) {
        for position in positions {
            if let Some(tips) = self.tips.get_mut(&(shard_id, position.chain_id)) {
                tips.clear();
            }
        }
        for position in positions {
            let is_full = self.tips.len() >= limits::MAX_SESSION_CHAINS;
            if is_full && !self.tips.contains_key(&(shard_id, position.chain_id)) {
                continue;
            }
            // A sequence number beyond the limit cannot exist.
            let tips = position.tips.iter().filter(|tip| tip.seq <= limits::MAX_SEQ);
            let known = self.tips.entry((shard_id, position.chain_id)).or_default();
            known.extend(tips.take(limits::MAX_SESSION_TIPS_PER_CHAIN - known.len()));
        }
    }

    /// Records that the neighbour has this change and all before it; `previous` is the one directly before
    /// it.
    pub(in super::super) fn advance_tip(
        &mut self,
        shard_id: ShardId,
        chain_id: ChainId,
        tip: Tip,
        previous: Option<ChangeId>,
    ) {
        let is_full =
            self.tips.len() >= limits::MAX_SESSION_CHAINS && !self.tips.contains_key(&(shard_id, chain_id));
        if is_full || tip.seq > limits::MAX_SEQ {
            return;
        }
        let known = self.tips.entry((shard_id, chain_id)).or_default();
        if let Some(extended_tip) = known.iter_mut().find(|known_tip| Some(known_tip.id) == previous) {
            *extended_tip = tip;
        } else if known.is_empty() {
            known.push(tip);
        } else if let Some(newest) = known.iter_mut().max().filter(|newest| newest.seq < tip.seq) {
            *newest = tip;
        }
    }

    /// Drops what is known of a chain: the neighbour did not send what it seemed to have.
    pub(in super::super) fn forget_chain(&mut self, shard_id: ShardId, chain_id: ChainId) {
        self.tips.remove(&(shard_id, chain_id));
        self.resume_points.remove(&(shard_id, chain_id));
    }

    /// Lowers the resume point of a chain: what the neighbour sent begins on a change that is not here.
    pub(in super::super) fn search_earlier(&mut self, shard_id: ShardId, chain_id: ChainId, after: u64) {
        // The step doubles each time, so that the search for a fork takes few requests.
        let step = match self.resume_points.get(&(shard_id, chain_id)) {
            None => limits::CHECKPOINT_INTERVAL,
            // The chain was requested from its beginning, so no earlier point is left.
            Some((0, _)) => return self.forget_chain(shard_id, chain_id),
            Some((_, step)) => step.saturating_mul(2),
        };
        self.resume_points.insert((shard_id, chain_id), (after.saturating_sub(step), step));
    }

    /// Raises the resume point of a chain to `upto`, where all that the neighbour sent is here. That matters
    /// while the start of a branch is searched for, or if nothing sent was new: a batch may end before the
    /// branch begins. True if more of the chain is to be requested.
    pub(in super::super) fn advance_search(
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
            self.tips.get(&chain_key).is_none_or(|tips| tips.iter().all(|tip| tip.seq <= upto));
        match is_exhausted {
            true => drop(self.resume_points.remove(&chain_key)),
            false => drop(self.resume_points.insert(chain_key, (upto, step))),
        }
        !is_exhausted
    }

    /// True if a change directly after `previous` is the next one that the neighbour lacks of a chain.
    pub(in super::super) fn is_next_change(
        &self,
        shard_id: ShardId,
        chain_id: ChainId,
        previous: Option<ChangeId>,
    ) -> bool {
        let tips = self.tips.get(&(shard_id, chain_id)).map_or(&[][..], Vec::as_slice);
        match previous {
            None => tips.is_empty(),
            Some(previous) => tips.iter().any(|tip| tip.id == previous),
        }
    }

    /// The highest sequence number that the neighbour is known to have of a chain.
    pub(in super::super) fn known_seq(&self, shard_id: ShardId, chain_id: ChainId) -> u64 {
        self.tips.get(&(shard_id, chain_id)).into_iter().flatten().map(|tip| tip.seq).max().unwrap_or(0)
    }

    /// The ranges that the neighbour has and this node lacks: chain, resume point, the neighbour's tip.
    pub(in super::super) fn missing_ranges<'a>(
        &'a self,
        group: &'a Group,
    ) -> impl Iterator<Item = (ShardId, ChainId, u64, Tip)> + 'a {
        self.tips.iter().flat_map(move |((shard_id, chain_id), tips)| {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_chains_and_sequence_numbers_of_a_peer_are_limited() {
        let mut view = PeerView::default();
        let tip = |seq| Tip { seq, id: ChangeId([1; 32]) };
        let chain_id = |n: usize| ChainId((n as u128).to_be_bytes());
        for n in 0..limits::MAX_SESSION_CHAINS + 10 {
            view.advance_tip(ShardId::ZERO, chain_id(n), tip(1), None);
        }
        assert_eq!(view.tips.len(), limits::MAX_SESSION_CHAINS);
        view.advance_tip(ShardId::ZERO, chain_id(0), tip(2), Some(tip(1).id));
        view.advance_tip(ShardId::ZERO, chain_id(1), tip(limits::MAX_SEQ + 1), None);
        let known_seq = |n| view.known_seq(ShardId::ZERO, chain_id(n));
        assert_eq!((known_seq(0), known_seq(1), known_seq(limits::MAX_SESSION_CHAINS)), (2, 1, 0));
    }

    #[test]
    fn search_for_a_fork_ends_at_the_start_of_the_chain() {
        let (shard_id, chain_id) = (ShardId::ZERO, ChainId([1; 16]));
        for seq in (1..400).chain([100_000, limits::MAX_SEQ]) {
            let mut view = PeerView::default();
            view.advance_tip(shard_id, chain_id, Tip { seq: seq + 1, id: ChangeId([1; 32]) }, None);
            let (mut after, mut attempts) = (seq, 0);
            while after > 0 {
                view.search_earlier(shard_id, chain_id, after);
                let from = view.resume_points.get(&(shard_id, chain_id)).map(|(from, _)| *from);
                assert!(from.is_some_and(|from| from < after), "{seq}: {from:?} after {after}");
                (after, attempts) = (from.unwrap_or(0), attempts + 1);
            }
            assert!(attempts <= 64, "{seq}: {attempts}");
            view.search_earlier(shard_id, chain_id, seq);
            assert_eq!(
                view.known_seq(shard_id, chain_id),
                0,
                "the chain was requested from its beginning already"
            );
        }
    }
}
