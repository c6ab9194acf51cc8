//! A sync session: how this node and one neighbour bring one group to the same state, and keep it there.
//!
//! ```text
//! A                                          B
//! |-- GroupDigest ------------------------->|   both at once; equal digests: in sync
//! |<------------------------- GroupDigest --|
//! |-- GroupSummary ------------------------>|   each answers a digest that differs
//! |<------------------------ GroupSummary --|
//! |-- RecordBatch, ShardPositions --------->|   records that the other lacks; tips of shards
//! |<--------- RecordBatch, ShardPositions --|   that differ
//! |-- RangeRequest ------------------------>|   each requests what it lacks
//! |<----------------------- RangeResponse --|
//! |-- GroupDigest ------------------------->|   nothing is missing: compare again
//! |<------------------------- GroupDigest --|
//! |-- Push ... ---------------------------->|   from then on: new changes as they come
//! ```
//!
//! [`phase`] holds the phases, [`peer_view`] what is known of the neighbour's chains.

mod peer_view;
mod phase;

use std::collections::{BTreeSet, VecDeque};

use super::input::MonoTime;
use crate::group::Group;
use crate::id::{Digest, NodeId, RecordId, ShardId};
use crate::limits;
use peer_view::PeerView;
use phase::SyncPhase;

/// One item that a neighbour lacks and was not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnsentDifference {
    /// A record.
    Record(RecordId),
    /// This node's positions in a shard.
    Shard(ShardId),
}

/// The summary that was sent last, with the digests of both sides at that time.
#[derive(Clone, Copy, Debug)]
struct SentSummary {
    sent_at: MonoTime,
    own_digest: Digest,
    peer_digest: Option<Digest>,
}

/// The sync of one group with one neighbour.
#[derive(Clone, Debug)]
pub struct SyncSession {
    /// The neighbour's node id.
    pub peer: NodeId,
    /// When the session was opened.
    pub(super) opened_at: MonoTime,
    /// What is known of the neighbour's chains.
    pub(super) view: PeerView,
    phase: SyncPhase,
    /// True once the digests were equal.
    has_synced: bool,
    /// The digest that this node sent last.
    pub(super) sent_digest: Option<Digest>,
    /// The digest that the neighbour sent last.
    received_digest: Option<Digest>,
    summary: Option<SentSummary>,
    /// When a differing presence or a gap was first seen since this node sent its digest.
    mismatch_since: Option<MonoTime>,
    /// True if changes were held back since the link was backpressured.
    pub(super) has_unsent_changes: bool,
    /// What the neighbour lacks and was not sent yet: it is sent as the link takes it.
    pub(super) unsent_differences: VecDeque<UnsentDifference>,
    /// Shards of which a range was requested and has not come. Unlike a requested range, an entry does not
    /// expire.
    awaited_responses: BTreeSet<ShardId>,
}

impl SyncSession {
    pub(super) fn new(peer: NodeId, opened_at: MonoTime) -> Self {
        Self {
            peer,
            opened_at,
            view: PeerView::default(),
            phase: SyncPhase::Comparing,
            has_synced: false,
            sent_digest: None,
            received_digest: None,
            summary: None,
            mismatch_since: None,
            has_unsent_changes: false,
            unsent_differences: VecDeque::new(),
            awaited_responses: BTreeSet::new(),
        }
    }

    /// True while the digests are equal, as far as is known.
    pub fn is_in_sync(&self) -> bool {
        self.phase.is_in_sync()
    }

    /// True once the digests were equal.
    pub(super) fn has_synced(&self) -> bool {
        self.has_synced
    }

    /// This node sends its digest.
    pub(super) fn on_digest_sent(&mut self, own_digest: Digest) {
        self.sent_digest = Some(own_digest);
        self.mismatch_since = None;
    }

    /// The digests are equal. True if that is so for the first time.
    pub(super) fn on_digest_equal(&mut self, group: &Group, digest: Digest) -> bool {
        self.view.mark_equal(group);
        self.phase.on_digest_equal();
        self.mismatch_since = None;
        self.summary = None;
        self.received_digest = Some(digest);
        !std::mem::replace(&mut self.has_synced, true)
    }

    /// The neighbour sent a digest that differs.
    pub(super) fn on_digest_differs(&mut self, peer_digest: Digest) {
        self.phase.on_digest_differs();
        self.received_digest = Some(peer_digest);
    }

    /// The neighbour's presence holds a digest. A difference starts a new comparison only if it lasts.
    pub(super) fn on_presence_digest(&mut self, peer_digest: Digest, own_digest: Digest, now: MonoTime) {
        self.received_digest = Some(peer_digest);
        if peer_digest != own_digest {
            self.on_gap(now);
        }
    }

    /// Something is missing that may be on its way: the digests are compared again after the repair delay.
    pub(super) fn on_gap(&mut self, now: MonoTime) {
        self.mismatch_since.get_or_insert(now);
    }

    /// True if the neighbour's last digest became this node's own.
    pub(super) fn has_become_equal(&self, own_digest: Digest) -> bool {
        !self.is_in_sync() && self.received_digest == Some(own_digest)
    }

    pub(super) fn on_summary_sent(&mut self, own_digest: Digest, now: MonoTime) {
        self.summary = Some(SentSummary { sent_at: now, own_digest, peer_digest: self.received_digest });
    }

    /// True if this node has sent its summary lately, and neither side changed since.
    pub(super) fn has_sent_summary(&self, own_digest: Digest, now: MonoTime) -> bool {
        self.summary.is_some_and(|summary| {
            (summary.own_digest, summary.peer_digest) == (own_digest, self.received_digest)
                && now.ms_since(summary.sent_at) < limits::REPAIR_DELAY_MS
        })
    }

    pub(super) fn on_positions(&mut self) {
        self.phase.on_positions();
    }

    /// Nothing is left to request. True if that ends a round of requests.
    pub(super) fn on_nothing_missing(&mut self) -> bool {
        self.phase.on_nothing_missing()
    }

    pub(super) fn on_range_requested(&mut self, shard_id: ShardId) {
        self.awaited_responses.insert(shard_id);
    }

    /// True if this node requested a range of the shard and has no response yet.
    pub(super) fn on_range_response(&mut self, shard_id: &ShardId) -> bool {
        self.awaited_responses.remove(shard_id)
    }

    /// True if something waits until the link has room.
    pub(super) fn has_unsent(&self) -> bool {
        self.has_unsent_changes || !self.unsent_differences.is_empty()
    }

    /// When the digests are compared again, unless they are found equal before. Between neighbours that were
    /// in sync a difference is most likely a change on its way; else something was missed.
    pub(super) fn repair_due_at(&self) -> Option<MonoTime> {
        let delay = if self.is_in_sync() { limits::REPAIR_DELAY_MS } else { limits::BROADCAST_DEBOUNCE_MS };
        self.mismatch_since.map(|since| since.plus_ms(delay))
    }

    /// Ends the repair delay if it is over. True if the digests still differ.
    pub(super) fn take_due_repair(&mut self, own_digest: Digest, now: MonoTime) -> bool {
        if self.repair_due_at().is_none_or(|due| due > now) {
            return false;
        }
        self.mismatch_since = None;
        self.received_digest != Some(own_digest)
    }

    /// How many changes the neighbour has that are not here, as far as is known.
    pub fn count_missing_here(&self, group: &Group) -> u64 {
        self.view.missing_ranges(group).map(|(_, _, after, tip)| tip.seq.saturating_sub(after)).sum()
    }

    /// How many changes are here that the neighbour lacks, as far as is known.
    pub fn count_missing_there(&self, group: &Group) -> u64 {
        if self.is_in_sync() {
            return 0;
        }
        let mut missing = 0;
        for shard in group.shards() {
            let shard_id = shard.root().shard_id();
            for chain in shard.graph().chains() {
                missing += chain.len().saturating_sub(self.view.known_seq(shard_id, chain.id));
            }
        }
        missing
    }
}
