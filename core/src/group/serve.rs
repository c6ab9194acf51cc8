//! History for others: where this node stands, and windows of what another lacks.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use serde::{Deserialize, Serialize};

use super::Group;
use super::unaccepted::{UnacceptedChange, UnacceptedSet};
use crate::delta::Delta;
use crate::delta::columnar::{self, IndexedDelta, SegmentHeader, SegmentProof};
use crate::id::{ChainId, ChangeId, GrantId, Incarnation, ShardId, Sig};
use crate::limits;
use crate::shard::Shard;
use crate::shard::chain::{Chain, EndProof};
use crate::shard::graph::GraphEntry;

/// The newest change of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tip {
    /// Its place in the chain.
    pub seq: u64,
    /// Its hash.
    pub id: ChangeId,
}

/// How far a node has got in one chain: one tip, or one for every branch if the chain forked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The chain.
    pub chain_id: ChainId,
    /// Its tips, sorted.
    pub tips: Vec<Tip>,
}

/// A part of a chain that is asked for: everything after `after`, up to the tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRange {
    /// The chain.
    pub chain_id: ChainId,
    /// What the asker has of it.
    pub after: u64,
    /// Where it is to end.
    pub upto: Tip,
}

impl Group {
    /// Where this node stands in every chain of a shard: the ends of all kept branches. A chain with more of them than one
    /// position may say has several. Empty if nothing is kept of the shard.
    pub fn chain_positions(&self, shard_id: &ShardId) -> Vec<Position> {
        let Some(shard) = self.shards.get(shard_id) else { return Vec::new() };
        let graph = shard.graph();
        let mut tips: BTreeMap<ChainId, Vec<Tip>> = BTreeMap::new();
        for chain in graph.chains() {
            let tip =
                graph.entry_in_chain(chain, chain.len()).map(|entry| Tip { seq: entry.seq, id: entry.id });
            tips.entry(chain.id).or_default().extend(tip);
        }
        for (chain_id, branches) in
            self.unaccepted.get(shard_id).map(UnacceptedSet::branch_tips).unwrap_or_default()
        {
            let tips = tips.entry(chain_id).or_default();
            for tip in branches {
                let lowest = self.unaccepted_branch(shard_id, tip).last().map_or(tip, |lowest| lowest);
                // The accepted end is none if a branch that is kept goes on from it.
                tips.retain(|accepted_tip| {
                    lowest.delta().seq != accepted_tip.seq + 1
                        || lowest.delta().deps.binary_search(&accepted_tip.id).is_err()
                });
                tips.push(Tip { seq: tip.delta().seq, id: tip.id() });
            }
        }
        let positions_of_chain = |(chain_id, mut tips): (ChainId, Vec<Tip>)| {
            tips.sort_unstable();
            let parts: Vec<Position> = tips
                .chunks(limits::MAX_TIPS_PER_CHAIN)
                .map(|tips| Position { chain_id, tips: tips.to_vec() })
                .collect();
            parts
        };
        tips.into_iter().flat_map(positions_of_chain).collect()
    }

    /// How many changes of one chain the document holds.
    pub fn accepted_len(&self, shard_id: &ShardId, chain_id: &ChainId) -> u64 {
        self.shards.get(shard_id).and_then(|shard| shard.graph().chain(chain_id)).map_or(0, Chain::len)
    }

    /// Up to where this node has what leads to a tip that it does not know, as a first guess: its own branches may be
    /// others than the one that the tip ends.
    pub fn resume_point(&self, shard_id: &ShardId, chain_id: &ChainId, tip: Tip) -> u64 {
        let unaccepted = self.unaccepted.get(shard_id).into_iter().flat_map(UnacceptedSet::iter);
        let unaccepted =
            unaccepted.filter(|change| change.chain_id == *chain_id).map(|change| change.delta().seq);
        let resume_seq =
            unaccepted.chain([self.accepted_len(shard_id, chain_id)]).filter(|seq| *seq < tip.seq).max();
        resume_seq
            .unwrap_or(tip.seq.saturating_sub(1) / limits::CHECKPOINT_INTERVAL * limits::CHECKPOINT_INTERVAL)
    }

    /// The author's change before this one; `None` of the first, and of one that is not here.
    pub fn previous_in_chain(&self, shard_id: &ShardId, id: &ChangeId) -> Option<ChangeId> {
        let graph = self.shards.get(shard_id)?.graph();
        if let Some(entry) = graph.get(id) {
            return Some(graph.entry_in_chain(graph.chain_of(entry)?, entry.seq.checked_sub(1)?)?.id);
        }
        let unaccepted = self.unaccepted.get(shard_id)?;
        let change = unaccepted.get(id)?;
        let accepted = || {
            Some(graph.entry_in_chain(graph.chain(&change.chain_id)?, change.delta().seq.checked_sub(1)?)?.id)
        };
        unaccepted.previous_in_chain(change).map(UnacceptedChange::id).or_else(accepted)
    }

    /// The newest signature of a change, if it is the newest of its chain: what a push carries.
    pub fn tip_signature(&self, shard_id: &ShardId, chain_id: &ChainId, seq: u64) -> Option<Sig> {
        let chain = self.shards.get(shard_id)?.graph().chain(chain_id)?;
        let end_proof =
            chain.end_proof().filter(|end_proof| end_proof.ids_ahead.is_empty() && chain.len() == seq);
        end_proof.map(|end_proof| end_proof.signature).or_else(|| chain.checkpoint_at(seq).copied())
    }

    /// The next window of what was asked for, in causal order, and whether more is left after it. Only what is kept is
    /// served. Chains that this node does not have, or not so, are passed over; of one that is asked for twice, the first
    /// part counts.
    pub fn next_batch(&mut self, shard_id: &ShardId, ranges: &[ChainRange]) -> Option<(Vec<u8>, bool)> {
        let shard = self.shards.get_mut(shard_id)?;
        shard.flush();
        let mut deltas = std::mem::take(&mut self.serve_cache);
        let shard = self.shards.get(shard_id)?;
        let mut candidates: Vec<ServedChange<'_>> = Vec::new();
        let mut seen_chains = BTreeSet::new();
        for range in ranges
            .iter()
            .take(limits::MAX_REQUESTED_CHAINS)
            .filter(|range| seen_chains.insert(range.chain_id))
        {
            candidates.extend(self.changes_in_range(shard_id, range));
        }
        candidates.sort_unstable_by_key(|served| (served.depth(), served.id()));
        let fitting_count = count_fitting(shard, &candidates, ranges, &mut deltas);
        let (chosen, rest) = candidates.split_at_checked(fitting_count).filter(|_| fitting_count > 0)?;
        let encoded = self.encode_changes(shard, chosen, &deltas)?;
        // What was read in bulk and not sent yet is what the next window begins with.
        let rest = rest.iter().take(limits::MAX_SERVE_CHANGES).map(ServedChange::id);
        let has_more = fitting_count < candidates.len();
        self.serve_cache = rest.filter_map(|id| Some((id, deltas.remove(&id)?))).collect();
        Some((encoded, has_more))
    }

    /// The branch that leads to what is wanted, from where the asker stands. Where that end is not known here, the
    /// accepted branch as far as it goes.
    fn changes_in_range(&self, shard_id: &ShardId, range: &ChainRange) -> Vec<ServedChange<'_>> {
        let Some(graph) = self.shards.get(shard_id).map(Shard::graph) else { return Vec::new() };
        let unaccepted = self.unaccepted.get(shard_id).and_then(|unaccepted| unaccepted.get(&range.upto.id));
        let branch = unaccepted.filter(|change| change.is_replicated && change.chain_id == range.chain_id);
        let branch: Vec<&UnacceptedChange> =
            branch.map(|tip| self.unaccepted_branch(shard_id, tip).collect()).unwrap_or_default();
        let from = range.after.saturating_add(1);
        let upto_seq = branch.last().map_or(range.upto.seq, |lowest| lowest.delta().seq - 1);
        let accepted = graph.chain(&range.chain_id).into_iter().flat_map(|chain| {
            let upto_seq = upto_seq.min(chain.len());
            (from..=upto_seq)
                .filter_map(move |seq| Some(ServedChange::Accepted(chain, graph.entry_in_chain(chain, seq)?)))
        });
        let branch =
            branch.into_iter().filter(|change| change.delta().seq >= from).map(ServedChange::Unaccepted);
        accepted.chain(branch).collect()
    }

    /// What is aside of the branch that ends there, newest first.
    fn unaccepted_branch<'a>(
        &'a self,
        shard_id: &ShardId,
        tip: &'a UnacceptedChange,
    ) -> impl Iterator<Item = &'a UnacceptedChange> {
        self.unaccepted.get(shard_id).into_iter().flat_map(|unaccepted| unaccepted.chain_back_from(tip.id()))
    }

    fn encode_changes(
        &self,
        shard: &Shard,
        chosen: &[ServedChange<'_>],
        deltas: &BTreeMap<ChangeId, Delta>,
    ) -> Option<Vec<u8>> {
        let mut segment_index_by_chain: BTreeMap<ChainId, usize> = BTreeMap::new();
        let mut segments: Vec<Vec<&ServedChange<'_>>> = Vec::new();
        let mut indexed_deltas: Vec<IndexedDelta<'_>> = Vec::with_capacity(chosen.len());
        for served in chosen {
            let segment_index = *segment_index_by_chain.entry(served.chain_id()).or_insert(segments.len());
            match segments.get_mut(segment_index) {
                Some(segment) => segment.push(served),
                None => segments.push(vec![served]),
            }
            let delta = match served {
                ServedChange::Accepted(..) => deltas.get(&served.id())?,
                ServedChange::Unaccepted(change) => change.delta(),
            };
            indexed_deltas.push((segment_index, served.id(), delta));
        }
        let mut chains = Vec::with_capacity(segments.len());
        for segment in segments {
            let (first, last) = (segment.first()?, segment.last()?);
            let base_id =
                self.previous_in_chain(&shard.root().shard_id(), &first.id()).unwrap_or(ChangeId::ZERO);
            let (grant, incarnation) = first.grant_and_incarnation();
            let header = SegmentHeader { grant, incarnation, after: first.seq() - 1, base_id };
            let checkpointed =
                segment.iter().filter(|served| served.seq().is_multiple_of(limits::CHECKPOINT_INTERVAL));
            let checkpoints = checkpointed.map(|served| served.checkpoint()).collect::<Option<Vec<Sig>>>()?;
            chains.push((header, SegmentProof { checkpoints, end_proof: last.end_proof(shard)? }));
        }
        Some(columnar::encode(shard.root(), &chains, &indexed_deltas))
    }
}

/// A change that is to be served, wherever it stands.
enum ServedChange<'a> {
    Accepted(&'a Chain, &'a GraphEntry),
    Unaccepted(&'a UnacceptedChange),
}

impl ServedChange<'_> {
    fn id(&self) -> ChangeId {
        match self {
            Self::Accepted(_, entry) => entry.id,
            Self::Unaccepted(change) => change.id(),
        }
    }

    fn depth(&self) -> u32 {
        match self {
            Self::Accepted(_, entry) => entry.depth,
            Self::Unaccepted(change) => change.depth,
        }
    }

    fn seq(&self) -> u64 {
        match self {
            Self::Accepted(_, entry) => entry.seq,
            Self::Unaccepted(change) => change.delta().seq,
        }
    }

    fn chain_id(&self) -> ChainId {
        match self {
            Self::Accepted(chain, _) => chain.id,
            Self::Unaccepted(change) => change.chain_id,
        }
    }

    fn grant_and_incarnation(&self) -> (GrantId, Incarnation) {
        match self {
            Self::Accepted(chain, _) => (chain.grant, chain.incarnation),
            Self::Unaccepted(change) => (change.delta().grant, change.delta().incarnation),
        }
    }

    /// The signature at a 64th change.
    fn checkpoint(&self) -> Option<Sig> {
        match self {
            Self::Accepted(chain, entry) => chain.checkpoint_at(entry.seq).copied(),
            Self::Unaccepted(change) => {
                change.end_proof.ids_ahead.is_empty().then_some(change.end_proof.signature)
            }
        }
    }

    /// What proves its branch up to it.
    fn end_proof(&self, shard: &Shard) -> Option<EndProof> {
        match self {
            Self::Accepted(chain, entry) => shard.graph().end_proof_at(chain, entry.seq),
            Self::Unaccepted(change) => Some(change.end_proof.clone()),
        }
    }
}

/// How many of the changes fit one window. The contents of accepted ones are added to `deltas`.
fn count_fitting(
    shard: &Shard,
    candidates: &[ServedChange<'_>],
    ranges: &[ChainRange],
    deltas: &mut BTreeMap<ChangeId, Delta>,
) -> usize {
    let limit = candidates.len().min(limits::MAX_BATCH_CHANGES);
    let is_unread = |served: &&ServedChange<'_>| {
        matches!(served, ServedChange::Accepted(..)) && !deltas.contains_key(&served.id())
    };
    if candidates.iter().take(limit).filter(is_unread).count() > BULK_READ_CHANGES {
        // Reading changes one by one costs ten times what reading all after a set of heads does.
        let after_by_chain: BTreeMap<ChainId, u64> =
            ranges.iter().map(|range| (range.chain_id, range.after)).collect();
        let known_seqs = shard.graph().chains().map(|chain| {
            let after = after_by_chain.get(&chain.id).copied().unwrap_or_else(|| chain.len());
            (chain.id, after)
        });
        let known_version = shard.graph().version_from_seqs(known_seqs);
        deltas.extend(shard.deltas_after(&known_version));
    }
    let (mut bytes, mut chains, mut fitting_count) = (0, BTreeSet::new(), 0);
    for served in candidates.iter().take(limit) {
        let size = match served {
            ServedChange::Unaccepted(change) => columnar::size_estimate(change.delta()),
            ServedChange::Accepted(..) => match deltas.entry(served.id()) {
                btree_map::Entry::Occupied(read) => columnar::size_estimate(read.get()),
                btree_map::Entry::Vacant(unread) => match shard.read_delta(&served.id()) {
                    Some(delta) => columnar::size_estimate(unread.insert(delta)),
                    None => break,
                },
            },
        };
        bytes += size;
        if chains.insert(served.chain_id()) {
            bytes += SEGMENT_OVERHEAD_BYTES;
        }
        if fitting_count > 0 && bytes > limits::MAX_BATCH_BYTES {
            break;
        }
        fitting_count += 1;
    }
    fitting_count
}

/// From so many changes on, they are read from the document in bulk.
const BULK_READ_CHANGES: usize = 64;
/// About what a chain's head and proof take in a window, at most.
const SEGMENT_OVERHEAD_BYTES: usize = 32 * limits::MAX_END_PROOF_HASHES + 64 + 120;
