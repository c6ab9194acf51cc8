//! Changes from others, one by one; [`super::window`] takes them in bulk.
//!
//! Whoever brings a change, it is judged by what it is: its author's grant and role, its author's signature of the chain
//! up to it, and the gate. What is valid is let in if it counts, and else laid aside.

use std::collections::BTreeSet;

use super::orphans::Orphan;
use super::rejected::RejectedId;
use super::unaccepted::{self, UnacceptedChange};
use super::{Group, UnacceptedSet};
use crate::delta::encoded_change::EncodedChange;
use crate::delta::{Delta, DeltaError, SignedDelta};
use crate::id::{ChainId, ChangeId, NodeId, ShardId, Sig};
use crate::limit_stats::LimitStats;
use crate::limits;
use crate::shard::Shard;
use crate::shard::chain::{self, ChainHash, EndProof, first_chain_hash, next_chain_hash};
use crate::shard::root::{ShardName, ShardRoot};
use crate::shard::validate::{ChangeFault, ValidatedChange, Validation, ValidationError};
use crate::store::{JournalSubject, Row, Table, key};

/// A change that is new here and is kept.
#[derive(Clone, Debug)]
pub struct NewChange {
    /// The shard it belongs to.
    pub shard_id: ShardId,
    /// Its chain.
    pub chain_id: ChainId,
    /// Its place in it.
    pub seq: u64,
    /// Its hash.
    pub id: ChangeId,
    /// Its bytes, to be passed on.
    pub delta: Vec<u8>,
    /// The keys it puts; none if it is not part of the document.
    pub put_keys: Vec<String>,
    /// The author's signature at it, if it came by itself.
    pub signature: Option<Sig>,
    /// True if it was here already, aside.
    pub was_unaccepted: bool,
}

/// What came of changes that were offered.
#[derive(Clone, Debug, Default)]
pub struct IngestOutcome {
    /// What is new here and kept, each after everything it depends on.
    pub new_changes: Vec<NewChange>,
    /// What is to be made durable.
    pub rows: Vec<Row>,
    /// True if something waits for changes that are not here: the peer's positions should be asked for.
    pub has_gap: bool,
    /// Why something was refused; the peer that made or brought it is at fault.
    pub rejection: Option<String>,
    /// Chains of which a window brought changes and none could be taken.
    pub stuck_chains: Vec<ChainId>,
    /// Chains of which a window begins on a change that is not here, and after which place: what came is another branch,
    /// and more of it has to be asked for.
    pub diverged_chains: Vec<(ChainId, u64)>,
    /// How far the chains of a window reach of which all that came is here now.
    pub reached_seqs: Vec<(ChainId, u64)>,
    /// What was taken out of the document again.
    pub retracted: BTreeSet<ChangeId>,
    /// The bounds that were reached.
    pub limit_hits: LimitStats,
    /// What was laid aside just now.
    pub(super) newly_unaccepted: BTreeSet<ChangeId>,
    /// Chains of which something is here that was not.
    pub(super) advanced_chains: BTreeSet<ChainId>,
    /// Shards of which it is to be settled what counts.
    pub(super) shards_to_reaccept: BTreeSet<ShardId>,
    /// Chains whose end is proved by something else than before.
    pub(super) reproved_chains: BTreeSet<(ShardId, ChainId)>,
}

impl IngestOutcome {
    /// True if nothing came of it.
    pub fn has_no_progress(&self) -> bool {
        self.new_changes.is_empty() && self.advanced_chains.is_empty() && self.diverged_chains.is_empty()
    }
}

/// What the gate says of a change that builds on anything that is here.
pub(super) enum GroupValidation {
    Known,
    Isolated,
    /// It builds on what is not here, or on too much that is aside.
    Deferred(Box<EncodedChange>, Vec<ChangeId>),
    Rejected(ChangeId, ChangeFault),
    Valid(ValidChange),
}

/// A valid change, and where it stands.
pub(super) enum ValidChange {
    /// All below it is accepted, and it is the next of its chain.
    InSequence(Box<ValidatedChange>),
    /// Another branch, or built on one; so deep.
    OnBranch(Box<EncodedChange>, u32),
}

impl ValidChange {
    pub(super) fn delta(&self) -> &Delta {
        match self {
            Self::InSequence(validated) => validated.delta(),
            Self::OnBranch(encoded, _) => encoded.delta(),
        }
    }

    fn id(&self) -> ChangeId {
        match self {
            Self::InSequence(validated) => validated.id(),
            Self::OnBranch(encoded, _) => encoded.id(),
        }
    }
}

impl Group {
    /// Takes in a change that a neighbour pushed.
    pub fn ingest_push(&mut self, shard_id: ShardId, signed_delta: &SignedDelta) -> IngestOutcome {
        let mut outcome = IngestOutcome::default();
        let encoded = match self.decode_change(shard_id, &signed_delta.delta) {
            Ok(Some(encoded)) => encoded,
            Ok(None) => {
                outcome.has_gap = true;
                return outcome;
            }
            Err(error) => {
                outcome.rejection = Some(error.to_string());
                return outcome;
            }
        };
        self.ingest_change(encoded, signed_delta.signature, &mut outcome);
        self.finish_ingest(&mut outcome);
        outcome
    }

    /// Takes in a change with what proves it, as it was kept aside. False if it proves nothing, or builds on what is not
    /// here.
    pub(crate) fn ingest_with_proof(
        &mut self,
        shard_id: ShardId,
        delta: &[u8],
        end_proof: EndProof,
    ) -> Option<IngestOutcome> {
        let mut outcome = IngestOutcome::default();
        let encoded = self.decode_change(shard_id, delta).ok().flatten()?;
        let author = self.check_author(&encoded, &mut outcome)?;
        match self.validate_change(encoded) {
            GroupValidation::Known => {}
            GroupValidation::Valid(valid) => {
                let chain_hash = self
                    .chain_hash_of(&valid)
                    .filter(|chain_hash| self.is_proved(&author, &valid, chain_hash, &end_proof))?;
                self.insert_valid(valid, author, chain_hash, end_proof, &mut outcome);
            }
            GroupValidation::Deferred(..) | GroupValidation::Rejected(..) | GroupValidation::Isolated => {
                return None;
            }
        }
        self.finish_ingest(&mut outcome);
        Some(outcome)
    }

    /// `Ok(None)` where the shard is not known yet: the grant that makes it may be on its way.
    fn decode_change(
        &self,
        shard_id: ShardId,
        delta_bytes: &[u8],
    ) -> Result<Option<EncodedChange>, DeltaError> {
        let Some(root) = self.roots.get(&shard_id) else { return Ok(None) };
        EncodedChange::new(root, Delta::decode(delta_bytes)?).map(Some)
    }

    pub(super) fn ingest_change(
        &mut self,
        encoded: EncodedChange,
        signature: Sig,
        outcome: &mut IngestOutcome,
    ) {
        let mut queue = vec![(encoded, signature)];
        while let Some((encoded, signature)) = queue.pop() {
            let id = encoded.id();
            if self.rejected.contains(RejectedId::Change(id)) {
                continue;
            }
            let Some(author) = self.check_author(&encoded, outcome) else { continue };
            match self.validate_change(encoded) {
                GroupValidation::Known => {}
                // It is asked for again, and let in once the shard can be read.
                GroupValidation::Isolated => outcome.has_gap = true,
                GroupValidation::Deferred(encoded, missing_deps) => {
                    if missing_deps.iter().any(|dep| self.rejected.contains(RejectedId::Change(*dep))) {
                        self.reject(id, "it builds on a refused change".to_owned(), outcome);
                        continue;
                    }
                    outcome.has_gap = true;
                    if let Some(missing_dep) = missing_deps.first() {
                        let evicted_count = self.orphans.insert(Orphan { encoded, signature }, *missing_dep);
                        let limit_name = "bytes of changes that wait for others";
                        outcome.limit_hits.record_many(limit_name, limits::MAX_ORPHAN_BYTES, evicted_count);
                    }
                }
                GroupValidation::Rejected(id, fault) => self.reject(id, fault.to_string(), outcome),
                GroupValidation::Valid(valid) => {
                    let end_proof = EndProof { ids_ahead: Vec::new(), signature };
                    // A false signature says nothing of the change itself, which somebody else may bring with the
                    // right one: it must not be remembered as refused.
                    let chain_hash = self
                        .chain_hash_of(&valid)
                        .filter(|chain_hash| self.is_proved(&author, &valid, chain_hash, &end_proof));
                    let Some(chain_hash) = chain_hash else {
                        outcome.rejection = Some(format!("change {} has a false signature", id.short()));
                        continue;
                    };
                    self.insert_valid(valid, author, chain_hash, end_proof, outcome);
                    let released = self.orphans.take_waiting_for(&id);
                    queue.extend(released.into_iter().map(|orphan| (*orphan.encoded, orphan.signature)));
                }
            }
        }
    }

    /// The gate, for what builds on what is accepted or aside.
    pub(super) fn validate_change(&mut self, encoded: EncodedChange) -> GroupValidation {
        let (shard_id, id) = (encoded.delta().shard_id, encoded.id());
        let Some(root) = self.roots.get(&shard_id) else {
            return GroupValidation::Deferred(Box::new(encoded), Vec::new());
        };
        let shard = self.shards.entry(shard_id).or_insert_with(|| Shard::new(root.clone()));
        let unaccepted = self.unaccepted.entry(shard_id).or_default();
        if unaccepted.contains(&id) {
            return GroupValidation::Known;
        }
        if encoded.delta().deps.iter().any(|dep| unaccepted.contains(dep)) {
            return validate_on_branch(unaccepted, shard, encoded);
        }
        match shard.validate(encoded) {
            Validation::Known(_) => GroupValidation::Known,
            Validation::ShardFault(_) => GroupValidation::Isolated,
            Validation::MissingDeps { composed: encoded, on: missing_deps } => {
                GroupValidation::Deferred(encoded, missing_deps)
            }
            Validation::Rejected { id, fault } => GroupValidation::Rejected(id, fault),
            Validation::Valid(validated) if shard.is_next_in_chain(validated.delta()) => {
                GroupValidation::Valid(ValidChange::InSequence(validated))
            }
            Validation::Valid(validated) => {
                let depth = self.depth_above(&shard_id, &validated.delta().deps);
                GroupValidation::Valid(ValidChange::OnBranch(Box::new(validated.into_encoded()), depth))
            }
        }
    }

    /// Takes in a valid change whose signature was checked: into the document if it counts, else aside.
    pub(super) fn insert_valid(
        &mut self,
        valid: ValidChange,
        author: NodeId,
        chain_hash: ChainHash,
        end_proof: EndProof,
        outcome: &mut IngestOutcome,
    ) {
        let shard_id = valid.delta().shard_id;
        let chain_id = valid.delta().chain_id(self.id);
        outcome.advanced_chains.insert(chain_id);
        let (encoded, depth) = match valid {
            ValidChange::InSequence(validated) if self.is_anchor(&validated, &chain_id) => {
                if !self.can_skip_reacceptance(&validated, &chain_id) {
                    outcome.shards_to_reaccept.insert(shard_id);
                }
                let signature = end_proof.ids_ahead.is_empty().then_some(end_proof.signature);
                self.insert_accepted(*validated, signature, outcome);
                return self.set_end_proof(shard_id, chain_id, end_proof, outcome);
            }
            ValidChange::InSequence(validated) => {
                let depth = self.depth_above(&shard_id, &validated.delta().deps);
                (validated.into_encoded(), depth)
            }
            ValidChange::OnBranch(encoded, depth) => (*encoded, depth),
        };
        outcome.shards_to_reaccept.insert(shard_id);
        self.insert_unaccepted(
            shard_id,
            UnacceptedChange {
                encoded,
                chain_id,
                author,
                chain_hash,
                end_proof,
                depth,
                is_replicated: false,
            },
            outcome,
        );
    }

    /// The key behind a change, if its role may write to this shard. `None` if the change is refused or has to wait.
    pub(super) fn check_author(
        &mut self,
        encoded: &EncodedChange,
        outcome: &mut IngestOutcome,
    ) -> Option<NodeId> {
        let delta = encoded.delta();
        // Whether the grant counts decides what becomes of a change, not whether it is one.
        let Some((key, role)) = self.records.holder_and_role(&delta.grant) else {
            outcome.has_gap = true;
            return None;
        };
        let shard = self.roots.get(&delta.shard_id).map(ShardRoot::name);
        if shard.is_some_and(|shard| self.is_shard_forgotten(shard)) {
            return None;
        }
        let has_right = match shard {
            Some(ShardName::Desired) => role.can_write_desired(),
            Some(ShardName::Observed(grant)) => grant == delta.grant && role.can_write_observed(),
            None => false,
        };
        if has_right {
            return Some(key);
        }
        self.reject(encoded.id(), format!("its author is {role}, who may not write there"), outcome);
        None
    }

    pub(super) fn reject(&mut self, id: ChangeId, reason: String, outcome: &mut IngestOutcome) {
        outcome.rejection = Some(format!("change {}: {reason}", id.short()));
        self.rejected.record(RejectedId::Change(id), reason);
    }

    fn is_proved(
        &self,
        author: &NodeId,
        valid: &ValidChange,
        chain_hash: &ChainHash,
        end_proof: &EndProof,
    ) -> bool {
        let delta = valid.delta();
        chain::is_chain_proved(author, (self.id, delta.shard_id), delta.seq, chain_hash, end_proof)
    }

    pub(super) fn chain_hash_of(&self, valid: &ValidChange) -> Option<ChainHash> {
        self.chain_hash_after(valid.delta(), valid.id())
    }

    /// The link of a chain at a change whose author's change before it is here.
    pub(super) fn chain_hash_after(&self, delta: &Delta, id: ChangeId) -> Option<ChainHash> {
        let chain_id = delta.chain_id(self.id);
        let previous_hash = match delta.seq.checked_sub(1)? {
            0 => first_chain_hash(self.id, delta.shard_id, chain_id),
            seq => {
                delta.deps.iter().find_map(|dep| self.chain_hash_at(&delta.shard_id, &chain_id, seq, dep))?
            }
        };
        Some(next_chain_hash(&previous_hash, id))
    }

    /// The link of a chain at `seq`, on the branch that has `id` there.
    pub(super) fn chain_hash_at(
        &self,
        shard_id: &ShardId,
        chain_id: &ChainId,
        seq: u64,
        id: &ChangeId,
    ) -> Option<ChainHash> {
        if let Some(change) = self.unaccepted.get(shard_id).and_then(|unaccepted| unaccepted.get(id)) {
            return (change.chain_id == *chain_id && change.delta().seq == seq).then_some(change.chain_hash);
        }
        let graph = self.shards.get(shard_id)?.graph();
        let chain = graph.chain(chain_id)?;
        graph.entry_in_chain(chain, seq).filter(|entry| entry.id == *id)?;
        if seq == chain.len() {
            return Some(*chain.hash());
        }
        let ids = (1..=seq).filter_map(|seq| Some(graph.entry_in_chain(chain, seq)?.id));
        Some(ids.fold(first_chain_hash(self.id, *shard_id, *chain_id), |chain_hash, id| {
            next_chain_hash(&chain_hash, id)
        }))
    }

    /// How deep a change stands that builds on these.
    pub(super) fn depth_above(&self, shard_id: &ShardId, deps: &[ChangeId]) -> u32 {
        let graph = self.shards.get(shard_id).map(Shard::graph);
        let unaccepted = self.unaccepted.get(shard_id);
        let depth_of_dep = |dep: &ChangeId| {
            let accepted_depth = graph.and_then(|graph| graph.get(dep)).map(|entry| entry.depth);
            accepted_depth.or_else(|| unaccepted?.get(dep).map(|change| change.depth))
        };
        deps.iter().filter_map(depth_of_dep).max().unwrap_or(0).saturating_add(1)
    }

    /// The shard of an epoch, begun if need be.
    pub(crate) fn ensure_shard(&mut self, shard_id: ShardId) -> Option<&mut Shard> {
        let root = self.roots.get(&shard_id)?;
        Some(self.shards.entry(shard_id).or_insert_with(|| Shard::new(root.clone())))
    }

    pub(super) fn insert_accepted(
        &mut self,
        validated: ValidatedChange,
        signature: Option<Sig>,
        outcome: &mut IngestOutcome,
    ) {
        let delta = validated.delta();
        let (shard_id, chain_id, seq, id) =
            (delta.shard_id, delta.chain_id(self.id), delta.seq, validated.id());
        let keys = delta.puts.iter().map(|put| put.key.clone()).collect();
        let delta_bytes = validated.bytes().to_vec();
        outcome.rows.push(Row::put(
            Table::Changes,
            key::change(self.id, shard_id, chain_id, seq, id),
            delta_bytes.clone(),
        ));
        outcome.rows.push(self.journal.append(self.id, JournalSubject::Change { shard_id, id }, true));
        outcome.new_changes.push(NewChange {
            shard_id,
            chain_id,
            seq,
            id,
            delta: delta_bytes,
            put_keys: keys,
            signature,
            was_unaccepted: false,
        });
        *self.unsaved_counts.entry(shard_id).or_default() += 1;
        if let Some(shard) = self.ensure_shard(shard_id) {
            shard.apply_change(validated);
        }
    }

    /// Notes what proves the end of a chain. A signature at a 64th change is kept for ever.
    pub(super) fn set_end_proof(
        &mut self,
        shard_id: ShardId,
        chain_id: ChainId,
        end_proof: EndProof,
        outcome: &mut IngestOutcome,
    ) {
        let group = self.id;
        let Some(chain) = self.shards.get_mut(&shard_id).and_then(|shard| shard.chain_mut(&chain_id)) else {
            return;
        };
        let seq = chain.len();
        if end_proof.ids_ahead.is_empty() && seq.is_multiple_of(limits::CHECKPOINT_INTERVAL) {
            let row = Row::put(
                Table::Checkpoints,
                key::chain_from_seq(group, shard_id, chain_id, seq),
                end_proof.signature.0.to_vec(),
            );
            outcome.rows.push(row);
        }
        outcome.reproved_chains.insert((shard_id, chain_id));
        chain.set_end_proof(end_proof);
    }

    /// Settles what is not settled, and writes down what follows.
    pub(super) fn finish_ingest(&mut self, outcome: &mut IngestOutcome) {
        self.reaccept_shards(outcome);
        self.journal_records(&mut outcome.rows);
    }

    /// Settles what is not settled, and writes down what proves the ends of chains that moved: once, however far.
    pub(super) fn reaccept_shards(&mut self, outcome: &mut IngestOutcome) {
        for shard_id in std::mem::take(&mut outcome.shards_to_reaccept) {
            self.reaccept(shard_id, outcome);
        }
        for (shard_id, chain_id) in std::mem::take(&mut outcome.reproved_chains) {
            let chain = self.shards.get(&shard_id).and_then(|shard| shard.graph().chain(&chain_id));
            let row_key = key::for_chain(self.id, shard_id, chain_id);
            outcome.rows.push(match chain.and_then(|chain| Some((chain.len(), chain.end_proof()?))) {
                Some(proof) => Row::put_encoded(Table::EndProofs, row_key, &proof),
                None => Row::remove(Table::EndProofs, row_key),
            });
        }
    }
}

/// The gate for what builds on something that is aside.
fn validate_on_branch(
    unaccepted: &UnacceptedSet,
    shard: &mut Shard,
    encoded: EncodedChange,
) -> GroupValidation {
    if shard.document().fault().is_some() {
        return GroupValidation::Isolated;
    }
    let is_here = |dep: &&ChangeId| shard.graph().contains(dep) || unaccepted.contains(dep);
    let missing_deps: Vec<ChangeId> =
        encoded.delta().deps.iter().filter(|dep| !is_here(dep)).copied().collect();
    if !missing_deps.is_empty() {
        return GroupValidation::Deferred(Box::new(encoded), missing_deps);
    }
    match unaccepted::validate(unaccepted, shard, encoded.delta()) {
        Ok(Some(depth)) => GroupValidation::Valid(ValidChange::OnBranch(Box::new(encoded), depth)),
        Ok(None) => GroupValidation::Deferred(Box::new(encoded), Vec::new()),
        Err(ValidationError::Fault(fault)) => GroupValidation::Rejected(encoded.id(), fault),
        Err(ValidationError::ShardFault(shard_fault)) => {
            shard.isolate(&shard_fault.description);
            GroupValidation::Isolated
        }
    }
}
