//! The history of a shard as a graph: which changes there are, who wrote them, what each was built on.
//!
//! Everything a question about causality needs is here and small (about 100 bytes a change); contents stay in the
//! Automerge document. An author's changes form a chain, each naming its predecessor, so a set of changes that is
//! closed under ancestors is fully said by how far it reaches into each chain: a [`Clock`].

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{Chain, Cover};
use super::root::Root;
use crate::delta::OpRef;
use crate::id::{Actor, ChangeId, EpochId, GrantId, GroupId, Incarnation};
use crate::limits;

/// How far a set of changes, closed under ancestors, reaches into each chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock(BTreeMap<u32, u64>);

impl Clock {
    fn reach(&self, chain: u32) -> u64 {
        self.0.get(&chain).copied().unwrap_or(0)
    }

    fn raise(&mut self, chain: u32, seq: u64) {
        let reach = self.0.entry(chain).or_default();
        *reach = (*reach).max(seq);
    }

    fn join(&mut self, other: &Self) {
        for (&chain, &seq) in &other.0 {
            self.raise(chain, seq);
        }
    }

    /// The changes that both sets have.
    pub fn meet(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .map(|(&chain, &seq)| (chain, seq.min(other.reach(chain))))
                .filter(|(_, seq)| *seq > 0)
                .collect(),
        )
    }
}

/// One change, as the graph knows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its hash.
    pub id: ChangeId,
    /// Place in its chain, from 1; 0 for the root.
    pub seq: u64,
    /// Counter of its first operation.
    pub start_op: u64,
    /// Counter of its last operation; one less than `start_op` if it has none.
    pub max_op: u64,
    /// Longest way down to the root. Sorting by it puts every change after what it depends on.
    pub depth: u32,
    /// The author's clock when it was written, in seconds since 1970.
    pub time: i64,
    chain: u32,
    deps: Box<[u32]>,
}

impl Entry {
    /// What it was built on, by places in the order of arrival: 0 is the root, 1 the first of [`Graph::iter`].
    pub(crate) fn deps_at(&self) -> &[u32] {
        &self.deps
    }
}

/// What the graph keeps of a change.
pub(super) struct Fact<'a> {
    pub(super) id: ChangeId,
    pub(super) author: (GrantId, Incarnation),
    pub(super) seq: u64,
    pub(super) start_op: u64,
    pub(super) max_op: u64,
    pub(super) time: i64,
    pub(super) deps: &'a [ChangeId],
}

/// The history of one shard.
#[derive(Clone, Debug)]
pub struct Graph {
    group: GroupId,
    epoch: EpochId,
    entries: Vec<Entry>,
    index: BTreeMap<ChangeId, u32>,
    chains: Vec<Chain>,
    by_actor: BTreeMap<Actor, u32>,
    heads: BTreeSet<ChangeId>,
    /// Clocks of every 64th change of each chain, so that no walk is long.
    checkpoints: BTreeMap<(u32, u64), Clock>,
}

/// Distance between two checkpoints of a chain.
const CHECKPOINT: u64 = 64;

impl Graph {
    /// The history that holds just a root.
    pub fn new(root: &Root) -> Self {
        let entry = Entry {
            id: root.id(),
            seq: 0,
            start_op: 1,
            max_op: root.max_op(),
            depth: 0,
            time: 0,
            chain: u32::MAX,
            deps: Box::default(),
        };
        Self {
            group: root.group(),
            epoch: root.epoch(),
            entries: vec![entry],
            index: BTreeMap::from([(root.id(), 0)]),
            chains: Vec::new(),
            by_actor: BTreeMap::new(),
            heads: BTreeSet::from([root.id()]),
            checkpoints: BTreeMap::new(),
        }
    }

    /// Adds a change. Its dependencies and its predecessor are here already: the gate saw to it.
    pub(super) fn insert(&mut self, fact: Fact<'_>) {
        let Fact { id, author, seq, start_op, max_op, time, deps } = fact;
        let places: Vec<u32> = deps.iter().filter_map(|dep| self.index.get(dep).copied()).collect();
        let depth = places.iter().filter_map(|&dep| self.entry_at(dep)).map(|dep| dep.depth).max();
        let depth = depth.unwrap_or(0).saturating_add(1);
        let chain = self.chain_for(author);
        let at = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let deps_at = places.into_boxed_slice();
        self.entries.push(Entry { id, seq, start_op, max_op, depth, time, chain, deps: deps_at });
        self.index.insert(id, at);
        if let Some(chain) = self.chains.get_mut(chain as usize) {
            chain.extend(at, id);
        }
        for dep in deps {
            self.heads.remove(dep);
        }
        self.heads.insert(id);
        if seq.is_multiple_of(CHECKPOINT) {
            let clock = self.clock_from(vec![at]);
            self.checkpoints.insert((chain, seq), clock);
        }
    }

    fn chain_for(&mut self, author: (GrantId, Incarnation)) -> u32 {
        let actor = Actor::of(self.group, self.epoch, author.0, author.1);
        if let Some(&chain) = self.by_actor.get(&actor) {
            return chain;
        }
        let chain = u32::try_from(self.chains.len()).unwrap_or(u32::MAX);
        self.chains.push(Chain::new(self.group, self.epoch, author));
        self.by_actor.insert(actor, chain);
        chain
    }

    /// The change at a place in the order of arrival.
    pub(crate) fn entry_at(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    /// Where a change stands in the order of arrival.
    pub(crate) fn place(&self, id: &ChangeId) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// The change `id`.
    pub fn get(&self, id: &ChangeId) -> Option<&Entry> {
        self.index.get(id).and_then(|&at| self.entry_at(at))
    }

    /// True if the change is here (the root is).
    pub fn contains(&self, id: &ChangeId) -> bool {
        self.index.contains_key(id)
    }

    /// How many changes there are, the root not counted.
    pub fn len(&self) -> usize {
        self.entries.len() - 1
    }

    /// True if there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The changes nothing was built on yet; the root's alone if there is no other. Sorted.
    pub fn heads(&self) -> Vec<ChangeId> {
        self.heads.iter().copied().collect()
    }

    /// All changes but the root, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().skip(1)
    }

    /// Ids that begin with these hex digits; the root is not found.
    pub fn with_prefix(&self, prefix: &str) -> Vec<ChangeId> {
        let padded: String = prefix.chars().chain(std::iter::repeat('0')).take(64).collect();
        let Some(from) = ChangeId::parse(&padded) else { return Vec::new() };
        let prefix = prefix.to_ascii_lowercase();
        self.index
            .range(from..)
            .map(|(id, at)| (*id, *at))
            .take_while(|(id, _)| id.to_string().starts_with(&prefix))
            .filter(|(_, at)| *at != 0)
            .map(|(id, _)| id)
            .collect()
    }

    /// What a change was built on.
    pub fn deps(&self, entry: &Entry) -> impl Iterator<Item = &Entry> {
        entry.deps.iter().filter_map(|&dep| self.entry_at(dep))
    }

    /// The chain a change belongs to; `None` for the root.
    pub fn chain_of(&self, entry: &Entry) -> Option<&Chain> {
        self.chains.get(entry.chain as usize)
    }

    /// The chain of `actor`.
    pub fn chain(&self, actor: &Actor) -> Option<&Chain> {
        self.by_actor.get(actor).and_then(|&chain| self.chains.get(chain as usize))
    }

    pub(super) fn chain_mut(&mut self, actor: &Actor) -> Option<&mut Chain> {
        self.by_actor.get(actor).and_then(|&chain| self.chains.get_mut(chain as usize))
    }

    /// All chains, by actor.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.by_actor.values().filter_map(|&chain| self.chains.get(chain as usize))
    }

    /// The change at `seq` of a chain.
    pub fn at(&self, chain: &Chain, seq: u64) -> Option<&Entry> {
        let place = usize::try_from(seq.checked_sub(1)?).ok()?;
        chain.entries.get(place).and_then(|&at| self.entry_at(at))
    }

    /// What proves a chain up to `seq`: the next signature at or beyond it, and the hashes on the way there.
    pub(crate) fn cover_at(&self, chain: &Chain, seq: u64) -> Option<Cover> {
        let next_mark = seq.next_multiple_of(limits::SIGNED_EVERY);
        let ids = |upto: u64| (seq + 1..=upto).filter_map(|seq| Some(self.at(chain, seq)?.id));
        if let Some(signature) = chain.mark_at(next_mark) {
            return Some(Cover { ahead: ids(next_mark).collect(), signature: *signature });
        }
        let cover = chain.cover()?;
        let ahead = ids(chain.len()).chain(cover.ahead.iter().copied()).collect();
        Some(Cover { ahead, signature: cover.signature })
    }

    /// The change that wrote an operation.
    pub fn writer(&self, op: &OpRef) -> Option<&Entry> {
        let chain = self.chain(&op.actor)?;
        let place = chain
            .entries
            .partition_point(|&at| self.entry_at(at).is_some_and(|entry| entry.max_op < op.counter));
        let entry = chain.entries.get(place).and_then(|&at| self.entry_at(at))?;
        (entry.start_op..=entry.max_op).contains(&op.counter).then_some(entry)
    }

    /// The set of these changes and all their ancestors.
    pub fn clock<'a>(&self, changes: impl IntoIterator<Item = &'a ChangeId>) -> Clock {
        self.clock_from(changes.into_iter().filter_map(|id| self.index.get(id).copied()).collect())
    }

    /// The set of all ancestors of these changes, themselves not counted unless one is an ancestor of another.
    pub fn clock_below<'a>(&self, changes: impl IntoIterator<Item = &'a ChangeId>) -> Clock {
        let entries = changes.into_iter().filter_map(|id| self.get(id));
        self.clock_from(entries.flat_map(|entry| entry.deps.iter().copied()).collect())
    }

    fn clock_from(&self, mut todo: Vec<u32>) -> Clock {
        let mut clock = Clock::default();
        while let Some(at) = todo.pop() {
            let Some(entry) = self.entry_at(at) else { continue };
            let Some(chain) = self.chains.get(entry.chain as usize) else { continue };
            let covered = clock.reach(entry.chain);
            let mut seq = entry.seq;
            clock.raise(entry.chain, seq);
            while seq > covered {
                if let Some(checkpoint) = self.checkpoints.get(&(entry.chain, seq)) {
                    clock.join(checkpoint);
                    break;
                }
                if let Some(entry) = self.at(chain, seq) {
                    todo.extend(entry.deps.iter().copied());
                }
                seq -= 1;
            }
        }
        clock
    }

    /// True if the set has this change. Every set has the root.
    pub fn covers(&self, clock: &Clock, entry: &Entry) -> bool {
        clock.reach(entry.chain) >= entry.seq
    }

    /// How far a set reaches into a chain.
    pub fn reach(&self, clock: &Clock, actor: &Actor) -> u64 {
        self.by_actor.get(actor).map_or(0, |&chain| clock.reach(chain))
    }

    /// The set that reaches just so far into these chains. It must be closed under ancestors to mean anything.
    pub fn clock_of(&self, reaches: impl IntoIterator<Item = (Actor, u64)>) -> Clock {
        let mut clock = Clock::default();
        for (actor, seq) in reaches {
            if let Some(&chain) = self.by_actor.get(&actor) {
                let len = self.chains.get(chain as usize).map_or(0, Chain::len);
                clock.raise(chain, seq.min(len));
            }
        }
        clock.0.retain(|_, seq| *seq > 0);
        clock
    }

    /// The set of everything here.
    pub fn everything(&self) -> Clock {
        self.clock_of(self.chains.iter().map(|chain| (chain.actor, chain.len())))
    }

    /// The changes of a set that no other of it builds on; the root if the set is empty. Sorted.
    pub fn heads_of(&self, clock: &Clock) -> Vec<ChangeId> {
        let tips: Vec<&Entry> = clock
            .0
            .iter()
            .filter_map(|(&chain, &seq)| self.at(self.chains.get(chain as usize)?, seq))
            .collect();
        let below = self.clock_from(tips.iter().flat_map(|tip| tip.deps.iter().copied()).collect());
        let mut heads: Vec<_> =
            tips.iter().filter(|tip| !self.covers(&below, tip)).map(|tip| tip.id).collect();
        if heads.is_empty() {
            heads.extend(self.entry_at(0).map(|root| root.id));
        }
        heads.sort_unstable();
        heads
    }

    /// The changes that `more` has and `less` has not, each after everything it depends on.
    pub fn between(&self, less: &Clock, more: &Clock) -> Vec<&Entry> {
        let mut entries = Vec::new();
        for (&chain_ix, &upto) in &more.0 {
            let Some(chain) = self.chains.get(chain_ix as usize) else { continue };
            entries.extend((less.reach(chain_ix) + 1..=upto).filter_map(|seq| self.at(chain, seq)));
        }
        entries.sort_unstable_by_key(|entry| (entry.depth, entry.id));
        entries
    }

    /// Those of some changes that are here, each before what it was built on.
    pub(crate) fn top_first(&self, of: &BTreeSet<ChangeId>) -> Vec<ChangeId> {
        let mut entries: Vec<&Entry> = of.iter().filter_map(|id| self.get(id)).collect();
        entries.sort_unstable_by_key(|entry| (std::cmp::Reverse(entry.depth), entry.id));
        entries.into_iter().map(|entry| entry.id).collect()
    }

    /// True if `older` is among the ancestors of `newer`.
    pub fn is_ancestor(&self, older: &Entry, newer: &Entry) -> bool {
        older.id != newer.id && older.depth < newer.depth && self.covers(&self.clock([&newer.id]), older)
    }
}
