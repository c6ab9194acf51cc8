//! The gate: can this change be part of any history?
//!
//! It looks only at the change and its own ancestors, so every node answers alike whatever else it holds. Local
//! changes pass it too, before they are signed. What it lets through is a [`Checked`], which nothing else can make and
//! without which nothing enters a shard.
//!
//! The *writer's rule* that it checks: the dependencies are all heads the author saw and its own previous change; but
//! for that one, none is an ancestor of another; the first operation's counter follows the highest below; each put
//! names exactly the values visible at the dependencies. Signature and role are checked before, by the group.

use automerge::Change;

use super::Shard;
use super::document::Isolated;
use super::state::Visible;
use crate::delta::compose::Composed;
use crate::delta::{Delta, OpRef};
use crate::id::{Actor, ChangeId};

/// A change that may enter a shard.
#[derive(Clone, Debug)]
pub struct Checked {
    composed: Composed,
    /// The heads of its dependencies: these without those that are ancestors of others.
    frontier: Vec<ChangeId>,
}

impl Checked {
    /// The change, as we say it.
    pub fn delta(&self) -> &Delta {
        self.composed.delta()
    }

    /// The delta's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.composed.bytes()
    }

    /// Its hash.
    pub fn id(&self) -> ChangeId {
        self.composed.id()
    }

    /// The change alone.
    pub(crate) fn into_composed(self) -> Composed {
        self.composed
    }

    pub(super) fn frontier(&self) -> &[ChangeId] {
        &self.frontier
    }

    pub(super) fn into_parts(self) -> (Delta, Change) {
        self.composed.into_parts()
    }
}

/// What the gate says of a change.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is here already.
    Known(ChangeId),
    /// It is valid. Whether its place in its chain is free is another question.
    Ready(Box<Checked>),
    /// It builds on changes that are not here.
    Waits {
        /// The change.
        composed: Box<Composed>,
        /// What it waits for.
        on: Vec<ChangeId>,
    },
    /// Nothing can be said of it: a defect isolated the shard. It is neither taken in nor refused.
    Isolated(Isolated),
    /// It can be part of no history.
    Rejected {
        /// Its hash.
        id: ChangeId,
        /// Why.
        fault: Fault,
    },
}

/// Why a change was rejected. The fault is its author's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its dependencies are not what the writer's rule gives.
    #[error("its dependencies are not the heads that its author saw")]
    Deps,
    /// It does not follow its author's previous change.
    #[error("it does not follow its author's previous change")]
    Seq,
    /// Its operation counter does not follow from its dependencies.
    #[error("its operation counter does not follow from what it builds on")]
    StartOp,
    /// It does not replace exactly the values that its author saw.
    #[error("it does not replace exactly the values that its author saw")]
    Preds,
    /// It builds on two changes that hold one place of one chain.
    #[error("it builds on both branches of a fork")]
    BothBranches,
}

/// What speaks against a change: itself, or a defect here that keeps it from being judged.
pub(crate) enum Against {
    Fault(Fault),
    Defect(Isolated),
}

impl From<Fault> for Against {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Isolated> for Against {
    fn from(isolated: Isolated) -> Self {
        Self::Defect(isolated)
    }
}

/// Where a run of changes, each built on the one before, has got to. Such a run is what a reconnecting neighbour
/// brings; remembering what it changed spares one reading of the document per change.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// The heads of the run so far.
    at: Vec<ChangeId>,
    /// Where it left what the document had been given by then.
    base: Vec<ChangeId>,
    /// What is visible of the keys that the run touched.
    touched: std::collections::BTreeMap<String, Vec<OpRef>>,
}

impl Shard {
    /// Examines a change of this shard.
    pub fn examine(&mut self, composed: Composed) -> Verdict {
        let id = composed.id();
        if self.graph.contains(&id) {
            return Verdict::Known(id);
        }
        if let Some(isolated) = self.document.isolated() {
            return Verdict::Isolated(isolated.clone());
        }
        let deps = &composed.delta().deps;
        let on: Vec<_> = deps.iter().filter(|dep| !self.graph.contains(dep)).copied().collect();
        if !on.is_empty() {
            return Verdict::Waits { composed: Box::new(composed), on };
        }
        match self.check_rule(composed.delta()) {
            Ok(frontier) => Verdict::Ready(Box::new(Checked { composed, frontier })),
            Err(Against::Fault(fault)) => Verdict::Rejected { id, fault },
            Err(Against::Defect(isolated)) => {
                self.document.isolate(isolated.clone());
                Verdict::Isolated(isolated)
            }
        }
    }

    fn check_rule(&mut self, delta: &Delta) -> Result<Vec<ChangeId>, Against> {
        let previous = self.previous(delta)?;
        let frontier = self.frontier(&delta.deps, previous)?;
        let max_op = delta.deps.iter().filter_map(|dep| self.graph.get(dep)).map(|dep| dep.max_op).max();
        if max_op.map(|max| max + 1) != Some(delta.start_op) {
            return Err(Fault::StartOp.into());
        }
        self.start_branch(&frontier);
        for put in &delta.puts {
            let visible = self.visible_ops(&frontier, &put.key)?;
            if visible != put.preds {
                return Err(Fault::Preds.into());
            }
        }
        Ok(frontier)
    }

    /// The author's previous change, which must be among the dependencies, and the last of its chain below them.
    fn previous(&self, delta: &Delta) -> Result<Option<ChangeId>, Fault> {
        let actor: Actor = delta.actor(self.root.group());
        let chain = self.graph.chain(&actor);
        let previous = chain.and_then(|chain| self.graph.at(chain, delta.seq - 1)).map(|entry| entry.id);
        match previous {
            None if delta.seq > 1 => return Err(Fault::Seq),
            Some(previous) if delta.deps.binary_search(&previous).is_err() => return Err(Fault::Seq),
            _ => {}
        }
        // Where the chain goes on here, this is another branch of it, and must not build on this one too.
        let len = chain.map_or(0, super::chain::Chain::len);
        if delta.seq <= len && self.graph.reach(&self.graph.clock(&delta.deps), &actor) >= delta.seq {
            return Err(Fault::BothBranches);
        }
        Ok(previous)
    }

    /// True if the place of a change is the next one of its chain.
    pub(crate) fn is_next(&self, delta: &Delta) -> bool {
        let chain = self.graph.chain(&delta.actor(self.root.group()));
        delta.seq == chain.map_or(0, super::chain::Chain::len) + 1
    }

    /// The dependencies without the author's previous change where that is an ancestor of another; an error if any
    /// other one is.
    fn frontier(&self, deps: &[ChangeId], previous: Option<ChangeId>) -> Result<Vec<ChangeId>, Fault> {
        if deps.len() == 1 {
            return Ok(deps.to_vec());
        }
        let others: Vec<_> = deps.iter().filter(|dep| Some(**dep) != previous).copied().collect();
        let heads = self.graph.heads();
        if heads == deps || heads == others {
            return Ok(heads);
        }
        let mut previous_is_below = false;
        for dep in deps {
            let below = self.graph.clock_below([dep]);
            for other in deps.iter().filter_map(|other| self.graph.get(other)) {
                let is_below = other.id == self.root.id() || self.graph.covers(&below, other);
                if is_below && Some(other.id) != previous {
                    return Err(Fault::Deps);
                }
                previous_is_below |= is_below;
            }
        }
        Ok(if previous_is_below { others } else { deps.to_vec() })
    }

    fn start_branch(&mut self, frontier: &[ChangeId]) {
        let known = frontier == self.graph.heads()
            || self.branch.as_ref().is_some_and(|branch| branch.at == frontier);
        if !known {
            self.document.flush(&self.root);
            let (at, base) = (frontier.to_vec(), frontier.to_vec());
            self.branch = Some(Branch { at, base, touched: std::collections::BTreeMap::new() });
        }
    }

    /// The puts of `key` visible at `frontier`, sorted. [`Shard::start_branch`] has prepared for it.
    fn visible_ops(&self, frontier: &[ChangeId], key: &str) -> Result<Vec<OpRef>, Isolated> {
        let ops = |visible: &[Visible]| visible.iter().map(|value| value.op).collect();
        if frontier == self.graph.heads() {
            return Ok(ops(self.state.get(key)));
        }
        let read = |heads: &[ChangeId]| Ok(ops(&self.document.visible_at(&self.root, key, heads)?));
        match self.branch.as_ref().filter(|branch| branch.at == frontier) {
            Some(branch) => match branch.touched.get(key) {
                Some(touched) => Ok(touched.clone()),
                None => read(&branch.base),
            },
            None => read(frontier),
        }
    }

    /// Moves the branch along, if this change continues it.
    pub(super) fn advance_branch(&mut self, checked: &Checked, ops: &[(String, OpRef)]) {
        let Some(branch) = self.branch.as_mut().filter(|branch| branch.at == checked.frontier()) else {
            return;
        };
        for (key, op) in ops {
            branch.touched.insert(key.clone(), vec![*op]);
        }
        branch.at = vec![checked.id()];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::Put;
    use crate::id::{GroupId, Incarnation, RecordId};
    use crate::shard::document::Document;
    use crate::shard::root::{Root, ShardName};
    use crate::value::Value;

    /// A change of one key by the `n`-th author, on nothing but the root.
    fn first(root: &Root, n: u8) -> Composed {
        let put = Put { key: "config/a keys.k".to_owned(), value: Value::Int(n.into()), preds: vec![] };
        let delta = Delta {
            epoch: root.epoch(),
            grant: RecordId([n; 32]),
            incarnation: Incarnation([n; 16]),
            seq: 1,
            deps: vec![root.id()],
            start_op: 258,
            time: 0,
            message: String::new(),
            puts: vec![put],
        };
        Composed::new(root, delta).unwrap()
    }

    #[test]
    fn a_defect_isolates_the_shard_and_rejects_nothing() {
        let root = Root::derive(GroupId([1; 16]), ShardName::Desired);
        let mut shard = Shard::new(root.clone());
        let Verdict::Ready(checked) = shard.examine(first(&root, 1)) else { panic!() };
        shard.accept(*checked);
        shard.flush();
        // What the document of another group says of this one's buckets is an error in Automerge.
        shard.document = Document::new(&Root::derive(GroupId([2; 16]), ShardName::Desired));
        for n in [2, 3] {
            let verdict = shard.examine(first(&root, n));
            assert!(matches!(verdict, Verdict::Isolated(_)), "{verdict:?}");
        }
        assert!(shard.document().isolated().is_some());
    }
}
