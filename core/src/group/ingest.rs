//! Taking in changes from other nodes, one at a time; [`super::ingest_batch`] takes in many at once.
//!
//! A change is judged by what it is, whoever sent it: by its author's grant and role, by its author's
//! signature of the chain up to it, and by validation. A valid change becomes accepted if it counts, else
//! unaccepted.

use std::collections::BTreeSet;

use super::Group;
use super::fast_path;
use super::ingest_fault::{IngestFault, RejectedChangeFault};
use super::ingest_outcome::{IngestOutcome, NewChange};
use super::journal::Journal;
use super::membership_records::MembershipRecords;
use super::orphans::{Orphan, Orphans};
use super::rejected::{RejectedCache, RejectedId};
use super::shard_state::{GroupValidation, ValidChange};
use super::shard_states::ShardStates;
use super::unaccepted::UnacceptedChange;
use crate::delta::encoded_change::EncodedChange;
use crate::delta::{Delta, DeltaError, SignedDelta};
use crate::id::{ChainId, ChangeId, GroupId, HistoryEntryId, NodeId, ShardId, Sig};
use crate::limits;
use crate::shard::chain::{self, ChainHash, EndProof};
use crate::shard::root::{ShardName, ShardRoot};
use crate::shard::validate::ValidatedChange;
use crate::store::{Row, Table, key};

/// One pass in which a group takes in changes: the parts of the group that it changes, and what it has done
/// so far.
pub(super) struct IngestPass<'a> {
    pub(super) id: GroupId,
    pub(super) membership: &'a mut MembershipRecords,
    pub(super) shards: &'a mut ShardStates,
    pub(super) orphans: &'a mut Orphans,
    pub(super) rejected: &'a mut RejectedCache,
    pub(super) journal: &'a mut Journal,
    pub(super) outcome: IngestOutcome,
    /// The changes that became unaccepted in this pass.
    pub(super) newly_unaccepted: BTreeSet<ChangeId>,
    /// The shards whose acceptance has to be computed again.
    pub(super) shards_to_reaccept: BTreeSet<ShardId>,
    /// The chains that have another end proof than before.
    pub(super) reproved_chains: BTreeSet<(ShardId, ChainId)>,
}

impl Group {
    /// Takes in a change that a peer pushed.
    pub fn ingest_push(&mut self, shard_id: ShardId, signed_delta: &SignedDelta) -> IngestOutcome {
        let mut pass = IngestPass::new(self);
        match pass.decode_change(shard_id, &signed_delta.delta) {
            Ok(Some(encoded)) => pass.ingest_change(encoded, signed_delta.signature),
            Ok(None) => pass.outcome.has_gap = true,
            Err(error) => pass.outcome.rejection = Some(error.into()),
        }
        pass.finish()
    }

    /// Takes in a change with its end proof, as the store holds an unaccepted one. `None` if the proof is
    /// wrong or a dependency is not here.
    pub(crate) fn ingest_with_proof(
        &mut self,
        shard_id: ShardId,
        delta: &[u8],
        end_proof: EndProof,
    ) -> Option<IngestOutcome> {
        let mut pass = IngestPass::new(self);
        let encoded = pass.decode_change(shard_id, delta).ok().flatten()?;
        let author = pass.check_author(&encoded)?;
        match pass.validate(encoded) {
            GroupValidation::Known => {}
            GroupValidation::Valid(valid) => {
                let chain_hash = pass.proved_chain_hash(&author, &valid, &end_proof)?;
                pass.insert_valid(valid, author, chain_hash, end_proof);
            }
            GroupValidation::Deferred(..) | GroupValidation::Rejected(..) | GroupValidation::Isolated => {
                return None;
            }
        }
        Some(pass.finish())
    }
}

impl<'a> IngestPass<'a> {
    pub(super) fn new(group: &'a mut Group) -> Self {
        Self {
            id: group.id,
            membership: &mut group.membership,
            shards: &mut group.shards,
            orphans: &mut group.orphans,
            rejected: &mut group.rejected,
            journal: &mut group.journal,
            outcome: IngestOutcome::default(),
            newly_unaccepted: BTreeSet::new(),
            shards_to_reaccept: BTreeSet::new(),
            reproved_chains: BTreeSet::new(),
        }
    }

    /// `Ok(None)` if the shard is not known yet: the grant that creates it may be on its way.
    fn decode_change(&self, shard_id: ShardId, bytes: &[u8]) -> Result<Option<EncodedChange>, DeltaError> {
        let Some(root) = self.membership.root(&shard_id) else { return Ok(None) };
        EncodedChange::new(root, Delta::decode(bytes)?).map(Some)
    }

    /// Takes in a change with its author's signature, and then the orphans that waited for it.
    pub(super) fn ingest_change(&mut self, encoded: EncodedChange, signature: Sig) {
        let mut queue = vec![(encoded, signature)];
        while let Some((encoded, signature)) = queue.pop() {
            let id = encoded.id();
            if self.rejected.contains(RejectedId::Change(id)) {
                continue;
            }
            let Some(author) = self.check_author(&encoded) else { continue };
            match self.validate(encoded) {
                GroupValidation::Known => {}
                // The change is requested again, and taken in once the shard can be read.
                GroupValidation::Isolated => self.outcome.has_gap = true,
                GroupValidation::Deferred(encoded, missing_deps) => {
                    self.defer_change(encoded, signature, &missing_deps);
                }
                GroupValidation::Rejected(id, fault) => self.reject(id, fault.into()),
                GroupValidation::Valid(valid) => {
                    let end_proof = EndProof { ids_ahead: Vec::new(), signature };
                    // A false signature does not make the change invalid: another peer may send it with the
                    // right one. So the change must not be remembered as rejected.
                    let Some(chain_hash) = self.proved_chain_hash(&author, &valid, &end_proof) else {
                        self.outcome.rejection = Some(IngestFault::FalseSignature(id));
                        continue;
                    };
                    self.insert_valid(valid, author, chain_hash, end_proof);
                    let released = self.orphans.take_waiting_for(&id);
                    queue.extend(released.into_iter().map(|orphan| (*orphan.encoded, orphan.signature)));
                }
            }
        }
    }

    /// Keeps a change as an orphan until its first missing dependency arrives.
    fn defer_change(&mut self, encoded: Box<EncodedChange>, signature: Sig, missing_deps: &[ChangeId]) {
        let id = encoded.id();
        if missing_deps.iter().any(|dep| self.rejected.contains(RejectedId::Change(*dep))) {
            return self.reject(id, RejectedChangeFault::RejectedDep);
        }
        self.outcome.has_gap = true;
        if let Some(missing_dep) = missing_deps.first() {
            let evicted_count = self.orphans.insert(Orphan { encoded, signature }, *missing_dep);
            let limit_name = "bytes of changes that wait for others";
            self.outcome.limit_hits.record_many(limit_name, limits::MAX_ORPHAN_BYTES, evicted_count);
        }
    }

    /// Validates a change against the accepted and unaccepted changes of its shard.
    pub(super) fn validate(&mut self, encoded: EncodedChange) -> GroupValidation {
        match self.membership.root(&encoded.delta().shard_id) {
            Some(root) => self.shards.ensure(root).validate(encoded),
            None => GroupValidation::Deferred(Box::new(encoded), Vec::new()),
        }
    }

    /// Takes in a valid change whose proof was checked: as an accepted change if it counts, else as an
    /// unaccepted one.
    pub(super) fn insert_valid(
        &mut self,
        valid: ValidChange,
        author: NodeId,
        chain_hash: ChainHash,
        end_proof: EndProof,
    ) {
        let shard_id = valid.delta().shard_id;
        let chain_id = valid.delta().chain_id(self.id);
        self.outcome.advanced_chains.insert(chain_id);
        let Some(state) = self.shards.get(&shard_id) else { return };
        match valid {
            ValidChange::InSequence(validated)
                if fast_path::is_anchor(self.membership.members(), state, &validated, &chain_id) =>
            {
                if !fast_path::can_skip_reacceptance(self.membership.members(), state, &validated, &chain_id)
                {
                    self.shards_to_reaccept.insert(shard_id);
                }
                let signature = end_proof.ids_ahead.is_empty().then_some(end_proof.signature);
                self.insert_accepted(*validated, signature);
                self.set_end_proof(shard_id, chain_id, end_proof);
            }
            valid => {
                let (encoded, depth) = valid.into_encoded();
                self.shards_to_reaccept.insert(shard_id);
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
                );
            }
        }
    }

    /// The key that wrote a change, if its role may write to this shard. `None` if the change is rejected or
    /// has to wait.
    pub(super) fn check_author(&mut self, encoded: &EncodedChange) -> Option<NodeId> {
        let delta = encoded.delta();
        // Whether the grant is effective decides whether the change is accepted, not whether it is valid.
        let Some((key, role)) = self.membership.records().holder_and_role(&delta.grant) else {
            self.outcome.has_gap = true;
            return None;
        };
        let shard = self.membership.root(&delta.shard_id).map(ShardRoot::name);
        if shard.is_some_and(|shard| self.membership.is_shard_forgotten(shard)) {
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
        self.reject(encoded.id(), RejectedChangeFault::Role(role));
        None
    }

    pub(super) fn reject(&mut self, id: ChangeId, fault: RejectedChangeFault) {
        self.outcome.rejection = Some(IngestFault::InvalidChange { id, fault });
        self.rejected.record(RejectedId::Change(id), fault.to_string());
    }

    /// The chain hash at a valid change, if `end_proof` proves that the author signed the chain up to it.
    fn proved_chain_hash(
        &self,
        author: &NodeId,
        valid: &ValidChange,
        end_proof: &EndProof,
    ) -> Option<ChainHash> {
        let delta = valid.delta();
        let chain_hash = self.shards.get(&delta.shard_id)?.chain_hash_after(delta, valid.id())?;
        chain::is_chain_proved(author, (self.id, delta.shard_id), delta.seq, &chain_hash, end_proof)
            .then_some(chain_hash)
    }

    pub(super) fn insert_accepted(&mut self, validated: ValidatedChange, signature: Option<Sig>) {
        let delta = validated.delta();
        let (shard_id, chain_id, seq, id) =
            (delta.shard_id, delta.chain_id(self.id), delta.seq, validated.id());
        let put_keys = delta.puts.iter().map(|put| put.key.clone()).collect();
        let delta_bytes = validated.bytes().to_vec();
        let row_key = key::change(self.id, shard_id, chain_id, seq, id);
        self.outcome.rows.push(Row::put(Table::Changes, row_key, delta_bytes.clone()));
        let subject = HistoryEntryId::Change { shard_id, id };
        self.outcome.rows.push(self.journal.append(self.id, subject, true));
        self.outcome.new_changes.push(NewChange {
            shard_id,
            chain_id,
            seq,
            id,
            delta: delta_bytes,
            put_keys,
            signature,
            was_unaccepted: false,
        });
        if let Some(state) = self.shards.get_mut(&shard_id) {
            state.unsaved_count += 1;
            state.shard.apply_change(validated);
        }
    }

    /// Sets the end proof of a chain. A signature at a checkpoint is stored for good.
    pub(super) fn set_end_proof(&mut self, shard_id: ShardId, chain_id: ChainId, end_proof: EndProof) {
        let Some(chain) = self.shards.get_mut(&shard_id).and_then(|state| state.shard.chain_mut(&chain_id))
        else {
            return;
        };
        let seq = chain.len();
        if end_proof.ids_ahead.is_empty() && seq.is_multiple_of(limits::CHECKPOINT_INTERVAL) {
            let row_key = key::chain_from_seq(self.id, shard_id, chain_id, seq);
            let signature = end_proof.signature.0.to_vec();
            self.outcome.rows.push(Row::put(Table::Checkpoints, row_key, signature));
        }
        self.reproved_chains.insert((shard_id, chain_id));
        chain.set_end_proof(end_proof);
    }

    /// Ends the pass: computes acceptance where needed, and journals the records that count now.
    pub(super) fn finish(mut self) -> IngestOutcome {
        self.finish_step();
        self.outcome
    }

    /// [`IngestPass::finish`] in the middle of a pass.
    pub(super) fn finish_step(&mut self) {
        self.reaccept_pending();
        self.journal.append_records(self.membership, &mut self.outcome.rows);
    }

    /// Computes acceptance for the shards that need it, and writes the end proof of each chain that has a new
    /// one: once, however often it changed.
    pub(super) fn reaccept_pending(&mut self) {
        for shard_id in std::mem::take(&mut self.shards_to_reaccept) {
            self.reaccept(shard_id);
        }
        for (shard_id, chain_id) in std::mem::take(&mut self.reproved_chains) {
            let chain = self.shards.get(&shard_id).and_then(|state| state.shard.graph().chain(&chain_id));
            let row_key = key::for_chain(self.id, shard_id, chain_id);
            self.outcome.rows.push(match chain.and_then(|chain| Some((chain.len(), chain.end_proof()?))) {
                Some(proof) => Row::put_encoded(Table::EndProofs, row_key, &proof),
                None => Row::remove(Table::EndProofs, row_key),
            });
        }
    }
}
