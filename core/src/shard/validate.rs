//! The gate: can this change be part of any history?
//!
//! It looks only at the change and its own ancestors, so every node answers alike whatever else it holds. Local
//! changes pass it too, before they are signed. What it lets through is a [`ValidatedChange`], which nothing else can make and
//! without which nothing enters a shard.
//!
//! The *writer's rule* that it checks: the dependencies are all heads the author saw and its own previous change; but
//! for that one, none is an ancestor of another; the first operation's counter follows the highest below; each put
//! names exactly the values visible at the dependencies. Signature and role are checked before, by the group.

use automerge::Change;

use super::Shard;
use super::document::ShardFault;
use super::state::VisibleValue;
use crate::delta::encoded_change::EncodedChange;
use crate::delta::{Delta, OpRef};
use crate::id::{ChainId, ChangeId};

/// A change that may enter a shard.
#[derive(Clone, Debug)]
pub struct ValidatedChange {
    encoded: EncodedChange,
    /// The heads of its dependencies: these without those that are ancestors of others.
    dep_heads: Vec<ChangeId>,
}

impl ValidatedChange {
    /// The change, as we say it.
    pub fn delta(&self) -> &Delta {
        self.encoded.delta()
    }

    /// The delta's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.encoded.bytes()
    }

    /// Its hash.
    pub fn id(&self) -> ChangeId {
        self.encoded.id()
    }

    /// The change alone.
    pub(crate) fn into_encoded(self) -> EncodedChange {
        self.encoded
    }

    pub(super) fn dep_heads(&self) -> &[ChangeId] {
        &self.dep_heads
    }

    pub(super) fn into_parts(self) -> (Delta, Change) {
        self.encoded.into_parts()
    }
}

/// What the gate says of a change.
#[derive(Clone, Debug)]
pub enum Validation {
    /// It is here already.
    Known(ChangeId),
    /// It is valid. Whether its place in its chain is free is another question.
    Valid(Box<ValidatedChange>),
    /// It builds on changes that are not here.
    MissingDeps {
        /// The change.
        composed: Box<EncodedChange>,
        /// What it waits for.
        on: Vec<ChangeId>,
    },
    /// Nothing can be said of it: a defect isolated the shard. It is neither taken in nor refused.
    ShardFault(ShardFault),
    /// It can be part of no history.
    Rejected {
        /// Its hash.
        id: ChangeId,
        /// Why.
        fault: ChangeFault,
    },
}

/// Why a change was rejected. The fault is its author's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeFault {
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
pub(crate) enum ValidationError {
    Fault(ChangeFault),
    ShardFault(ShardFault),
}

impl From<ChangeFault> for ValidationError {
    fn from(fault: ChangeFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ShardFault> for ValidationError {
    fn from(fault: ShardFault) -> Self {
        Self::ShardFault(fault)
    }
}

/// Where a run of changes, each built on the one before, has got to. Such a run is what a reconnecting neighbour
/// brings; remembering what it changed spares one reading of the document per change.
#[derive(Clone, Debug)]
pub(super) struct ValidationCursor {
    /// The heads of the run so far.
    heads: Vec<ChangeId>,
    /// Where it left what the document had been given by then.
    base_heads: Vec<ChangeId>,
    /// What is visible of the keys that the run touched.
    ops_by_key: std::collections::BTreeMap<String, Vec<OpRef>>,
}

impl Shard {
    /// Examines a change of this shard.
    pub fn validate(&mut self, encoded: EncodedChange) -> Validation {
        let id = encoded.id();
        if self.graph.contains(&id) {
            return Validation::Known(id);
        }
        if let Some(shard_fault) = self.document.fault() {
            return Validation::ShardFault(shard_fault.clone());
        }
        let deps = &encoded.delta().deps;
        let missing_deps: Vec<_> = deps.iter().filter(|dep| !self.graph.contains(dep)).copied().collect();
        if !missing_deps.is_empty() {
            return Validation::MissingDeps { composed: Box::new(encoded), on: missing_deps };
        }
        match self.check_author_rules(encoded.delta()) {
            Ok(dep_heads) => Validation::Valid(Box::new(ValidatedChange { encoded, dep_heads })),
            Err(ValidationError::Fault(fault)) => Validation::Rejected { id, fault },
            Err(ValidationError::ShardFault(shard_fault)) => {
                self.document.isolate(shard_fault.clone());
                Validation::ShardFault(shard_fault)
            }
        }
    }

    fn check_author_rules(&mut self, delta: &Delta) -> Result<Vec<ChangeId>, ValidationError> {
        let previous = self.check_previous(delta)?;
        let dep_heads = self.check_deps(&delta.deps, previous)?;
        let max_op = delta.deps.iter().filter_map(|dep| self.graph.get(dep)).map(|dep| dep.max_op).max();
        if max_op.map(|max| max + 1) != Some(delta.start_op) {
            return Err(ChangeFault::StartOp.into());
        }
        self.start_cursor(&dep_heads);
        for put in &delta.puts {
            let visible = self.visible_ops(&dep_heads, &put.key)?;
            if visible != put.preds {
                return Err(ChangeFault::Preds.into());
            }
        }
        Ok(dep_heads)
    }

    /// The author's previous change, which must be among the dependencies, and the last of its chain below them.
    fn check_previous(&self, delta: &Delta) -> Result<Option<ChangeId>, ChangeFault> {
        let chain_id: ChainId = delta.chain_id(self.root.group());
        let chain = self.graph.chain(&chain_id);
        let previous =
            chain.and_then(|chain| self.graph.entry_in_chain(chain, delta.seq - 1)).map(|entry| entry.id);
        match previous {
            None if delta.seq > 1 => return Err(ChangeFault::Seq),
            Some(previous) if delta.deps.binary_search(&previous).is_err() => return Err(ChangeFault::Seq),
            _ => {}
        }
        // Where the chain goes on here, this is another branch of it, and must not build on this one too.
        let len = chain.map_or(0, super::chain::Chain::len);
        if delta.seq <= len
            && self.graph.seq_in_version(&self.graph.version_of(&delta.deps), &chain_id) >= delta.seq
        {
            return Err(ChangeFault::BothBranches);
        }
        Ok(previous)
    }

    /// True if the place of a change is the next one of its chain.
    pub(crate) fn is_next_in_chain(&self, delta: &Delta) -> bool {
        let chain = self.graph.chain(&delta.chain_id(self.root.group()));
        delta.seq == chain.map_or(0, super::chain::Chain::len) + 1
    }

    /// The dependencies without the author's previous change where that is an ancestor of another; an error if any
    /// other one is.
    fn check_deps(
        &self,
        deps: &[ChangeId],
        previous: Option<ChangeId>,
    ) -> Result<Vec<ChangeId>, ChangeFault> {
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
            let version_below = self.graph.version_below([dep]);
            for other in deps.iter().filter_map(|other| self.graph.get(other)) {
                let is_below =
                    other.id == self.root.id() || self.graph.version_contains(&version_below, other);
                if is_below && Some(other.id) != previous {
                    return Err(ChangeFault::Deps);
                }
                previous_is_below |= is_below;
            }
        }
        Ok(if previous_is_below { others } else { deps.to_vec() })
    }

    fn start_cursor(&mut self, dep_heads: &[ChangeId]) {
        let is_prepared = dep_heads == self.graph.heads()
            || self.cursor.as_ref().is_some_and(|cursor| cursor.heads == dep_heads);
        if !is_prepared {
            self.document.flush(&self.root);
            let (heads, base_heads) = (dep_heads.to_vec(), dep_heads.to_vec());
            self.cursor =
                Some(ValidationCursor { heads, base_heads, ops_by_key: std::collections::BTreeMap::new() });
        }
    }

    /// The puts of `key` visible at `frontier`, sorted. [`Shard::start_cursor`] has prepared for it.
    fn visible_ops(&self, dep_heads: &[ChangeId], key: &str) -> Result<Vec<OpRef>, ShardFault> {
        let ops = |visible: &[VisibleValue]| visible.iter().map(|value| value.op).collect();
        if dep_heads == self.graph.heads() {
            return Ok(ops(self.state.get(key)));
        }
        let read_ops = |heads: &[ChangeId]| Ok(ops(&self.document.visible_at(&self.root, key, heads)?));
        match self.cursor.as_ref().filter(|cursor| cursor.heads == dep_heads) {
            Some(cursor) => match cursor.ops_by_key.get(key) {
                Some(known_ops) => Ok(known_ops.clone()),
                None => read_ops(&cursor.base_heads),
            },
            None => read_ops(dep_heads),
        }
    }

    /// Moves the branch along, if this change continues it.
    pub(super) fn advance_cursor(&mut self, validated: &ValidatedChange, ops: &[(String, OpRef)]) {
        let Some(cursor) = self.cursor.as_mut().filter(|cursor| cursor.heads == validated.dep_heads()) else {
            return;
        };
        for (key, op) in ops {
            cursor.ops_by_key.insert(key.clone(), vec![*op]);
        }
        cursor.heads = vec![validated.id()];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::Put;
    use crate::id::{GroupId, Incarnation, RecordId};
    use crate::shard::document::Document;
    use crate::shard::root::{ShardName, ShardRoot};
    use crate::value::Value;

    /// A change of one key by the `n`-th author, on nothing but the root.
    fn first_change(root: &ShardRoot, n: u8) -> EncodedChange {
        let put = Put { key: "config/a keys.k".to_owned(), value: Value::Int(n.into()), preds: vec![] };
        let delta = Delta {
            shard_id: root.shard_id(),
            grant: RecordId([n; 32]),
            incarnation: Incarnation([n; 16]),
            seq: 1,
            deps: vec![root.id()],
            start_op: 258,
            time: 0,
            message: String::new(),
            puts: vec![put],
        };
        EncodedChange::new(root, delta).unwrap()
    }

    #[test]
    fn document_fault_isolates_the_shard_and_rejects_no_change() {
        let root = ShardRoot::derive(GroupId([1; 16]), ShardName::Desired);
        let mut shard = Shard::new(root.clone());
        let Validation::Valid(validated) = shard.validate(first_change(&root, 1)) else { panic!() };
        shard.apply_change(*validated);
        shard.flush();
        // What the document of another group says of this one's buckets is an error in Automerge.
        shard.document = Document::new(&ShardRoot::derive(GroupId([2; 16]), ShardName::Desired));
        for n in [2, 3] {
            let validation = shard.validate(first_change(&root, n));
            assert!(matches!(validation, Validation::ShardFault(_)), "{validation:?}");
        }
        assert!(shard.document().fault().is_some());
    }
}
