//! Taking changes out of a shard again: a record said that they do not count, or a fork was settled the other way.
//!
//! What goes is always the upper part of the history, so what stays can be read where it was. History and state are
//! right at once; the Automerge document is rebuilt aside, slice by slice, and the old one answers until it is done.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use super::chain::{Cover, Link, first_link, next_link};
use super::graph::{Entry, Fact, Graph};
use crate::delta::Delta;
use crate::id::{Actor, ChangeId};

/// A change that was taken out, with what proves it.
#[derive(Clone, Debug)]
pub(crate) struct Retracted {
    pub(crate) delta: Delta,
    pub(crate) actor: Actor,
    pub(crate) link: Link,
    pub(crate) cover: Cover,
    pub(crate) depth: u32,
}

impl Shard {
    /// Takes these changes out; nothing that stays builds on them. Answers them, each after what it builds on. A document
    /// that cannot say them any more is isolated.
    pub(crate) fn retract(&mut self, lost: &BTreeSet<ChangeId>) -> Vec<Retracted> {
        self.document.finish(&self.root);
        let Some(retracted) = self.read_lost(lost) else {
            self.document.isolate_for(&self.root, "changes that are to be taken out cannot be read");
            return Vec::new();
        };
        let graph = self.graph_without(lost);
        let keys: BTreeSet<&str> =
            retracted.iter().flat_map(|gone| &gone.delta.puts).map(|put| put.key.as_str()).collect();
        let heads = graph.heads();
        for key in keys {
            match self.document.visible_at(&self.root, key, &heads) {
                Ok(visible) => self.state.replace(key, visible),
                Err(isolated) => {
                    self.document.isolate(isolated);
                    return Vec::new();
                }
            }
        }
        self.touched = self.touched.as_ref().map(|touched| touched.moved(&self.graph, &graph));
        self.graph = graph;
        self.branch = None;
        self.document.rebuild_without(lost);
        retracted
    }

    fn read_lost(&self, lost: &BTreeSet<ChangeId>) -> Option<Vec<Retracted>> {
        let mut links: BTreeMap<Actor, Vec<Link>> = BTreeMap::new();
        let read = |entry: &Entry| {
            let chain = self.graph.chain_of(entry)?;
            let links = links.entry(chain.actor).or_insert_with(|| {
                let first = first_link(self.root.group(), self.root.epoch(), chain.actor);
                let ids = (1..=chain.len()).filter_map(|seq| Some(self.graph.at(chain, seq)?.id));
                ids.scan(first, |link, id| {
                    *link = next_link(link, id);
                    Some(*link)
                })
                .collect()
            });
            Some(Retracted {
                delta: self.delta(&entry.id)?,
                actor: chain.actor,
                link: *links.get(usize::try_from(entry.seq).ok()?.checked_sub(1)?)?,
                cover: self.graph.cover_at(chain, entry.seq)?,
                depth: entry.depth,
            })
        };
        let mut entries: Vec<&Entry> = lost.iter().filter_map(|id| self.graph.get(id)).collect();
        entries.sort_unstable_by_key(|entry| (entry.depth, entry.id));
        entries.into_iter().map(read).collect()
    }

    fn graph_without(&self, lost: &BTreeSet<ChangeId>) -> Graph {
        let mut graph = Graph::new(&self.root);
        for entry in self.graph.iter().filter(|entry| !lost.contains(&entry.id)) {
            let Some(chain) = self.graph.chain_of(entry) else { continue };
            let deps: Vec<ChangeId> = self.graph.deps(entry).map(|dep| dep.id).collect();
            graph.insert(Fact {
                id: entry.id,
                author: (chain.grant, chain.incarnation),
                seq: entry.seq,
                start_op: entry.start_op,
                max_op: entry.max_op,
                time: entry.time,
                deps: &deps,
            });
        }
        for old in self.graph.chains() {
            let Some(chain) = graph.chain_mut(&old.actor) else { continue };
            let cover = self.graph.cover_at(old, chain.len());
            chain.prove_like(old, cover);
        }
        graph
    }
}
