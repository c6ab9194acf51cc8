//! Serving history to peers: the positions of this node, and batches of what a peer lacks.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use serde::{Deserialize, Serialize};

use super::Group;
use super::shard_state::ShardState;
use super::unaccepted::UnacceptedChange;
use crate::delta::Delta;
use crate::delta::columnar::{self, IndexedDelta, SegmentHeader, SegmentProof};
use crate::id::{ChainId, ChangeId, GrantId, Incarnation, ShardId, Sig};
use crate::limits;
use crate::shard::Shard;
use crate::shard::chain::{Chain, EndProof};
use crate::shard::graph::GraphEntry;

/// The newest change of a chain, or of one branch of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tip {
    /// The change's sequence number in the chain.
    pub seq: u64,
    /// The change's hash.
    pub id: ChangeId,
}

/// How much of one chain a node has: one tip, or one for each branch if the chain forked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The chain's id.
    pub chain_id: ChainId,
    /// The tips of the chain's branches, sorted.
    pub tips: Vec<Tip>,
}

/// A requested part of a chain: everything after `after`, up to a tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRange {
    /// The chain's id.
    pub chain_id: ChainId,
    /// The number of the last change that the requesting node has.
    pub after: u64,
    /// The last change that is requested.
    pub upto: Tip,
}

/// Deltas that were read for one batch and belong into the next.
pub(super) type ServeCache = BTreeMap<ChangeId, Delta>;

impl Group {
    /// The next batch of the requested ranges, in causal order, and whether more remains after it. Only
    /// replicated changes are served. A range is skipped if this node does not have that part of the chain;
    /// of two ranges of one chain, the first counts. `None` if nothing can be served.
    pub fn next_batch(&mut self, shard_id: &ShardId, ranges: &[ChainRange]) -> Option<(Vec<u8>, bool)> {
        self.shards.get_mut(shard_id)?.next_batch(ranges, &mut self.serve_cache)
    }
}

impl ShardState {
    /// The position of this node in every chain: the tips of all replicated branches. A chain with more tips
    /// than one position may hold has several positions.
    pub(super) fn chain_positions(&self) -> Vec<Position> {
        let graph = self.shard.graph();
        let mut tips: BTreeMap<ChainId, Vec<Tip>> = BTreeMap::new();
        for chain in graph.chains() {
            let tip = graph.entry_in_chain(chain, chain.len());
            let tip = tip.map(|entry| Tip { seq: entry.seq, id: entry.id });
            tips.entry(chain.id).or_default().extend(tip);
        }
        for (chain_id, branches) in self.unaccepted.branch_tips() {
            let tips = tips.entry(chain_id).or_default();
            for tip in branches {
                let lowest = self.unaccepted.chain_back_from(tip.id()).last().unwrap_or(tip);
                // If the branch continues the accepted one, the accepted tip is no tip of the chain.
                tips.retain(|accepted_tip| {
                    lowest.delta().seq != accepted_tip.seq + 1
                        || lowest.delta().deps.binary_search(&accepted_tip.id).is_err()
                });
                tips.push(Tip { seq: tip.delta().seq, id: tip.id() });
            }
        }
        let mut positions = Vec::new();
        for (chain_id, mut tips) in tips {
            tips.sort_unstable();
            let parts = tips.chunks(limits::MAX_TIPS_PER_CHAIN);
            positions.extend(parts.map(|tips| Position { chain_id, tips: tips.to_vec() }));
        }
        positions
    }

    /// A first guess from where to request a tip that is not here. The guess is wrong if this node has only
    /// other branches of the chain there.
    pub(super) fn resume_point(&self, chain_id: &ChainId, tip: Tip) -> u64 {
        let unaccepted = self.unaccepted.iter().filter(|change| change.chain_id == *chain_id);
        let known_seqs = unaccepted.map(|change| change.delta().seq).chain([self.accepted_len(chain_id)]);
        let checkpoint_below =
            tip.seq.saturating_sub(1) / limits::CHECKPOINT_INTERVAL * limits::CHECKPOINT_INTERVAL;
        known_seqs.filter(|seq| *seq < tip.seq).max().unwrap_or(checkpoint_below)
    }

    /// The author's change before this one; `None` for the first change of a chain, and if it is not here.
    pub(super) fn previous_in_chain(&self, id: &ChangeId) -> Option<ChangeId> {
        let graph = self.shard.graph();
        if let Some(entry) = graph.get(id) {
            return Some(graph.entry_in_chain(graph.chain_of(entry)?, entry.seq.checked_sub(1)?)?.id);
        }
        let change = self.unaccepted.get(id)?;
        if let Some(previous) = self.unaccepted.previous_in_chain(change) {
            return Some(previous.id());
        }
        let chain = graph.chain(&change.chain_id)?;
        Some(graph.entry_in_chain(chain, change.delta().seq.checked_sub(1)?)?.id)
    }

    fn next_batch(&mut self, ranges: &[ChainRange], cache: &mut ServeCache) -> Option<(Vec<u8>, bool)> {
        self.shard.flush();
        let mut deltas = std::mem::take(cache);
        let mut candidates: Vec<ServedChange<'_>> = Vec::new();
        let mut seen_chains = BTreeSet::new();
        let first_ranges = ranges.iter().take(limits::MAX_REQUESTED_CHAINS);
        for range in first_ranges.filter(|range| seen_chains.insert(range.chain_id)) {
            candidates.extend(self.changes_in_range(range));
        }
        candidates.sort_unstable_by_key(|served| (served.depth(), served.id()));
        let fitting_count = count_fitting(&self.shard, &candidates, ranges, &mut deltas);
        let (chosen, rest) = candidates.split_at_checked(fitting_count).filter(|_| fitting_count > 0)?;
        let encoded = self.encode_changes(chosen, &deltas)?;
        let has_more = fitting_count < candidates.len();
        // The next batch begins with what was read in bulk and is not sent yet.
        let rest = rest.iter().take(limits::MAX_SERVE_CHANGES).map(ServedChange::id);
        *cache = rest.filter_map(|id| Some((id, deltas.remove(&id)?))).collect();
        Some((encoded, has_more))
    }

    /// The changes of the branch that leads to the requested tip, after those that the peer has. If the tip
    /// is not here, the accepted branch as far as it goes.
    fn changes_in_range(&self, range: &ChainRange) -> Vec<ServedChange<'_>> {
        let graph = self.shard.graph();
        let tip = self.unaccepted.get(&range.upto.id);
        let tip = tip.filter(|change| change.is_replicated && change.chain_id == range.chain_id);
        let branch: Vec<&UnacceptedChange> =
            tip.into_iter().flat_map(|tip| self.unaccepted.chain_back_from(tip.id())).collect();
        let from = range.after.saturating_add(1);
        let upto_seq = branch.last().map_or(range.upto.seq, |lowest| lowest.delta().seq - 1);
        let accepted = graph.chain(&range.chain_id).into_iter().flat_map(|chain| {
            (from..=upto_seq.min(chain.len()))
                .filter_map(move |seq| Some(ServedChange::Accepted(chain, graph.entry_in_chain(chain, seq)?)))
        });
        let branch =
            branch.into_iter().filter(|change| change.delta().seq >= from).map(ServedChange::Unaccepted);
        accepted.chain(branch).collect()
    }

    fn encode_changes(&self, chosen: &[ServedChange<'_>], deltas: &ServeCache) -> Option<Vec<u8>> {
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
        let headers = segments.iter().map(|segment| self.segment_header(segment));
        let headers = headers.collect::<Option<Vec<_>>>()?;
        Some(columnar::encode(self.shard.root(), &headers, &indexed_deltas))
    }

    /// The header of a segment and the signatures that prove it.
    fn segment_header(&self, segment: &[&ServedChange<'_>]) -> Option<(SegmentHeader, SegmentProof)> {
        let (first, last) = (segment.first()?, segment.last()?);
        let base_id = self.previous_in_chain(&first.id()).unwrap_or(ChangeId::ZERO);
        let (grant, incarnation) = first.grant_and_incarnation();
        let header = SegmentHeader { grant, incarnation, after: first.seq() - 1, base_id };
        let checkpointed =
            segment.iter().filter(|served| served.seq().is_multiple_of(limits::CHECKPOINT_INTERVAL));
        let checkpoints = checkpointed.map(|served| served.checkpoint()).collect::<Option<Vec<Sig>>>()?;
        Some((header, SegmentProof { checkpoints, end_proof: last.end_proof(&self.shard)? }))
    }
}

/// A change to be served.
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

    /// The signature at a checkpoint.
    fn checkpoint(&self) -> Option<Sig> {
        match self {
            Self::Accepted(chain, entry) => chain.checkpoint_at(entry.seq).copied(),
            Self::Unaccepted(change) => {
                change.end_proof.ids_ahead.is_empty().then_some(change.end_proof.signature)
            }
        }
    }

    /// The proof of the change's chain up to it.
    fn end_proof(&self, shard: &Shard) -> Option<EndProof> {
        match self {
            Self::Accepted(chain, entry) => shard.graph().end_proof_at(chain, entry.seq),
            Self::Unaccepted(change) => Some(change.end_proof.clone()),
        }
    }
}

/// The number of candidates that fit one batch. The deltas of the accepted ones are added to `deltas`.
fn count_fitting(
    shard: &Shard,
    candidates: &[ServedChange<'_>],
    ranges: &[ChainRange],
    deltas: &mut ServeCache,
) -> usize {
    let limit = candidates.len().min(limits::MAX_BATCH_CHANGES);
    let is_unread = |served: &&ServedChange<'_>| {
        matches!(served, ServedChange::Accepted(..)) && !deltas.contains_key(&served.id())
    };
    if candidates.iter().take(limit).filter(is_unread).count() > BULK_READ_CHANGES {
        // Reading changes one by one takes ten times as long as reading all changes after a set of heads.
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

/// Bounds the number of accepted changes that are read from the document one by one for a batch.
const BULK_READ_CHANGES: usize = 64;
/// The bytes that the header and proof of one segment take in a batch, at most.
const SEGMENT_OVERHEAD_BYTES: usize = 32 * limits::MAX_END_PROOF_HASHES + 64 + 120;
