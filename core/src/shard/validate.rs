//! Validation: can this change be part of any history?
//!
//! The answer depends only on the change and its ancestors, so every node answers alike, whatever else it
//! holds. Local changes are validated too, before they are signed. A change that passes becomes a
//! [`ValidatedChange`]: nothing else can make one, and nothing enters a shard without one.
//!
//! The *author's rule*: the dependencies are all heads that the author saw, and its own previous change.
//! Except for that one, none is an ancestor of another. The counter of the first operation follows the
//! highest one below. Each put names exactly the values that are visible at the dependencies. The group
//! checks signature and role before.
//!
//! There is one validator, `check_author_rules`, for two kinds of `History`: a shard, whose changes are
//! all accepted, and a branch of unaccepted changes on top of one.

use std::collections::BTreeMap;

use automerge::Change;

use super::Shard;
use super::chain::Chain;
use super::document::ShardFault;
use super::state::VisibleValue;
use crate::delta::encoded_change::EncodedChange;
use crate::delta::{Delta, OpRef};
use crate::id::{ChainId, ChangeId};

/// A valid change, all of whose dependencies are in the shard.
#[derive(Clone, Debug)]
pub struct ValidatedChange {
    encoded: EncodedChange,
    checked: CheckedDeps,
}

impl ValidatedChange {
    /// The change as a delta.
    pub fn delta(&self) -> &Delta {
        self.encoded.delta()
    }

    /// The delta's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.encoded.bytes()
    }

    /// The change's hash.
    pub fn id(&self) -> ChangeId {
        self.encoded.id()
    }

    /// The length of the longest path from the change to the root.
    pub(crate) fn depth(&self) -> u32 {
        self.checked.depth
    }

    /// The change without the proof that it is valid.
    pub(crate) fn into_encoded(self) -> EncodedChange {
        self.encoded
    }

    pub(super) fn dep_heads(&self) -> &[ChangeId] {
        &self.checked.dep_heads
    }

    pub(super) fn into_parts(self) -> (Delta, Change) {
        self.encoded.into_parts()
    }
}

/// The result of validating a change against a shard.
#[derive(Clone, Debug)]
pub enum Validation {
    /// The shard holds the change already.
    Known(ChangeId),
    /// The change is valid. Its position in its chain may be taken.
    Valid(Box<ValidatedChange>),
    /// The change depends on changes that are not in the shard.
    MissingDeps {
        /// The change.
        encoded: Box<EncodedChange>,
        /// The dependencies that are not in the shard.
        missing: Vec<ChangeId>,
    },
    /// A defect isolated the shard, so the change can be neither accepted nor rejected.
    ShardFault(ShardFault),
    /// The change can be part of no history.
    Rejected {
        /// The change's hash.
        id: ChangeId,
        /// The rule that the change breaks.
        fault: ChangeFault,
    },
}

/// The rule that a rejected change breaks. Its author is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeFault {
    /// A dependency is an ancestor of another one.
    #[error("its dependencies are not the heads that its author saw")]
    Deps,
    /// The author's previous change is not among the dependencies.
    #[error("it does not follow its author's previous change")]
    Seq,
    /// The operation counter does not follow from the dependencies.
    #[error("its operation counter does not follow from what it builds on")]
    StartOp,
    /// A put does not replace exactly the values that its author saw.
    #[error("it does not replace exactly the values that its author saw")]
    Preds,
    /// Two ancestors, or the change and an ancestor, have one position of one chain.
    #[error("it builds on both branches of a fork")]
    BothBranches,
}

/// Why a change did not pass: it breaks a rule, or a defect here keeps it from being judged.
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

/// The ancestors of a change, as the validator reads them. All dependencies of the change are in the history.
pub(crate) trait History {
    /// The facts about a change of the history.
    fn entry(&self, id: &ChangeId) -> Option<HistoryEntry>;

    /// True if two of the dependencies and their ancestors have one position of a chain, or one of them has
    /// `position`.
    fn has_both_branches(&self, deps: &[ChangeId], position: (ChainId, u64)) -> bool;

    /// The test whether a change is an ancestor of `upper`.
    fn ancestor_test(&self, upper: &ChangeId) -> impl Fn(&ChangeId) -> bool;

    /// True if these are known to be all heads of the history: then none is an ancestor of another.
    fn are_all_heads(&self, ids: &[ChangeId]) -> bool;

    /// The operations whose values are visible at `dep_heads`, for each key, sorted.
    fn visible_ops(&mut self, dep_heads: &[ChangeId], keys: &[&str]) -> Result<Vec<Vec<OpRef>>, ShardFault>;
}

/// What the validator has to know of a dependency.
pub(crate) struct HistoryEntry {
    /// The chain and sequence number; `None` for the root.
    pub(crate) position: Option<(ChainId, u64)>,
    /// The counter of the last operation.
    pub(crate) max_op: u64,
    /// The length of the longest path to the root.
    pub(crate) depth: u32,
}

/// What follows from the dependencies of a valid change.
#[derive(Clone, Debug)]
pub(crate) struct CheckedDeps {
    /// The dependencies that are no ancestors of others.
    pub(crate) dep_heads: Vec<ChangeId>,
    /// The length of the longest path from the change to the root.
    pub(crate) depth: u32,
}

/// Checks the author's rule for a change of the chain `chain_id`. All its dependencies are in `history`.
pub(crate) fn check_author_rules<H: History>(
    history: &mut H,
    delta: &Delta,
    chain_id: ChainId,
) -> Result<CheckedDeps, ValidationError> {
    let entries: Vec<(ChangeId, HistoryEntry)> =
        delta.deps.iter().filter_map(|dep| Some((*dep, history.entry(dep)?))).collect();
    let previous_position = Some((chain_id, delta.seq - 1));
    let previous = entries.iter().find(|(_, entry)| entry.position == previous_position).map(|(id, _)| *id);
    if delta.seq > 1 && previous.is_none() {
        return Err(ChangeFault::Seq.into());
    }
    if history.has_both_branches(&delta.deps, (chain_id, delta.seq)) {
        return Err(ChangeFault::BothBranches.into());
    }
    let dep_heads = check_deps(history, &delta.deps, previous)?;
    let max_op = entries.iter().map(|(_, entry)| entry.max_op).max();
    if max_op.map(|max| max + 1) != Some(delta.start_op) {
        return Err(ChangeFault::StartOp.into());
    }
    let keys: Vec<&str> = delta.puts.iter().map(|put| put.key.as_str()).collect();
    let visible = history.visible_ops(&dep_heads, &keys)?;
    if !visible.iter().eq(delta.puts.iter().map(|put| &put.preds)) {
        return Err(ChangeFault::Preds.into());
    }
    let depth = entries.iter().map(|(_, entry)| entry.depth).max().unwrap_or(0).saturating_add(1);
    Ok(CheckedDeps { dep_heads, depth })
}

/// The dependencies without `previous`, the author's previous change, where that is an ancestor of another
/// one. Any other dependency that is an ancestor of another one is a fault.
fn check_deps<H: History>(
    history: &H,
    deps: &[ChangeId],
    previous: Option<ChangeId>,
) -> Result<Vec<ChangeId>, ChangeFault> {
    if deps.len() == 1 || history.are_all_heads(deps) {
        return Ok(deps.to_vec());
    }
    let others: Vec<ChangeId> = deps.iter().filter(|dep| Some(**dep) != previous).copied().collect();
    if history.are_all_heads(&others) {
        return Ok(others);
    }
    let mut previous_is_below = false;
    for upper in deps {
        let is_below = history.ancestor_test(upper);
        for lower in deps.iter().filter(|lower| *lower != upper && is_below(lower)) {
            if Some(*lower) != previous {
                return Err(ChangeFault::Deps);
            }
            previous_is_below = true;
        }
    }
    Ok(if previous_is_below { others } else { deps.to_vec() })
}

/// The end of a run of changes, each built on the one before, as a reconnecting peer sends them. The cursor
/// remembers what the run changed, so that the document is not read again for each change.
#[derive(Clone, Debug)]
pub(super) struct ValidationCursor {
    /// The heads of the run so far.
    heads: Vec<ChangeId>,
    /// The heads at which the run left the flushed document.
    base_heads: Vec<ChangeId>,
    /// The visible operations of the keys that the run put.
    ops_by_key: BTreeMap<String, Vec<OpRef>>,
}

impl History for Shard {
    fn entry(&self, id: &ChangeId) -> Option<HistoryEntry> {
        let entry = self.graph.get(id)?;
        let position = self.graph.chain_of(entry).map(|chain| (chain.id, entry.seq));
        Some(HistoryEntry { position, max_op: entry.max_op, depth: entry.depth })
    }

    fn has_both_branches(&self, deps: &[ChangeId], (chain_id, seq): (ChainId, u64)) -> bool {
        // The shard holds one branch of each chain, so only the position of the change itself can be taken
        // twice.
        seq <= self.graph.chain(&chain_id).map_or(0, Chain::len)
            && self.graph.seq_in_version(&self.graph.version_of(deps), &chain_id) >= seq
    }

    fn ancestor_test(&self, upper: &ChangeId) -> impl Fn(&ChangeId) -> bool {
        let below = self.graph.version_below([upper]);
        move |lower| self.graph.get(lower).is_some_and(|entry| self.graph.version_contains(&below, entry))
    }

    fn are_all_heads(&self, ids: &[ChangeId]) -> bool {
        self.graph.heads() == ids
    }

    fn visible_ops(&mut self, dep_heads: &[ChangeId], keys: &[&str]) -> Result<Vec<Vec<OpRef>>, ShardFault> {
        let ops = |visible: &[VisibleValue]| visible.iter().map(|value| value.op).collect();
        if self.are_all_heads(dep_heads) {
            return Ok(keys.iter().map(|key| ops(self.state.get(key))).collect());
        }
        let cursor = match self.cursor.take().filter(|cursor| cursor.heads == dep_heads) {
            Some(cursor) => cursor,
            None => {
                self.document.flush(&self.root);
                let (heads, base_heads) = (dep_heads.to_vec(), dep_heads.to_vec());
                ValidationCursor { heads, base_heads, ops_by_key: BTreeMap::new() }
            }
        };
        let cursor = self.cursor.insert(cursor);
        let read_ops = |key: &&str| match cursor.ops_by_key.get(*key) {
            Some(known_ops) => Ok(known_ops.clone()),
            None => Ok(ops(&self.document.visible_at(&self.root, key, &cursor.base_heads)?)),
        };
        keys.iter().map(read_ops).collect()
    }
}

impl Shard {
    /// Validates a change of this shard.
    pub fn validate(&mut self, encoded: EncodedChange) -> Validation {
        let id = encoded.id();
        if self.graph.contains(&id) {
            return Validation::Known(id);
        }
        if let Some(shard_fault) = self.document.fault() {
            return Validation::ShardFault(shard_fault.clone());
        }
        let deps = &encoded.delta().deps;
        let missing: Vec<_> = deps.iter().filter(|dep| !self.graph.contains(dep)).copied().collect();
        if !missing.is_empty() {
            return Validation::MissingDeps { encoded: Box::new(encoded), missing };
        }
        let chain_id = encoded.delta().chain_id(self.root.group());
        match check_author_rules(self, encoded.delta(), chain_id) {
            Ok(checked) => Validation::Valid(Box::new(ValidatedChange { encoded, checked })),
            Err(ValidationError::Fault(fault)) => Validation::Rejected { id, fault },
            Err(ValidationError::ShardFault(shard_fault)) => {
                self.document.isolate(shard_fault.clone());
                Validation::ShardFault(shard_fault)
            }
        }
    }

    /// True if a change has the next free position of its chain.
    pub(crate) fn is_next_in_chain(&self, delta: &Delta) -> bool {
        let chain = self.graph.chain(&delta.chain_id(self.root.group()));
        delta.seq == chain.map_or(0, Chain::len) + 1
    }

    /// Moves the cursor to a change that continues its run.
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
        // Automerge returns an error when a document of another group is asked for this group's buckets.
        shard.document = Document::new(&ShardRoot::derive(GroupId([2; 16]), ShardName::Desired));
        for n in [2, 3] {
            let validation = shard.validate(first_change(&root, n));
            assert!(matches!(validation, Validation::ShardFault(_)), "{validation:?}");
        }
        assert!(shard.document().fault().is_some());
    }
}
