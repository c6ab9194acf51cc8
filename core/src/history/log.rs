//! The log: what was done to a group, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::contents::{self, Contents, Stored};
use super::find::Found;
use super::membership::{sentence, signing_key};
use super::order::{Event, Order};
use super::touch::Touch;
use crate::group::{Group, Note};
use crate::id::{Actor, ChangeId, EpochId, GrantId, NodeId};
use crate::record::{Record, SignedRecord};
use crate::resource::ResourceName;
use crate::shard::Shard;
use crate::shard::chain::{self, Chain};
use crate::shard::graph::{Entry, Graph};
use crate::shard::root::ShardName;

/// Which part of the log is wanted. The default is all of `desired`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only what touched this resource.
    pub resource: Option<ResourceName>,
    /// Only what these nodes wrote.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// Only what this local user wrote, on whatever node.
    pub user: Option<String>,
    /// Only what its author's clock dates to this time or later, in seconds since 1970.
    pub since: Option<i64>,
    /// Only what its author's clock dates to this time or earlier.
    pub until: Option<i64>,
    /// Leave out so many entries, the newest: those that were asked for before.
    pub skip: usize,
    /// At most so many entries, the newest of the rest.
    pub limit: Option<usize>,
    /// What machines observed and the membership records too.
    pub all: bool,
    /// Of `desired`, only what these changes build on, and themselves.
    pub at: Option<Vec<ChangeId>>,
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A change of what operators want.
    Desired,
    /// A change of what the machine that holds this grant observed.
    Observed(GrantId),
    /// A membership record.
    Membership,
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The id of the change or record, in hex.
    pub id: String,
    /// Where it comes from.
    pub source: Source,
    /// The node that wrote it; `None` if its grant is not known, or if the group's recovery key signed it.
    pub node: Option<NodeId>,
    /// Why, who and when, as far as the author said so. Of a record, the words say what it does, and the time is 0.
    pub note: Note,
    /// What it was built on: the heads that its author saw, the author's own previous change first. That one is left out
    /// where another of them builds on it, and so is a shard's root.
    pub deps: Vec<String>,
    /// What to draw lines to: the nearest entries of the same answer that this one builds on. Where nothing between was
    /// filtered out, these are `deps`.
    pub parents: Vec<String>,
    /// True if, just now, the contents had the hash that `id` says, and the newest signature of the author's chain of
    /// changes was found to be good for the chain that has this hash in its place; of a record, if its signature was
    /// found to be good. False too if the contents cannot be read or the author's grant is not known.
    pub verified: bool,
    /// What it touched; nothing in a mere merge or a record.
    pub touches: Vec<Touch>,
    /// True if it unites sides that had not known of each other.
    pub merge: bool,
    /// True if its author's clock was behind: its time is before that of something in `deps`, or, of a record, that of
    /// the record before it. Only what it was directly built on is looked at, so that one clock that is ahead marks
    /// what was written upon its changes, and not all that ever follows.
    pub behind: bool,
}

/// The log, newest first: nothing comes before what was built on it; among what may come next, the latest by its author's
/// clock does, then the smallest id. The order is the same on every node that holds the same.
///
/// What is not asked for is not read: the newest 20 of 100,000 changes take 20 ms, all but one of them for putting the
/// whole in order. Contents take about 10 µs a change that is shown. A user has to be looked for in contents, from the
/// newest on, until there are enough; and so has a resource, unless it is known which changes touched it: see
/// [`Group::index`]. What touched one resource is in order among itself.
pub fn log(group: &Group, query: &Query, stored: Stored<'_>) -> Vec<LogEntry> {
    let limit = query.limit.unwrap_or(usize::MAX);
    let at = query.at.as_deref();
    let known = query.resource.as_ref().and_then(|of| Order::of_resource(group, of, at, query.all));
    let mut order = known.unwrap_or_else(|| Order::new(group, at, query.all));
    let mut scribe = Scribe { group, proved: BTreeMap::new() };
    let mut shown: BTreeMap<u32, usize> = BTreeMap::new();
    let mut entries: Vec<LogEntry> = Vec::new();
    let searches = query.reads_contents() && !order.is_partial();
    let mut skip = query.skip;
    if !searches && skip > 0 {
        skip = skip.saturating_sub(next_batch(group, &mut order, query, skip).len());
    }
    let mut size = if searches { limit.max(BATCH) } else { limit };
    while entries.len() < limit {
        let batch = next_batch(group, &mut order, query, size);
        if batch.is_empty() {
            break;
        }
        let mut contents = read(&order, &batch, stored);
        for (at, event) in batch {
            let entry = scribe.entry(event, contents.remove(&ChangeId(event.id())));
            if entries.len() < limit && query.wants(&entry) {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                shown.insert(at, entries.len());
                entries.push(entry);
            }
        }
        // Reading in bulk begins anew each time: twice as many each time makes that no more than twice the work.
        size = size.saturating_mul(2);
    }
    link(&order, &shown, &mut entries);
    entries
}

/// How many changes are looked into at first in search of what a filter asks for.
const BATCH: usize = 64;

/// One entry of the log; `None` if it is not here. Its `parents` are its `deps`.
pub fn entry(group: &Group, found: &Found) -> Option<LogEntry> {
    let mut scribe = Scribe { group, proved: BTreeMap::new() };
    match found {
        Found::Change { epoch, id } => {
            let shard = group.shard_of(epoch)?;
            let event = Event::Change(shard, shard.graph().get(id).filter(|entry| entry.seq > 0)?);
            let contents = shard.delta(id).map(|delta| Contents::of(shard, id, &delta));
            Some(scribe.entry(event, contents))
        }
        Found::Record(id) => Some(scribe.entry(Event::Record(group.records().get(id)?), None)),
    }
}

impl Query {
    fn reads_contents(&self) -> bool {
        self.resource.is_some() || self.user.is_some()
    }

    /// What can be told without the contents.
    fn may_want(&self, group: &Group, event: &Event<'_>) -> bool {
        let time = event.time();
        let in_time =
            self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time <= until);
        let of_node =
            |nodes: &BTreeSet<NodeId>| author(group, event).is_some_and(|node| nodes.contains(&node));
        in_time && self.nodes.as_ref().is_none_or(of_node)
    }

    /// What only the contents tell.
    fn wants(&self, entry: &LogEntry) -> bool {
        let of_user = self.user.as_ref().is_none_or(|user| *user == entry.note.user);
        let touches = |resource: &ResourceName| entry.touches.iter().any(|touch| touch.resource == *resource);
        of_user && self.resource.as_ref().is_none_or(touches)
    }
}

/// The next events that may be wanted, at most `size`; empty if there are no more.
fn next_batch<'a>(group: &Group, order: &mut Order<'a>, query: &Query, size: usize) -> Vec<(u32, Event<'a>)> {
    let mut batch = Vec::new();
    while batch.len() < size
        && let Some((at, event)) = order.next()
    {
        if query.may_want(group, &event) {
            batch.push((at, event));
        }
    }
    batch
}

/// What the changes among these say.
fn read(order: &Order<'_>, batch: &[(u32, Event<'_>)], stored: Stored<'_>) -> BTreeMap<ChangeId, Contents> {
    let mut wanted: BTreeMap<EpochId, (&Shard, Vec<&Entry>)> = BTreeMap::new();
    for (_, event) in batch {
        if let Event::Change(shard, entry) = event {
            wanted.entry(shard.root().epoch()).or_insert((shard, Vec::new())).1.push(entry);
        }
    }
    let of_shard = |(shard, entries): (&Shard, Vec<&Entry>)| {
        contents::read(shard, &entries, &order.rest(shard, &entries), stored)
    };
    wanted.into_values().flat_map(of_shard).collect()
}

/// Who wrote it.
fn author(group: &Group, event: &Event<'_>) -> Option<NodeId> {
    match event {
        Event::Change(shard, entry) => {
            let chain = shard.graph().chain_of(entry)?;
            group.records().holder(&chain.grant).map(|(key, _)| key)
        }
        Event::Record(signed) => {
            let key = signing_key(group.records(), signed.record())?;
            (signed.record().signer == crate::record::Signer::Holder).then_some(key)
        }
    }
}

/// Writes entries, and remembers which chains were proved.
struct Scribe<'a> {
    group: &'a Group,
    proved: BTreeMap<(EpochId, Actor), bool>,
}

impl Scribe<'_> {
    fn entry(&mut self, event: Event<'_>, contents: Option<Contents>) -> LogEntry {
        match event {
            Event::Change(shard, entry) => self.change(shard, entry, contents),
            Event::Record(signed) => self.record(signed),
        }
    }

    fn change(&mut self, shard: &Shard, entry: &Entry, contents: Option<Contents>) -> LogEntry {
        let graph = shard.graph();
        let on = built_on(graph, entry);
        let behind = on.iter().any(|dep| dep.time > entry.time);
        let deps: Vec<String> = on.iter().map(|dep| dep.id.to_string()).collect();
        let proved = graph.chain_of(entry).is_some_and(|chain| self.is_proved(shard, chain));
        let verified = contents.is_some() && proved;
        let note = Note { time: entry.time, ..Note::default() };
        let contents = contents.unwrap_or(Contents { note, touches: Vec::new() });
        LogEntry {
            id: entry.id.to_string(),
            source: match shard.root().shard() {
                ShardName::Desired => Source::Desired,
                ShardName::Observed(grant) => Source::Observed(grant),
            },
            node: author(self.group, &Event::Change(shard, entry)),
            note: contents.note,
            merge: deps.len() > 1,
            parents: deps.clone(),
            deps,
            verified,
            touches: contents.touches,
            behind,
        }
    }

    fn record(&self, signed: &SignedRecord) -> LogEntry {
        let record = signed.record();
        let on = [record.prev, record.grant].into_iter().find(|id| *id != GrantId::ZERO);
        let deps: Vec<String> = on.iter().map(ToString::to_string).collect();
        let time = |record: &Record| record.remark.as_ref().map(|remark| remark.time);
        let before = on.and_then(|id| time(self.group.records().get(&id)?.record()));
        let behind = before.zip(time(record)).is_some_and(|(before, time)| time < before);
        let key = signing_key(self.group.records(), record);
        LogEntry {
            id: signed.id().to_string(),
            source: Source::Membership,
            node: author(self.group, &Event::Record(signed)),
            note: note(self.group, record),
            parents: deps.clone(),
            deps,
            verified: key.is_some_and(|key| signed.is_signed_by(&key)),
            touches: Vec::new(),
            merge: false,
            behind,
        }
    }

    fn is_proved(&mut self, shard: &Shard, chain: &Chain) -> bool {
        let at = (self.group.id(), shard.root().epoch());
        let records = self.group.records();
        *self.proved.entry((at.1, chain.actor)).or_insert_with(|| {
            let author = records.holder(&chain.grant).map(|(key, _)| key);
            author.zip(chain.cover()).is_some_and(|(author, cover)| {
                chain::is_covered(&author, at, chain.len(), chain.link(), cover)
            })
        })
    }
}

/// What a record says, who said it, and when.
fn note(group: &Group, record: &Record) -> Note {
    let remark = record.remark.clone().unwrap_or_default();
    Note { words: sentence(group, record), user: remark.user, time: remark.time, ..Note::default() }
}

/// What a change was built on, the author's previous change first; without that one where another builds on it, and
/// without the root.
fn built_on<'a>(graph: &'a Graph, entry: &Entry) -> Vec<&'a Entry> {
    let all: Vec<&Entry> = graph.deps(entry).filter(|dep| dep.seq > 0).collect();
    let mut deps = heads_among(graph, &all);
    deps.sort_by_key(|dep| !is_same_chain(graph, dep, entry));
    deps
}

/// Those of some changes that no other of them builds on.
fn heads_among<'a>(graph: &Graph, all: &[&'a Entry]) -> Vec<&'a Entry> {
    // Mostly it is the author's previous change, right below another: no need to gather all ancestors for that.
    let is_dep = |older: &Entry| all.iter().any(|entry| graph.deps(entry).any(|dep| dep.id == older.id));
    let mut heads: Vec<&Entry> = all.iter().filter(|entry| !is_dep(entry)).copied().collect();
    if heads.len() > 1 {
        let below = graph.clock_below(heads.iter().map(|entry| &entry.id));
        heads.retain(|entry| !graph.covers(&below, entry));
    }
    heads
}

fn is_same_chain(graph: &Graph, one: &Entry, other: &Entry) -> bool {
    let actor = |entry| graph.chain_of(entry).map(|chain| chain.actor);
    actor(one) == actor(other)
}

/// Finds the parents of all entries: past what was filtered out, down to the nearest that is shown.
fn link(order: &Order<'_>, shown: &BTreeMap<u32, usize>, entries: &mut [LogEntry]) {
    if !order.is_partial() && order.given().len() == shown.len() {
        let ids: BTreeSet<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        entries.iter_mut().for_each(|entry| entry.parents.retain(|parent| ids.contains(parent)));
        return;
    }
    let nothing: Rc<[u32]> = Rc::from([]);
    // The nearest shown below each event. Most of a history is a line, along which this is passed on and not copied.
    let mut nearest: Vec<Rc<[u32]>> = vec![nothing; order.len()];
    for &at in order.given().iter().rev() {
        let lines: Vec<Rc<[u32]>> = order
            .below(at)
            .iter()
            .map(|dep| if shown.contains_key(dep) { Rc::from([*dep]) } else { nearest_of(&nearest, *dep) })
            .collect();
        let united = match lines.as_slice() {
            [one] => Rc::clone(one),
            several => unite(order, at, several),
        };
        if let Some(entry) = shown.get(&at).and_then(|nth| entries.get_mut(*nth)) {
            let id = |at: &u32| order.event(*at).map(|event| ChangeId(event.id()).to_string());
            entry.parents = united.iter().filter_map(id).collect();
        }
        if let Some(slot) = nearest.get_mut(at as usize) {
            *slot = united;
        }
    }
}

fn nearest_of(nearest: &[Rc<[u32]>], at: u32) -> Rc<[u32]> {
    nearest.get(at as usize).map_or_else(|| Rc::from([]), Rc::clone)
}

/// The heads among what several lines lead to, the author's own first.
fn unite(order: &Order<'_>, at: u32, lines: &[Rc<[u32]>]) -> Rc<[u32]> {
    let all: BTreeSet<u32> = lines.iter().flat_map(|line| line.iter().copied()).collect();
    let Some(Event::Change(shard, entry)) = order.event(at).filter(|_| all.len() > 1) else {
        return all.into_iter().collect();
    };
    let entry_at = |at: &u32| match order.event(*at) {
        Some(Event::Change(_, entry)) => Some((entry.id, (*at, entry))),
        _ => None,
    };
    let by_id: BTreeMap<ChangeId, (u32, &Entry)> = all.iter().filter_map(entry_at).collect();
    let changes: Vec<&Entry> = by_id.values().map(|(_, entry)| *entry).collect();
    let mut heads = heads_among(shard.graph(), &changes);
    heads.sort_by_key(|head| !is_same_chain(shard.graph(), head, entry));
    heads.iter().filter_map(|head| by_id.get(&head.id)).map(|(at, _)| *at).collect()
}
