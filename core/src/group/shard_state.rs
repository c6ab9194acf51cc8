//! One shard of a group: its accepted changes, the valid changes that are not accepted, and what follows from
//! both.

use std::collections::BTreeSet;

use super::branch_history::BranchHistory;
use super::unaccepted::UnacceptedSet;
use crate::acceptance::{Candidate, CandidateSet, Fork};
use crate::delta::Delta;
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChainId, ChangeId, Digest, GroupId, NodeId, ShardId};
use crate::limits;
use crate::record::RecordSet;
use crate::shard::chain::{Chain, ChainHash, first_chain_hash, next_chain_hash};
use crate::shard::graph::Graph;
use crate::shard::root::ShardRoot;
use crate::shard::validate::{ChangeFault, ValidatedChange, Validation, ValidationError, check_author_rules};
use crate::shard::{Shard, digest_of_heads};
use crate::store::{Row, SnapshotBody, SnapshotRow, Table, key};

/// One shard with everything that this node knows of it.
#[derive(Clone, Debug)]
pub struct ShardState {
    /// The accepted changes.
    pub(super) shard: Shard,
    /// The valid changes that are not accepted.
    pub(super) unaccepted: UnacceptedSet,
    /// The forks among the replicated changes, in the order in which acceptance decided them.
    pub(super) forks: Vec<Fork>,
    /// The number of changes that no snapshot holds yet.
    pub(super) unsaved_count: usize,
}

/// The result of validating a change against everything that is here.
pub(super) enum GroupValidation {
    Known,
    /// A defect isolated the shard, so the change cannot be judged.
    Isolated,
    /// The change depends on these changes, which are not here, or on too many unaccepted ones.
    Deferred(Box<EncodedChange>, Vec<ChangeId>),
    Rejected(ChangeId, ChangeFault),
    Valid(ValidChange),
}

/// A valid change, and whether the shard could take it as it is.
pub(super) enum ValidChange {
    /// All its dependencies are accepted, and it is the next change of its chain.
    InSequence(Box<ValidatedChange>),
    /// It is on another branch of its chain or depends on an unaccepted change. The number is its depth.
    OnBranch(Box<EncodedChange>, u32),
}

impl ValidChange {
    pub(super) fn delta(&self) -> &Delta {
        match self {
            Self::InSequence(validated) => validated.delta(),
            Self::OnBranch(encoded, _) => encoded.delta(),
        }
    }

    pub(super) fn id(&self) -> ChangeId {
        match self {
            Self::InSequence(validated) => validated.id(),
            Self::OnBranch(encoded, _) => encoded.id(),
        }
    }

    /// The change without the proof that it is valid, and its depth.
    pub(super) fn into_encoded(self) -> (EncodedChange, u32) {
        match self {
            Self::InSequence(validated) => {
                let depth = validated.depth();
                (validated.into_encoded(), depth)
            }
            Self::OnBranch(encoded, depth) => (*encoded, depth),
        }
    }
}

impl ShardState {
    /// The state of a shard that holds no change.
    pub(super) fn new(root: ShardRoot) -> Self {
        Self::from_shard(Shard::new(root), 0)
    }

    pub(super) fn from_shard(shard: Shard, unsaved_count: usize) -> Self {
        Self { shard, unaccepted: UnacceptedSet::default(), forks: Vec::new(), unsaved_count }
    }

    /// The shard's id.
    pub fn shard_id(&self) -> ShardId {
        self.shard.root().shard_id()
    }

    fn group(&self) -> GroupId {
        self.shard.root().group()
    }

    /// The accepted changes.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// The valid changes that are not accepted.
    pub fn unaccepted(&self) -> &UnacceptedSet {
        &self.unaccepted
    }

    /// The forks among the replicated changes, in the order in which acceptance decided them.
    pub fn forks(&self) -> &[Fork] {
        &self.forks
    }

    /// True if a change is here, accepted or not.
    pub fn contains(&self, id: &ChangeId) -> bool {
        self.shard.graph().contains(id) || self.unaccepted.contains(id)
    }

    /// The key that wrote a change.
    pub(super) fn author_of(&self, id: &ChangeId, records: &RecordSet) -> Option<NodeId> {
        let graph = self.shard.graph();
        let accepted = graph.get(id).and_then(|entry| graph.chain_of(entry));
        let holder = accepted.and_then(|chain| records.holder_and_role(&chain.grant)).map(|(key, _)| key);
        holder.or_else(|| Some(self.unaccepted.get(id)?.author))
    }

    /// The number of accepted changes in one chain.
    pub(super) fn accepted_len(&self, chain_id: &ChainId) -> u64 {
        self.shard.graph().chain(chain_id).map_or(0, Chain::len)
    }

    /// All valid changes, as acceptance looks at them.
    pub(super) fn candidates(&self, records: &RecordSet) -> CandidateSet {
        let mut candidates = accepted_candidates(&self.shard, records);
        self.unaccepted.iter().for_each(|change| candidates.insert(change.id(), change.to_candidate()));
        candidates
    }

    /// The digest of the replicated changes; `None` if there are none.
    pub(super) fn digest(&self) -> Option<Digest> {
        let mut heads: BTreeSet<ChangeId> = self.shard.graph().heads().into_iter().collect();
        for change in self.unaccepted.replicated() {
            for dep in &change.delta().deps {
                heads.remove(dep);
            }
            heads.insert(change.id());
        }
        let is_empty = heads.iter().eq([&self.shard.root().id()]);
        (!is_empty).then(|| digest_of_heads(&heads))
    }

    /// Validates a change that depends on accepted or unaccepted changes.
    pub(super) fn validate(&mut self, encoded: EncodedChange) -> GroupValidation {
        if self.unaccepted.contains(&encoded.id()) {
            return GroupValidation::Known;
        }
        if encoded.delta().deps.iter().any(|dep| self.unaccepted.contains(dep)) {
            return self.validate_on_branch(encoded);
        }
        match self.shard.validate(encoded) {
            Validation::Known(_) => GroupValidation::Known,
            Validation::ShardFault(_) => GroupValidation::Isolated,
            Validation::MissingDeps { encoded, missing } => GroupValidation::Deferred(encoded, missing),
            Validation::Rejected { id, fault } => GroupValidation::Rejected(id, fault),
            Validation::Valid(validated) if self.shard.is_next_in_chain(validated.delta()) => {
                GroupValidation::Valid(ValidChange::InSequence(validated))
            }
            Validation::Valid(validated) => {
                let depth = validated.depth();
                GroupValidation::Valid(ValidChange::OnBranch(Box::new(validated.into_encoded()), depth))
            }
        }
    }

    /// Validates a change that depends on an unaccepted one.
    fn validate_on_branch(&mut self, encoded: EncodedChange) -> GroupValidation {
        if self.shard.document().fault().is_some() {
            return GroupValidation::Isolated;
        }
        let delta = encoded.delta();
        let missing: Vec<ChangeId> = delta.deps.iter().filter(|dep| !self.contains(dep)).copied().collect();
        if !missing.is_empty() {
            return GroupValidation::Deferred(Box::new(encoded), missing);
        }
        self.shard.flush();
        let Some(mut history) = BranchHistory::new(&self.unaccepted, &self.shard, &delta.deps) else {
            return GroupValidation::Deferred(Box::new(encoded), Vec::new());
        };
        match check_author_rules(&mut history, delta, delta.chain_id(self.group())) {
            Ok(checked) => GroupValidation::Valid(ValidChange::OnBranch(Box::new(encoded), checked.depth)),
            Err(ValidationError::Fault(fault)) => GroupValidation::Rejected(encoded.id(), fault),
            Err(ValidationError::ShardFault(shard_fault)) => {
                self.shard.isolate(&shard_fault.description);
                GroupValidation::Isolated
            }
        }
    }

    /// The chain hash after a change whose predecessor in its chain is here.
    pub(super) fn chain_hash_after(&self, delta: &Delta, id: ChangeId) -> Option<ChainHash> {
        let chain_id = delta.chain_id(self.group());
        let previous_hash = match delta.seq.checked_sub(1)? {
            0 => first_chain_hash(self.group(), self.shard_id(), chain_id),
            seq => delta.deps.iter().find_map(|dep| self.chain_hash_at(&chain_id, seq, dep))?,
        };
        Some(next_chain_hash(&previous_hash, id))
    }

    /// The chain hash at `seq`, on the branch that has the change `id` there.
    pub(super) fn chain_hash_at(&self, chain_id: &ChainId, seq: u64, id: &ChangeId) -> Option<ChainHash> {
        if let Some(change) = self.unaccepted.get(id) {
            return (change.chain_id == *chain_id && change.delta().seq == seq).then_some(change.chain_hash);
        }
        let graph = self.shard.graph();
        let chain = graph.chain(chain_id)?;
        graph.entry_in_chain(chain, seq).filter(|entry| entry.id == *id)?;
        if seq == chain.len() {
            return Some(*chain.hash());
        }
        let first = first_chain_hash(self.group(), self.shard_id(), *chain_id);
        let ids = (1..=seq).filter_map(|seq| Some(graph.entry_in_chain(chain, seq)?.id));
        Some(ids.fold(first, |chain_hash, id| next_chain_hash(&chain_hash, id)))
    }

    /// The depth of a change with these dependencies.
    pub(super) fn depth_above(&self, deps: &[ChangeId]) -> u32 {
        let depth_of_dep = |dep: &ChangeId| match self.shard.graph().get(dep) {
            Some(entry) => Some(entry.depth),
            None => self.unaccepted.get(dep).map(|change| change.depth),
        };
        deps.iter().filter_map(depth_of_dep).max().unwrap_or(0).saturating_add(1)
    }

    /// The rows of a snapshot, if enough changes came since the last one and the document can be saved.
    pub(super) fn take_due_snapshot(&mut self) -> Vec<Row> {
        let due_count = limits::SNAPSHOT_AFTER_CHANGES.max(self.shard.graph().len() / 4);
        if self.unsaved_count < due_count {
            return Vec::new();
        }
        self.shard.flush();
        if self.shard.document().fault().is_some() || self.shard.document().is_rebuilding() {
            return Vec::new();
        }
        self.shard.build_resource_index();
        self.unsaved_count = 0;
        let (graph, row_key) = (self.shard.graph(), key::for_shard(self.group(), self.shard_id()));
        let snapshot = SnapshotRow::seal(&snapshot_body(graph, self.shard.document().save()));
        let mut rows = vec![Row::put_encoded(Table::Snapshots, row_key.clone(), &snapshot)];
        if let Some(resource_index) = self.shard.resource_index() {
            rows.push(Row::put_encoded(Table::ResourceIndexes, row_key, &resource_index.to_row(graph)));
        }
        rows
    }
}

fn snapshot_body(graph: &Graph, document: Vec<u8>) -> SnapshotBody {
    let chains = graph.chains().map(|chain| (chain.grant, chain.incarnation, chain.len())).collect();
    SnapshotBody { chains, heads: graph.heads(), document }
}

/// The accepted changes of a shard, as acceptance looks at them.
pub fn accepted_candidates(shard: &Shard, records: &RecordSet) -> CandidateSet {
    let graph = shard.graph();
    let mut candidates = CandidateSet::new();
    for entry in graph.iter() {
        let Some(chain) = graph.chain_of(entry) else { continue };
        let Some((author, _)) = records.holder_and_role(&chain.grant) else { continue };
        let deps = graph.deps(entry).map(|dep| dep.id).collect();
        let candidate = Candidate { chain_id: chain.id, seq: entry.seq, grant: chain.grant, author, deps };
        candidates.insert(entry.id, candidate);
    }
    candidates
}
