//! The order of a log: newest first, and the same on every node.
//!
//! An event comes before those on which it builds. Of the events that may come next, the one with the latest
//! time by its author's clock comes first, then the one with the smallest id. So the order follows from the
//! set of events and not from the order of their arrival.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

use crate::group::Group;
use crate::id::{ChainId, ChangeId, RecordId, ShardId};
use crate::record::{RecordSet, SignedRecord};
use crate::resource::ResourceName;
use crate::shard::Shard;
use crate::shard::chain::Chain;
use crate::shard::graph::{Graph, GraphEntry, VersionVector};

/// One change or record of the history.
#[derive(Clone, Copy)]
pub(super) enum LogEvent<'a> {
    Change(&'a Shard, &'a GraphEntry),
    Record(&'a SignedRecord),
}

impl LogEvent<'_> {
    pub(super) fn id(&self) -> [u8; 32] {
        match self {
            Self::Change(_, entry) => entry.id.0,
            Self::Record(signed) => signed.id().0,
        }
    }

    /// The time by the author's clock, in seconds since 1970; 0 for a record.
    pub(super) fn time(&self) -> i64 {
        match self {
            Self::Change(_, entry) => entry.time,
            Self::Record(_) => 0,
        }
    }
}

/// The number of pending dependents that marks an event which is never emitted.
const HIDDEN: u32 = u32::MAX;

/// An iterator over events in log order. An event is identified by its index among all events.
pub(super) struct LogOrder<'a> {
    events: Vec<LogEvent<'a>>,
    /// The indexes of the dependencies of all events, in one list.
    deps: Vec<u32>,
    /// The end of each event's dependencies in `deps`.
    dep_ends: Vec<usize>,
    /// The number of events that build on each event and are not emitted yet.
    pending_dependents: Vec<u32>,
    ready: BinaryHeap<(i64, Reverse<[u8; 32]>, u32)>,
    emitted: Vec<u32>,
    /// The sequence number up to which each chain is not emitted yet.
    remaining_seqs: BTreeMap<(ShardId, ChainId), u64>,
    /// True if the order contains only some events of the history.
    is_partial: bool,
}

/// The ratio of a history's length to the number of wanted changes below which ordering the whole history is
/// cheaper than finding the dependencies among the wanted changes.
const MIN_HISTORY_PER_WANTED_CHANGE: usize = 8;
/// The length of a history up to which the ratio does not matter.
const SMALL_HISTORY_CHANGES: usize = 1024;

impl<'a> LogOrder<'a> {
    /// The changes of `desired`, up to `heads` if they are given. With `include_all_sources`, also the
    /// observed states and the membership records.
    pub(super) fn new(group: &'a Group, heads: Option<&[ChangeId]>, include_all_sources: bool) -> Self {
        let mut order = Self::empty();
        if let Some(shard) = group.desired() {
            order.add_shard(shard, heads.map(|heads| shard.graph().version_of(heads)).as_ref());
        }
        if include_all_sources {
            for (_, shard) in group.shard_states().observed_shards() {
                order.add_shard(shard, None);
            }
            order.add_records(group.records());
        }
        order.count_dependents();
        order
    }

    /// Only the changes that wrote the resource. `None` if there is no index of them, or if they are so many
    /// that ordering the whole history is cheaper.
    pub(super) fn for_resource(
        group: &'a Group,
        resource: &ResourceName,
        heads: Option<&[ChangeId]>,
        include_all_sources: bool,
    ) -> Option<Self> {
        let mut order = Self { is_partial: true, ..Self::empty() };
        let observed = group
            .shard_states()
            .observed_shards()
            .filter(|_| include_all_sources)
            .map(|(_, shard)| (shard, None));
        for (shard, heads) in group.desired().into_iter().map(|shard| (shard, heads)).chain(observed) {
            let positions = shard.resource_index()?.changes_of(&resource.to_string());
            if positions.len().saturating_mul(MIN_HISTORY_PER_WANTED_CHANGE)
                > shard.graph().len().max(SMALL_HISTORY_CHANGES)
            {
                return None;
            }
            order.add_changes_at(shard, positions, heads);
        }
        order.count_dependents();
        Some(order)
    }

    fn empty() -> Self {
        Self {
            events: Vec::new(),
            deps: Vec::new(),
            dep_ends: Vec::new(),
            pending_dependents: Vec::new(),
            ready: BinaryHeap::new(),
            emitted: Vec::new(),
            remaining_seqs: BTreeMap::new(),
            is_partial: false,
        }
    }

    /// Adds the changes at these positions of the graph, which are in order of dependency.
    fn add_changes_at(&mut self, shard: &'a Shard, positions: &[u32], heads: Option<&[ChangeId]>) {
        let graph = shard.graph();
        let included = heads.map(|heads| graph.version_of(heads));
        let mut chains: BTreeMap<ChainId, Vec<(u64, u32)>> = BTreeMap::new();
        for entry in positions.iter().filter_map(|position| graph.entry_at(*position)) {
            if included.as_ref().is_some_and(|included| !graph.version_contains(included, entry)) {
                continue;
            }
            let Some(chain_id) = graph.chain_of(entry).map(|chain| chain.id) else { continue };
            let known = graph.version_below([&entry.id]);
            let newest = |(chain_id, events): (&ChainId, &Vec<(u64, u32)>)| {
                let within =
                    events.partition_point(|(seq, _)| *seq <= graph.seq_in_version(&known, chain_id));
                events.get(within.checked_sub(1)?).map(|(_, index)| *index)
            };
            let deps: Vec<u32> = chains.iter().filter_map(newest).collect();
            let deps = self.heads_among(graph, deps);
            chains.entry(chain_id).or_default().push((entry.seq, to_index(self.events.len())));
            self.add_event(LogEvent::Change(shard, entry), deps, true);
        }
    }

    /// The events that are not ancestors of another one of them.
    fn heads_among(&self, graph: &Graph, mut events: Vec<u32>) -> Vec<u32> {
        if events.len() > 1 {
            let ids: Vec<ChangeId> = events
                .iter()
                .filter_map(|index| self.event_at(*index))
                .map(|event| ChangeId(event.id()))
                .collect();
            let ancestors = graph.version_below(&ids);
            events.retain(|index| match self.event_at(*index) {
                Some(LogEvent::Change(_, entry)) => !graph.version_contains(&ancestors, entry),
                _ => false,
            });
        }
        events
    }

    fn add_event(&mut self, event: LogEvent<'a>, deps: impl IntoIterator<Item = u32>, is_included: bool) {
        self.events.push(event);
        self.deps.extend(deps);
        self.dep_ends.push(self.deps.len());
        self.pending_dependents.push(if is_included { 0 } else { HIDDEN });
    }

    fn add_shard(&mut self, shard: &'a Shard, included: Option<&VersionVector>) {
        let graph = shard.graph();
        let first_index = to_index(self.events.len());
        for entry in graph.iter() {
            let deps = entry
                .dep_indexes()
                .iter()
                .filter_map(|position| position.checked_sub(1))
                .map(|at| first_index + at);
            let is_included = included.is_none_or(|version| graph.version_contains(version, entry));
            self.add_event(LogEvent::Change(shard, entry), deps, is_included);
        }
        let shard_id = shard.root().shard_id();
        let reach =
            |chain: &Chain| included.map_or(chain.len(), |version| graph.seq_in_version(version, &chain.id));
        self.remaining_seqs.extend(graph.chains().map(|chain| ((shard_id, chain.id), reach(chain))));
    }

    fn add_records(&mut self, records: &'a RecordSet) {
        let first_index = to_index(self.events.len());
        let index_by_id: BTreeMap<RecordId, u32> =
            (first_index..).zip(records.iter()).map(|(index, signed)| (signed.id(), index)).collect();
        for signed in records.iter() {
            let record = signed.record();
            let dep = if record.prev == RecordId::ZERO { record.grant } else { record.prev };
            self.add_event(LogEvent::Record(signed), index_by_id.get(&dep).copied(), true);
        }
    }

    fn count_dependents(&mut self) {
        let mut start = 0;
        for (index, end) in self.dep_ends.iter().enumerate() {
            let deps = self.deps.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default();
            if self.pending_dependents.get(index) == Some(&HIDDEN) {
                continue;
            }
            for dep in deps {
                if let Some(pending) = self.pending_dependents.get_mut(*dep as usize) {
                    *pending += 1;
                }
            }
        }
        let ready = self.pending_dependents.iter().enumerate().filter(|(_, above)| **above == 0);
        let ready: Vec<u32> = ready.map(|(index, _)| to_index(index)).collect();
        ready.into_iter().for_each(|index| self.push_ready(index));
    }

    fn push_ready(&mut self, index: u32) {
        if let Some(event) = self.event_at(index) {
            self.ready.push((event.time(), Reverse(event.id()), index));
        }
    }

    /// Emits the next event.
    pub(super) fn next(&mut self) -> Option<(u32, LogEvent<'a>)> {
        let (_, _, index) = self.ready.pop()?;
        let event = self.event_at(index)?;
        self.emitted.push(index);
        if let LogEvent::Change(shard, entry) = event
            && let Some(chain) = shard.graph().chain_of(entry)
        {
            self.remaining_seqs.insert((shard.root().shard_id(), chain.id), entry.seq - 1);
        }
        for position in self.dep_range(index) {
            let Some(&dep) = self.deps.get(position) else { continue };
            let Some(pending) = self.pending_dependents.get_mut(dep as usize) else { continue };
            *pending -= 1;
            if *pending == 0 {
                self.push_ready(dep);
            }
        }
        Some((index, event))
    }

    /// True if the order contains only some events of the history.
    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The event with this index.
    pub(super) fn event_at(&self, index: u32) -> Option<LogEvent<'a>> {
        self.events.get(index as usize).copied()
    }

    /// The number of events, including hidden ones.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The indexes of the events on which an event builds.
    pub(super) fn deps_of(&self, index: u32) -> &[u32] {
        self.deps.get(self.dep_range(index)).unwrap_or_default()
    }

    /// The range of an event's dependencies in `deps`.
    fn dep_range(&self, index: u32) -> Range<usize> {
        let end = |index: usize| self.dep_ends.get(index).copied();
        let start = (index as usize).checked_sub(1).and_then(end).unwrap_or(0);
        start..end(index as usize).unwrap_or(start)
    }

    /// The indexes of the events emitted so far, in order.
    pub(super) fn emitted(&self) -> &[u32] {
        &self.emitted
    }

    /// A version of the shard that contains none of the `emitted_changes`: the changes that are not emitted
    /// yet, as far as they are known.
    pub(super) fn remaining_version(&self, shard: &Shard, emitted_changes: &[&GraphEntry]) -> VersionVector {
        if self.is_partial {
            let ancestors = emitted_changes.iter().map(|entry| shard.graph().version_below([&entry.id]));
            return ancestors.reduce(|one, other| one.intersect(&other)).unwrap_or_default();
        }
        let shard_id = shard.root().shard_id();
        let seqs_of_shard = self
            .remaining_seqs
            .range((shard_id, ChainId::ZERO)..)
            .take_while(|((row_shard, _), _)| *row_shard == shard_id);
        shard.graph().version_from_seqs(seqs_of_shard.map(|((_, chain_id), seq)| (*chain_id, *seq)))
    }
}

fn to_index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
