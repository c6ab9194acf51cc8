//! The order of a log: newest first, and the same on every node.
//!
//! Nothing comes before what was built on it. Among what may come next, the latest by its author's clock does, then the
//! smallest id; so the order follows from the set of events alone, never from the way they arrived.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

use crate::group::Group;
use crate::id::{Actor, ChangeId, EpochId, RecordId};
use crate::record::{Records, SignedRecord};
use crate::resource::ResourceName;
use crate::shard::Shard;
use crate::shard::chain::Chain;
use crate::shard::graph::{Clock, Entry, Graph};

/// One thing that happened.
#[derive(Clone, Copy)]
pub(super) enum Event<'a> {
    Change(&'a Shard, &'a Entry),
    Record(&'a SignedRecord),
}

impl Event<'_> {
    pub(super) fn id(&self) -> [u8; 32] {
        match self {
            Self::Change(_, entry) => entry.id.0,
            Self::Record(signed) => signed.id().0,
        }
    }

    /// Seconds since 1970 by the author's clock; 0 of a record, which carries none.
    pub(super) fn time(&self) -> i64 {
        match self {
            Self::Change(_, entry) => entry.time,
            Self::Record(_) => 0,
        }
    }
}

/// Stands for the number of events built on one that is not to be given out.
const NEVER: u32 = u32::MAX;

/// Events being given out in order. An event is named by its place among all.
pub(super) struct Order<'a> {
    events: Vec<Event<'a>>,
    /// What each was built on, one after the other,
    below: Vec<u32>,
    /// and where in that list the part of each ends.
    ends: Vec<usize>,
    /// How many that are still to come were built on each.
    above: Vec<u32>,
    ready: BinaryHeap<(i64, Reverse<[u8; 32]>, u32)>,
    given: Vec<u32>,
    /// How far what is still to come reaches into each chain.
    reaches: BTreeMap<(EpochId, Actor), u64>,
    /// True if only some events of the history are in it.
    is_partial: bool,
}

/// Above this part of a history, to put the whole in order is less work than to find what leads from one to another of
/// its events.
const MOST: usize = 8;
/// In a history that is no longer than this it makes no difference.
const SMALL: usize = 1024;

impl<'a> Order<'a> {
    /// The changes of `desired`, up to `at` if that is said; with `all`, what machines observed and the membership
    /// records too.
    pub(super) fn new(group: &'a Group, at: Option<&[ChangeId]>, all: bool) -> Self {
        let mut order = Self::empty();
        if let Some(shard) = group.desired() {
            order.add_shard(shard, at.map(|heads| shard.graph().clock(heads)).as_ref());
        }
        if all {
            for (_, shard) in group.observed() {
                order.add_shard(shard, None);
            }
            order.add_records(group.records());
        }
        order.count();
        order
    }

    /// The same of the changes that touched a resource, as if there were no others; `None` if it is not known which, or
    /// if they are too many for that.
    pub(super) fn of_resource(
        group: &'a Group,
        resource: &ResourceName,
        at: Option<&[ChangeId]>,
        all: bool,
    ) -> Option<Self> {
        let mut order = Self { is_partial: true, ..Self::empty() };
        let observed = group.observed().filter(|_| all).map(|(_, shard)| (shard, None));
        for (shard, at) in group.desired().into_iter().map(|shard| (shard, at)).chain(observed) {
            let places = shard.touched()?.of(&resource.to_string());
            if places.len().saturating_mul(MOST) > shard.graph().len().max(SMALL) {
                return None;
            }
            order.add_some(shard, places, at);
        }
        order.count();
        Some(order)
    }

    fn empty() -> Self {
        Self {
            events: Vec::new(),
            below: Vec::new(),
            ends: Vec::new(),
            above: Vec::new(),
            ready: BinaryHeap::new(),
            given: Vec::new(),
            reaches: BTreeMap::new(),
            is_partial: false,
        }
    }

    /// Adds the changes at these places, each after what it builds on.
    fn add_some(&mut self, shard: &'a Shard, places: &[u32], at: Option<&[ChangeId]>) {
        let graph = shard.graph();
        let upto = at.map(|heads| graph.clock(heads));
        let mut chains: BTreeMap<Actor, Vec<(u64, u32)>> = BTreeMap::new();
        for entry in places.iter().filter_map(|place| graph.entry_at(*place)) {
            if upto.as_ref().is_some_and(|upto| !graph.covers(upto, entry)) {
                continue;
            }
            let Some(actor) = graph.chain_of(entry).map(|chain| chain.actor) else { continue };
            let known = graph.clock_below([&entry.id]);
            let newest = |(actor, events): (&Actor, &Vec<(u64, u32)>)| {
                let within = events.partition_point(|(seq, _)| *seq <= graph.reach(&known, actor));
                events.get(within.checked_sub(1)?).map(|(_, at)| *at)
            };
            let below: Vec<u32> = chains.iter().filter_map(newest).collect();
            let below = self.heads_among(graph, below);
            chains.entry(actor).or_default().push((entry.seq, place(self.events.len())));
            self.add(Event::Change(shard, entry), below, true);
        }
    }

    /// Those of some events that no other of them was built on.
    fn heads_among(&self, graph: &Graph, mut events: Vec<u32>) -> Vec<u32> {
        if events.len() > 1 {
            let ids: Vec<ChangeId> =
                events.iter().filter_map(|at| self.event(*at)).map(|event| ChangeId(event.id())).collect();
            let below = graph.clock_below(&ids);
            events.retain(|at| match self.event(*at) {
                Some(Event::Change(_, entry)) => !graph.covers(&below, entry),
                _ => false,
            });
        }
        events
    }

    fn add(&mut self, event: Event<'a>, below: impl IntoIterator<Item = u32>, counts: bool) {
        self.events.push(event);
        self.below.extend(below);
        self.ends.push(self.below.len());
        self.above.push(if counts { 0 } else { NEVER });
    }

    fn add_shard(&mut self, shard: &'a Shard, upto: Option<&Clock>) {
        let graph = shard.graph();
        let base = place(self.events.len());
        for entry in graph.iter() {
            let below = entry.deps_at().iter().filter_map(|at| at.checked_sub(1)).map(|at| base + at);
            let counts = upto.is_none_or(|clock| graph.covers(clock, entry));
            self.add(Event::Change(shard, entry), below, counts);
        }
        let epoch = shard.root().epoch();
        let reach = |chain: &Chain| upto.map_or(chain.len(), |clock| graph.reach(clock, &chain.actor));
        self.reaches.extend(graph.chains().map(|chain| ((epoch, chain.actor), reach(chain))));
    }

    fn add_records(&mut self, records: &'a Records) {
        let base = place(self.events.len());
        let places: BTreeMap<RecordId, u32> =
            (base..).zip(records.iter()).map(|(at, signed)| (signed.id(), at)).collect();
        for signed in records.iter() {
            let record = signed.record();
            let on = if record.prev == RecordId::ZERO { record.grant } else { record.prev };
            self.add(Event::Record(signed), places.get(&on).copied(), true);
        }
    }

    fn count(&mut self) {
        let mut from = 0;
        for (at, end) in self.ends.iter().enumerate() {
            let below = self.below.get(std::mem::replace(&mut from, *end)..*end).unwrap_or_default();
            if self.above.get(at) == Some(&NEVER) {
                continue;
            }
            for dep in below {
                if let Some(above) = self.above.get_mut(*dep as usize) {
                    *above += 1;
                }
            }
        }
        let free = self.above.iter().enumerate().filter(|(_, above)| **above == 0);
        let free: Vec<u32> = free.map(|(at, _)| place(at)).collect();
        free.into_iter().for_each(|at| self.make_ready(at));
    }

    fn make_ready(&mut self, at: u32) {
        if let Some(event) = self.event(at) {
            self.ready.push((event.time(), Reverse(event.id()), at));
        }
    }

    /// The next event.
    pub(super) fn next(&mut self) -> Option<(u32, Event<'a>)> {
        let (_, _, at) = self.ready.pop()?;
        let event = self.event(at)?;
        self.given.push(at);
        if let Event::Change(shard, entry) = event
            && let Some(chain) = shard.graph().chain_of(entry)
        {
            self.reaches.insert((shard.root().epoch(), chain.actor), entry.seq - 1);
        }
        for nth in self.part(at) {
            let Some(&dep) = self.below.get(nth) else { continue };
            let Some(above) = self.above.get_mut(dep as usize) else { continue };
            *above -= 1;
            if *above == 0 {
                self.make_ready(dep);
            }
        }
        Some((at, event))
    }

    /// True if only some events of the history are in it.
    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The event at a place.
    pub(super) fn event(&self, at: u32) -> Option<Event<'a>> {
        self.events.get(at as usize).copied()
    }

    /// How many events there are, the hidden ones counted.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// What an event was built on.
    pub(super) fn below(&self, at: u32) -> &[u32] {
        self.below.get(self.part(at)).unwrap_or_default()
    }

    /// Where in the list of what events were built on that of one stands.
    fn part(&self, at: u32) -> Range<usize> {
        let end = |at: usize| self.ends.get(at).copied();
        let from = (at as usize).checked_sub(1).and_then(end).unwrap_or(0);
        from..end(at as usize).unwrap_or(from)
    }

    /// All that was given out so far, in order.
    pub(super) fn given(&self) -> &[u32] {
        &self.given
    }

    /// Changes of a shard, with their ancestors, of which none is among those `wanted`, which were given out: those that
    /// are still to come, as far as that is known.
    pub(super) fn rest(&self, shard: &Shard, wanted: &[&Entry]) -> Clock {
        if self.is_partial {
            let below = wanted.iter().map(|entry| shard.graph().clock_below([&entry.id]));
            return below.reduce(|one, other| one.meet(&other)).unwrap_or_default();
        }
        let epoch = shard.root().epoch();
        let of_shard = self.reaches.range((epoch, Actor::ZERO)..).take_while(|((of, _), _)| *of == epoch);
        shard.graph().clock_of(of_shard.map(|((_, actor), reach)| (*actor, *reach)))
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
