//! One shard of a group's document: its derived root, its history and its state.
//!
//! A group's document is the union of its shards: `desired`, and `observed/<grant>` for every machine. A change depends
//! only on changes of its own shard, so shards are loaded, synced, compacted and, if broken, isolated one by one.

pub mod bucket;
pub mod chain;
pub mod document;
pub mod gate;
pub mod graph;
mod retract;
pub mod root;
pub mod state;
pub mod touched;
pub mod union;

use std::collections::{BTreeMap, BTreeSet};

use crate::delta::compose::{change_id, decompose};
use crate::delta::{Delta, OpRef};
use crate::id::{Actor, ChangeId, Digest, GrantId, Incarnation, hash16};
use chain::Chain;
use document::{Document, Isolated};
use gate::{Branch, Checked};
use graph::{Clock, Fact, Graph};
pub(crate) use retract::Retracted;
use root::Root;
use state::{State, Visible};
use touched::Touched;

/// One shard in memory.
#[derive(Clone, Debug)]
pub struct Shard {
    root: Root,
    graph: Graph,
    state: State,
    document: Document,
    branch: Option<Branch>,
    /// Changes that are part of it for the sake of what was built on them, and do not count by themselves.
    held: BTreeSet<ChangeId>,
    /// Missing if it was not written down with the document.
    touched: Option<Touched>,
}

impl Shard {
    /// A shard that nobody has written to.
    pub fn new(root: Root) -> Self {
        let (graph, document) = (Graph::new(&root), Document::new(&root));
        let touched = Some(Touched::default());
        Self { root, graph, state: State::default(), document, branch: None, held: BTreeSet::new(), touched }
    }

    /// The shard's derived beginning.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Its history.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What it says now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its Automerge document, as of the last [`Shard::flush`].
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Changes that are part of it only for the sake of what was built on them: what they say is held, see
    /// [`crate::accept`].
    pub fn held(&self) -> &BTreeSet<ChangeId> {
        &self.held
    }

    pub(crate) fn set_held(&mut self, held: BTreeSet<ChangeId>) {
        let ops = |entry: &graph::Entry| {
            let actor = self.graph.chain_of(entry).map(|chain| chain.actor);
            actor.map(|actor| (entry.start_op..=entry.max_op).map(move |counter| OpRef { counter, actor }))
        };
        let ops = held.iter().filter_map(|id| ops(self.graph.get(id)?)).flatten().collect();
        self.state.set_held(ops);
        self.held = held;
    }

    /// Gives the document up after a defect.
    pub(crate) fn isolate(&mut self, what: &str) {
        self.document.isolate_for(&self.root, what);
    }

    /// The chain of `actor`, to take in signatures that were checked.
    pub(crate) fn chain_mut(&mut self, actor: &Actor) -> Option<&mut Chain> {
        self.graph.chain_mut(actor)
    }

    /// The shard that [`Document::save`] wrote; `chains` says what its actors stand for. `None` if the document is not
    /// that of this shard, or does not hold just these chains and heads.
    pub(crate) fn restore(
        root: Root,
        document: Document,
        chains: &[(GrantId, Incarnation, u64)],
        heads: &[ChangeId],
    ) -> Option<Self> {
        let mut graph = Graph::new(&root);
        let authors: BTreeMap<Actor, (GrantId, Incarnation)> = chains
            .iter()
            .map(|(grant, life, _)| (Actor::of(root.group(), root.epoch(), *grant, *life), (*grant, *life)))
            .collect();
        for meta in document.metadata() {
            if meta.id == root.id() {
                continue;
            }
            let author = *authors.get(&meta.actor)?;
            let (seq, start_op, max_op, time) = (meta.seq, meta.start_op, meta.max_op, meta.time);
            graph.insert(Fact { id: meta.id, author, seq, start_op, max_op, time, deps: &meta.deps });
        }
        let whole = chains.iter().all(|(grant, life, len)| {
            let actor = Actor::of(root.group(), root.epoch(), *grant, *life);
            graph.chain(&actor).is_some_and(|chain| chain.len() == *len)
        });
        if !whole || graph.heads() != heads || document.heads() != heads {
            return None;
        }
        let mut state = State::default();
        for (key, visible) in document.read_all(&root)? {
            state.restore(key, visible);
        }
        Some(Self { root, graph, state, document, branch: None, held: BTreeSet::new(), touched: None })
    }

    /// Lets a checked change in.
    pub fn accept(&mut self, checked: Checked) {
        let actor = checked.delta().actor(self.root.group());
        let ops: Vec<(String, OpRef)> = (checked.delta().start_op..)
            .zip(&checked.delta().puts)
            .map(|(counter, put)| (put.key.clone(), OpRef { counter, actor }))
            .collect();
        self.advance_branch(&checked, &ops);
        let id = checked.id();
        let (delta, change) = checked.into_parts();
        self.graph.insert(Fact {
            id,
            author: (delta.grant, delta.incarnation),
            seq: delta.seq,
            start_op: delta.start_op,
            max_op: delta.max_op(),
            time: delta.time,
            deps: &delta.deps,
        });
        if let (Some(touched), Some(place)) = (&mut self.touched, self.graph.place(&id)) {
            touched.note(place, &delta.puts);
        }
        for (put, (_, op)) in delta.puts.iter().zip(&ops) {
            self.state.put(*op, put);
        }
        let was_rebuilding = self.document.is_rebuilding();
        self.document.push(change);
        if was_rebuilding && !self.document.is_rebuilding() {
            // The document that the branch was read from is gone, and the new one is not flushed up to where it begins.
            self.branch = None;
        }
    }

    /// Which changes touched what; `None` if that is not known, see [`Shard::index`].
    pub fn touched(&self) -> Option<&Touched> {
        self.touched.as_ref()
    }

    pub(crate) fn set_touched(&mut self, touched: Option<Touched>) {
        self.touched = touched;
    }

    /// Finds out which changes touched what, if that is not known: about 10 µs a change. The document is to be up to
    /// date.
    pub fn index(&mut self) {
        if self.touched.is_some() || self.document.isolated().is_some() {
            return;
        }
        let place = |(id, delta): (ChangeId, Delta)| Some((self.graph.place(&id)?, delta.puts));
        let mut all: Vec<_> = self.read_after(&Clock::default()).filter_map(place).collect();
        all.sort_unstable_by_key(|(place, _)| *place);
        let mut touched = Touched::default();
        all.iter().for_each(|(place, puts)| touched.note(*place, puts));
        // What cannot be read is not known to touch nothing.
        self.touched = (all.len() == self.graph.len()).then_some(touched);
    }

    /// Brings the Automerge document up to date. To be called before anything reads it.
    pub fn flush(&mut self) {
        self.document.flush(&self.root);
    }

    /// The change `id`, said as a delta again. `None` if the document does not hold just what has this hash.
    pub fn delta(&self, id: &ChangeId) -> Option<Delta> {
        let chain = self.graph.chain_of(self.graph.get(id)?)?;
        let change = self.document.change(id).filter(|change| change_id(change) == *id)?;
        decompose(&change, self.root.epoch(), (chain.grant, chain.incarnation))
    }

    /// All changes past a set, said as deltas, each after its dependencies.
    pub fn deltas_after(&self, have: &Clock) -> Vec<(ChangeId, Delta)> {
        self.read_after(have).collect()
    }

    /// [`Shard::deltas_after`], one at a time: for who keeps only a little of each.
    pub(crate) fn read_after(&self, have: &Clock) -> impl Iterator<Item = (ChangeId, Delta)> {
        let changes = self.document.changes_after(&self.graph.heads_of(have));
        changes.into_iter().filter_map(|change| {
            let id = change_id(&change);
            let chain = self.graph.chain_of(self.graph.get(&id)?)?;
            let author = (chain.grant, chain.incarnation);
            Some((id, decompose(&change, self.root.epoch(), author)?))
        })
    }

    /// The visible values of `key` at these heads, the winner last; a defect, if the document cannot say.
    pub fn visible_at(&self, key: &str, heads: &[ChangeId]) -> Result<Vec<Visible>, Isolated> {
        if heads == self.graph.heads() {
            return Ok(self.state.get(key).to_vec());
        }
        self.document.visible_at(&self.root, key, heads)
    }

    /// [`Shard::visible_at`] of many keys, in no special order; those that had no value are left out. It goes through the
    /// whole history once.
    pub(crate) fn visible_in_bulk(
        &self,
        keys: &BTreeSet<&str>,
        heads: &[ChangeId],
    ) -> Result<Vec<(String, Vec<Visible>)>, Isolated> {
        self.document.visible_in_bulk(&self.root, keys, heads)
    }

    /// Stands for everything in the shard: equal digests, equal histories.
    pub fn digest(&self) -> Digest {
        let heads = self.graph.heads();
        let parts: Vec<&[u8]> = heads.iter().map(AsRef::as_ref).collect();
        Digest(hash16("larder 1 shard digest", &parts))
    }
}
