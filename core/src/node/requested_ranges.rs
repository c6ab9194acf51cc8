//! The ranges of chains that are requested and not answered yet. Each chain is requested from one neighbour
//! at a time, however many have it.

use std::collections::BTreeMap;

use super::input::{LinkId, MonoTime};
use crate::id::{ChainId, ShardId};
use crate::limits;

/// One chain of one shard.
pub(super) type ChainKey = (ShardId, ChainId);

/// A request for a chain: the link that it was sent on, and when the response is due.
#[derive(Clone, Copy, Debug)]
struct RequestedRange {
    link: LinkId,
    due: MonoTime,
}

/// The requested ranges of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestedRanges(BTreeMap<ChainKey, RequestedRange>);

impl RequestedRanges {
    pub(super) fn insert(&mut self, chain: ChainKey, link: LinkId, now: MonoTime) {
        self.0.insert(chain, RequestedRange { link, due: now.plus_ms(limits::RANGE_REQUEST_TIMEOUT_MS) });
    }

    pub(super) fn contains(&self, chain: &ChainKey) -> bool {
        self.0.contains_key(chain)
    }

    /// True if a response is awaited on that link.
    pub(super) fn has_link(&self, link: LinkId) -> bool {
        self.0.values().any(|range| range.link == link)
    }

    /// Forgets what was requested on a link that is gone.
    pub(super) fn remove_link(&mut self, link: LinkId) {
        self.0.retain(|_, range| range.link != link);
    }

    /// Removes and returns the chains of a shard that were requested on that link.
    pub(super) fn take_answered(&mut self, shard_id: &ShardId, link: LinkId) -> Vec<ChainKey> {
        let is_answered = |key: &ChainKey, range: &RequestedRange| key.0 == *shard_id && range.link == link;
        self.take(is_answered).into_iter().map(|(key, _)| key).collect()
    }

    /// Removes and returns the chains whose response is overdue, with the link each was requested on.
    pub(super) fn take_overdue(&mut self, now: MonoTime) -> Vec<(ChainKey, LinkId)> {
        let is_overdue = |_: &ChainKey, range: &RequestedRange| range.due <= now;
        self.take(is_overdue)
    }

    fn take(&mut self, is_taken: impl Fn(&ChainKey, &RequestedRange) -> bool) -> Vec<(ChainKey, LinkId)> {
        let taken = self.0.iter().filter(|(key, range)| is_taken(key, range));
        let taken: Vec<_> = taken.map(|(key, range)| (*key, range.link)).collect();
        self.0.retain(|key, range| !is_taken(key, range));
        taken
    }

    /// When the first response is overdue.
    pub(super) fn next_due(&self) -> Option<MonoTime> {
        self.0.values().map(|range| range.due).min()
    }
}
