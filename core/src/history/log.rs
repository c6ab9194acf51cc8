//! The log of a group: its changes and records, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::change_reader::{self, ChangeContents, ChangeRowReader};
use super::change_summary::FieldChanges;
use super::topo_order::{LogEvent, LogOrder};
use crate::group::{ChangeNote, Group};
use crate::id::{ChainId, ChangeId, GrantId, HistoryEntryId, NodeId, ShardId};
use crate::record::{Record, RecordNote, SignedRecord, Signer};
use crate::resource::ResourceName;
use crate::shard::Shard;
use crate::shard::chain::{self, Chain};
use crate::shard::graph::{Graph, GraphEntry};
use crate::shard::root::ShardName;

/// The filters of a log. The default is all of `desired`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only changes that wrote this resource.
    pub resource: Option<ResourceName>,
    /// Only entries of these nodes.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// Only entries of this user, on any node.
    pub user: Option<String>,
    /// Only entries of this time or later, in seconds since 1970 by their author's clock.
    pub since: Option<i64>,
    /// Only entries of this time or earlier, in seconds since 1970 by their author's clock.
    pub until: Option<i64>,
    /// The number of matching entries to leave out, from the newest on: those of earlier pages.
    pub skip: usize,
    /// The most entries to return after those, or `None` for all.
    pub limit: Option<usize>,
    /// True to include observed states and membership records.
    pub include_all_sources: bool,
    /// The heads to which the changes of `desired` are limited: these and their ancestors; `None` for all.
    pub heads: Option<Vec<ChangeId>>,
}

/// The source of a log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogSource {
    /// A change of the desired state.
    Desired,
    /// A change of the observed state that this grant's node writes.
    Observed(GrantId),
    /// A membership record.
    Membership,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The id of the change or record, in hex.
    pub id: String,
    /// The source of the entry.
    pub source: LogSource,
    /// The node that wrote the entry. `None` if its grant is not known, or if the recovery key signed it.
    pub node: Option<NodeId>,
    /// The message, user, command and time that the author gave. A record has no command, and its message may
    /// be empty.
    pub note: ChangeNote,
    /// The ids of the entries on which this one builds: the heads that its author saw, the author's own
    /// previous change first. Left out are the root, and the author's previous change if another head builds
    /// on it.
    pub deps: Vec<String>,
    /// The ids of the nearest entries of this log on which this one builds. Without filters, they are `deps`.
    pub parents: Vec<String>,
    /// True if the contents were just read and have the hash in `id`, and the newest signature of the
    /// author's chain proves that hash; for a record, if its signature is valid. False if the contents cannot
    /// be read or the author's grant is not known.
    pub verified: bool,
    /// The fields that the change wrote. Empty for a change that only merges, and for a record.
    pub field_changes: Vec<FieldChanges>,
    /// True if the change merges concurrent heads.
    pub is_merge: bool,
    /// True if the author's clock was behind: the time is before that of an entry in `deps`, or for a record,
    /// before that of its predecessor. Only direct dependencies count, so that one clock ahead does not mark
    /// all later entries.
    pub is_clock_behind: bool,
}

/// The log, newest first. An entry comes before those on which it builds. Of the entries that may come next,
/// the one with the latest time comes first, then the one with the smallest id. So the order is the same on
/// every node with the same data.
///
/// Only the contents of shown entries are read, which takes about 10 µs each. Ordering 100,000 changes takes
/// 20 ms. A filter by user reads contents from the newest change on until enough entries match. So does a
/// filter by resource, unless [`Group::build_resource_indexes`] was called; with the index, only the changes
/// of the resource are ordered.
pub fn log(group: &Group, query: &LogQuery, change_rows: ChangeRowReader<'_>) -> Vec<LogEntry> {
    let limit = query.limit.unwrap_or(usize::MAX);
    let heads = query.heads.as_deref();
    let resource_order = query
        .resource
        .as_ref()
        .and_then(|resource| LogOrder::for_resource(group, resource, heads, query.include_all_sources));
    let mut order = resource_order.unwrap_or_else(|| LogOrder::new(group, heads, query.include_all_sources));
    let mut builder = EntryBuilder { group, verified_chains: BTreeMap::new() };
    let mut shown_by_index: BTreeMap<u32, usize> = BTreeMap::new();
    let mut entries: Vec<LogEntry> = Vec::new();
    let needs_search = query.needs_contents() && !order.is_partial();
    let mut skip = query.skip;
    if !needs_search && skip > 0 {
        skip = skip.saturating_sub(next_matching_batch(group, &mut order, query, skip).len());
    }
    let mut size = if needs_search { limit.max(FIRST_BATCH_CHANGES) } else { limit };
    while entries.len() < limit {
        let batch = next_matching_batch(group, &mut order, query, size);
        if batch.is_empty() {
            break;
        }
        let mut contents = read_batch_contents(&order, &batch, change_rows);
        for (index, event) in batch {
            let entry = builder.build(event, contents.remove(&ChangeId(event.id())));
            if entries.len() < limit && query.matches(&entry) {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                shown_by_index.insert(index, entries.len());
                entries.push(entry);
            }
        }
        // Each bulk read starts from the beginning. Doubling the size keeps the total below twice the work of
        // one read.
        size = size.saturating_mul(2);
    }
    set_parents(&order, &shown_by_index, &mut entries);
    entries
}

/// The number of changes whose contents are read at first if a filter has to search them.
const FIRST_BATCH_CHANGES: usize = 64;

/// The log entry of one change or record, or `None` if this node does not hold it. Its `parents` are its
/// `deps`.
pub fn find_entry(group: &Group, id: &HistoryEntryId) -> Option<LogEntry> {
    let mut builder = EntryBuilder { group, verified_chains: BTreeMap::new() };
    match id {
        HistoryEntryId::Change { shard_id, id } => {
            let shard = group.shard_by_id(shard_id)?;
            let event = LogEvent::Change(shard, shard.graph().get(id).filter(|entry| entry.seq > 0)?);
            let contents = shard.read_delta(id).map(|delta| ChangeContents::from_delta(shard, id, &delta));
            Some(builder.build(event, contents))
        }
        HistoryEntryId::Record(id) => Some(builder.build(LogEvent::Record(group.records().get(id)?), None)),
    }
}

impl LogQuery {
    fn needs_contents(&self) -> bool {
        self.resource.is_some() || self.user.is_some()
    }

    /// True unless the entry fails a filter that needs no contents.
    fn may_match(&self, group: &Group, event: &LogEvent<'_>) -> bool {
        let time = event.time();
        let in_time =
            self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time <= until);
        let of_node =
            |nodes: &BTreeSet<NodeId>| author_of(group, event).is_some_and(|node| nodes.contains(&node));
        in_time && self.nodes.as_ref().is_none_or(of_node)
    }

    /// True if the entry passes the filters that need its contents.
    fn matches(&self, entry: &LogEntry) -> bool {
        let of_user = self.user.as_ref().is_none_or(|user| *user == entry.note.user);
        let changes_resource =
            |resource: &ResourceName| entry.field_changes.iter().any(|touch| touch.resource == *resource);
        of_user && self.resource.as_ref().is_none_or(changes_resource)
    }
}

/// At most `size` of the next events that pass the filters without contents. Empty at the end of the log.
fn next_matching_batch<'a>(
    group: &Group,
    order: &mut LogOrder<'a>,
    query: &LogQuery,
    size: usize,
) -> Vec<(u32, LogEvent<'a>)> {
    let mut batch = Vec::new();
    while batch.len() < size
        && let Some((index, event)) = order.next()
    {
        if query.may_match(group, &event) {
            batch.push((index, event));
        }
    }
    batch
}

/// The contents of the changes in the batch.
fn read_batch_contents(
    order: &LogOrder<'_>,
    batch: &[(u32, LogEvent<'_>)],
    change_rows: ChangeRowReader<'_>,
) -> BTreeMap<ChangeId, ChangeContents> {
    let mut wanted: BTreeMap<ShardId, (&Shard, Vec<&GraphEntry>)> = BTreeMap::new();
    for (_, event) in batch {
        if let LogEvent::Change(shard, entry) = event {
            wanted.entry(shard.root().shard_id()).or_insert((shard, Vec::new())).1.push(entry);
        }
    }
    let of_shard = |(shard, entries): (&Shard, Vec<&GraphEntry>)| {
        change_reader::read_contents(shard, &entries, &order.remaining_version(shard, &entries), change_rows)
    };
    wanted.into_values().flat_map(of_shard).collect()
}

/// The node that wrote the event, if it is known.
fn author_of(group: &Group, event: &LogEvent<'_>) -> Option<NodeId> {
    match event {
        LogEvent::Change(shard, entry) => {
            let chain = shard.graph().chain_of(entry)?;
            group.records().holder_and_role(&chain.grant).map(|(key, _)| key)
        }
        LogEvent::Record(signed) => {
            let key = group.records().signing_key(signed.record())?;
            (signed.record().signer == Signer::Holder).then_some(key)
        }
    }
}

/// Builds log entries, and remembers which chains are verified.
struct EntryBuilder<'a> {
    group: &'a Group,
    verified_chains: BTreeMap<(ShardId, ChainId), bool>,
}

impl EntryBuilder<'_> {
    fn build(&mut self, event: LogEvent<'_>, contents: Option<ChangeContents>) -> LogEntry {
        match event {
            LogEvent::Change(shard, entry) => self.build_change(shard, entry, contents),
            LogEvent::Record(signed) => self.build_record(signed),
        }
    }

    fn build_change(
        &mut self,
        shard: &Shard,
        entry: &GraphEntry,
        contents: Option<ChangeContents>,
    ) -> LogEntry {
        let graph = shard.graph();
        let direct_deps = direct_deps_of(graph, entry);
        let is_clock_behind = direct_deps.iter().any(|dep| dep.time > entry.time);
        let deps: Vec<String> = direct_deps.iter().map(|dep| dep.id.to_string()).collect();
        let is_chain_verified =
            graph.chain_of(entry).is_some_and(|chain| self.is_chain_verified(shard, chain));
        let verified = contents.is_some() && is_chain_verified;
        let note = ChangeNote { time: entry.time, ..ChangeNote::default() };
        let contents = contents.unwrap_or(ChangeContents { note, field_changes: Vec::new() });
        LogEntry {
            id: entry.id.to_string(),
            source: match shard.root().name() {
                ShardName::Desired => LogSource::Desired,
                ShardName::Observed(grant) => LogSource::Observed(grant),
            },
            node: author_of(self.group, &LogEvent::Change(shard, entry)),
            note: contents.note,
            is_merge: deps.len() > 1,
            parents: deps.clone(),
            deps,
            verified,
            field_changes: contents.field_changes,
            is_clock_behind,
        }
    }

    fn build_record(&self, signed: &SignedRecord) -> LogEntry {
        let record = signed.record();
        let dep = [record.prev, record.grant].into_iter().find(|id| *id != GrantId::ZERO);
        let deps: Vec<String> = dep.iter().map(ToString::to_string).collect();
        let note_time = |record: &Record| record.note.as_ref().map(|note| note.time);
        let previous_time = dep.and_then(|id| note_time(self.group.records().get(&id)?.record()));
        let is_clock_behind =
            previous_time.zip(note_time(record)).is_some_and(|(before, time)| time < before);
        let key = self.group.records().signing_key(record);
        LogEntry {
            id: signed.id().to_string(),
            source: LogSource::Membership,
            node: author_of(self.group, &LogEvent::Record(signed)),
            note: change_note_of_record(record),
            parents: deps.clone(),
            deps,
            verified: key.is_some_and(|key| signed.is_signed_by(&key)),
            field_changes: Vec::new(),
            is_merge: false,
            is_clock_behind,
        }
    }

    fn is_chain_verified(&mut self, shard: &Shard, chain: &Chain) -> bool {
        let group_and_shard = (self.group.id(), shard.root().shard_id());
        let records = self.group.records();
        *self.verified_chains.entry((group_and_shard.1, chain.id)).or_insert_with(|| {
            let author = records.holder_and_role(&chain.grant).map(|(key, _)| key);
            author.zip(chain.end_proof()).is_some_and(|(author, end_proof)| {
                chain::is_chain_proved(&author, group_and_shard, chain.len(), chain.hash(), end_proof)
            })
        })
    }
}

/// The message, user and time in the record's note.
fn change_note_of_record(record: &Record) -> ChangeNote {
    let RecordNote { message, user, time } = record.note.clone().unwrap_or_default();
    ChangeNote { message, user, time, ..ChangeNote::default() }
}

/// The direct dependencies of a change, the author's previous change first. Left out are the root, and
/// dependencies on which another one builds.
fn direct_deps_of<'a>(graph: &'a Graph, entry: &GraphEntry) -> Vec<&'a GraphEntry> {
    let deps_without_root: Vec<&GraphEntry> = graph.deps(entry).filter(|dep| dep.seq > 0).collect();
    let mut deps = heads_among(graph, &deps_without_root);
    deps.sort_by_key(|dep| !is_same_chain(graph, dep, entry));
    deps
}

/// The changes of `all` that are not ancestors of another one of them.
fn heads_among<'a>(graph: &Graph, all: &[&'a GraphEntry]) -> Vec<&'a GraphEntry> {
    // Usually one is the direct dependency of the other, and no ancestors have to be collected.
    let is_dep = |older: &GraphEntry| all.iter().any(|entry| graph.deps(entry).any(|dep| dep.id == older.id));
    let mut heads: Vec<&GraphEntry> = all.iter().filter(|entry| !is_dep(entry)).copied().collect();
    if heads.len() > 1 {
        let ancestors = graph.version_below(heads.iter().map(|entry| &entry.id));
        heads.retain(|entry| !graph.version_contains(&ancestors, entry));
    }
    heads
}

fn is_same_chain(graph: &Graph, one: &GraphEntry, other: &GraphEntry) -> bool {
    let chain_id = |entry| graph.chain_of(entry).map(|chain| chain.id);
    chain_id(one) == chain_id(other)
}

/// Sets the parents of all entries: the nearest shown ancestors, past the filtered entries.
fn set_parents(order: &LogOrder<'_>, shown_by_index: &BTreeMap<u32, usize>, entries: &mut [LogEntry]) {
    if !order.is_partial() && order.emitted().len() == shown_by_index.len() {
        let ids: BTreeSet<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        entries.iter_mut().for_each(|entry| entry.parents.retain(|parent| ids.contains(parent)));
        return;
    }
    let nothing: Rc<[u32]> = Rc::from([]);
    // The nearest shown ancestors of each event. Most of a history is linear, and along a line the list is
    // shared.
    let mut nearest: Vec<Rc<[u32]>> = vec![nothing; order.len()];
    for &index in order.emitted().iter().rev() {
        let nearest_per_dep: Vec<Rc<[u32]>> = order
            .deps_of(index)
            .iter()
            .map(|dep| {
                if shown_by_index.contains_key(dep) {
                    Rc::from([*dep])
                } else {
                    nearest_shown(&nearest, *dep)
                }
            })
            .collect();
        let parents = match nearest_per_dep.as_slice() {
            [one] => Rc::clone(one),
            several => heads_of_nearest(order, index, several),
        };
        if let Some(entry) = shown_by_index.get(&index).and_then(|nth| entries.get_mut(*nth)) {
            let id = |at: &u32| order.event_at(*at).map(|event| ChangeId(event.id()).to_string());
            entry.parents = parents.iter().filter_map(id).collect();
        }
        if let Some(slot) = nearest.get_mut(index as usize) {
            *slot = parents;
        }
    }
}

fn nearest_shown(nearest: &[Rc<[u32]>], index: u32) -> Rc<[u32]> {
    nearest.get(index as usize).map_or_else(|| Rc::from([]), Rc::clone)
}

/// The heads among the ancestors that several dependencies lead to, the author's own first.
fn heads_of_nearest(order: &LogOrder<'_>, index: u32, nearest_per_dep: &[Rc<[u32]>]) -> Rc<[u32]> {
    let all: BTreeSet<u32> = nearest_per_dep.iter().flat_map(|line| line.iter().copied()).collect();
    let Some(LogEvent::Change(shard, entry)) = order.event_at(index).filter(|_| all.len() > 1) else {
        return all.into_iter().collect();
    };
    let entry_with_id = |index: &u32| match order.event_at(*index) {
        Some(LogEvent::Change(_, entry)) => Some((entry.id, (*index, entry))),
        _ => None,
    };
    let by_id: BTreeMap<ChangeId, (u32, &GraphEntry)> = all.iter().filter_map(entry_with_id).collect();
    let changes: Vec<&GraphEntry> = by_id.values().map(|(_, entry)| *entry).collect();
    let mut heads = heads_among(shard.graph(), &changes);
    heads.sort_by_key(|head| !is_same_chain(shard.graph(), head, entry));
    heads.iter().filter_map(|head| by_id.get(&head.id)).map(|(index, _)| *index).collect()
}
