//! What comes of changes that were offered to a group.

use std::collections::BTreeSet;

use super::ingest_fault::IngestFault;
use crate::id::{ChainId, ChangeId, ShardId, Sig};
use crate::limit_stats::LimitStats;
use crate::store::Row;

/// A change that is new here and that members pass on.
#[derive(Clone, Debug)]
pub struct NewChange {
    /// The shard that the change belongs to.
    pub shard_id: ShardId,
    /// The change's chain.
    pub chain_id: ChainId,
    /// The change's sequence number in its chain.
    pub seq: u64,
    /// The change's hash.
    pub id: ChangeId,
    /// The bytes of the delta, to be passed on.
    pub delta: Vec<u8>,
    /// The keys that the change puts; empty if the change is not accepted.
    pub put_keys: Vec<String>,
    /// The author's signature at this change, if one arrived with it.
    pub signature: Option<Sig>,
    /// True if the change was here before as an unaccepted one.
    pub was_unaccepted: bool,
}

/// The outcome of offering changes to a group.
#[derive(Clone, Debug, Default)]
pub struct IngestOutcome {
    /// The new changes that members pass on, each after everything that it depends on.
    pub new_changes: Vec<NewChange>,
    /// The rows to make durable.
    pub rows: Vec<Row>,
    /// True if a change waits for others that are not here: the caller should ask the peer for its positions.
    pub has_gap: bool,
    /// The reason why a change was rejected; the peer that wrote or sent it is at fault.
    pub rejection: Option<IngestFault>,
    /// Chains of a batch of which no change could be taken in.
    pub stuck_chains: Vec<ChainId>,
    /// Chains whose part of a batch follows a change that is not here, and that change's sequence number. The
    /// batch holds another branch; the caller has to request an earlier part of it.
    pub diverged_chains: Vec<(ChainId, u64)>,
    /// Chains of a batch that are here completely, and the sequence number that the batch reaches.
    pub reached_seqs: Vec<(ChainId, u64)>,
    /// The changes that the document lost.
    pub retracted: BTreeSet<ChangeId>,
    /// The limits that were reached.
    pub limit_hits: LimitStats,
    /// Chains of which a new change was taken in.
    pub(super) advanced_chains: BTreeSet<ChainId>,
}

impl IngestOutcome {
    /// True if no change was taken in and no other branch was found.
    pub fn has_no_progress(&self) -> bool {
        self.new_changes.is_empty() && self.advanced_chains.is_empty() && self.diverged_chains.is_empty()
    }

    /// Adds the outcome of a later step. The first rejection stays.
    pub fn merge(&mut self, later: Self) {
        self.new_changes.extend(later.new_changes);
        self.rows.extend(later.rows);
        self.has_gap |= later.has_gap;
        self.rejection = self.rejection.take().or(later.rejection);
        self.stuck_chains.extend(later.stuck_chains);
        self.diverged_chains.extend(later.diverged_chains);
        self.reached_seqs.extend(later.reached_seqs);
        self.retracted.extend(later.retracted);
        self.limit_hits.merge(&later.limit_hits);
        self.advanced_chains.extend(later.advanced_chains);
    }
}
