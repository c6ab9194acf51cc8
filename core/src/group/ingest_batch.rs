//! Taking in a batch: a range of history, sorted by chain, with the signatures that prove each chain.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use super::ingest::IngestPass;
use super::ingest_fault::RejectedChangeFault;
use super::ingest_outcome::IngestOutcome;
use super::orphans::Orphan;
use super::rejected::RejectedId;
use super::segment::ChainSegment;
use super::shard_state::GroupValidation;
use crate::delta::columnar::{self, ChangeBatch};
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChainId, GroupId, ShardId};
use crate::limits;
use crate::shard::chain::first_chain_hash;

/// The segments of a batch, by chain.
type Segments = BTreeMap<ChainId, ChainSegment>;

impl Group {
    /// Takes in a batch that a peer sent.
    pub fn ingest_batch(&mut self, shard_id: ShardId, batch_bytes: &[u8]) -> IngestOutcome {
        let mut pass = IngestPass::new(self);
        match pass.membership.root(&shard_id).map(|root| columnar::decode(root, batch_bytes)) {
            None => pass.outcome.has_gap = true,
            Some(Err(error)) => pass.outcome.rejection = Some(error.into()),
            Some(Ok(batch)) => pass.ingest_batch(shard_id, batch),
        }
        pass.finish()
    }
}

impl IngestPass<'_> {
    fn ingest_batch(&mut self, shard_id: ShardId, batch: ChangeBatch) {
        let (segments, changes) = split_by_chain(self.id, shard_id, batch);
        // Each chain has its own proof: a wrong one spoils no other chain.
        let mut proved_chains = BTreeSet::new();
        for (chain_id, segment) in &segments {
            if self.verify_segment(shard_id, *chain_id, segment) {
                proved_chains.insert(*chain_id);
            }
        }
        for encoded in changes {
            let chain_id = encoded.delta().chain_id(self.id);
            let segment = segments.get(&chain_id).filter(|_| proved_chains.contains(&chain_id));
            self.ingest_from_batch(encoded, segment);
            let unevaluated = self.shards.get(&shard_id).map(|state| state.unaccepted.unevaluated_count());
            if unevaluated.is_some_and(|count| count >= limits::MAX_UNACCEPTED_PER_BATCH) {
                self.reaccept(shard_id);
            }
        }
        self.finish_step();
        self.report_chains(shard_id, &segments);
        let new_ids = self.outcome.new_changes.iter().map(|new| new.id);
        let released: Vec<Orphan> = new_ids.flat_map(|id| self.orphans.take_waiting_for(&id)).collect();
        for orphan in released {
            self.ingest_change(*orphan.encoded, orphan.signature);
        }
    }

    /// Sets in the outcome how far each chain is here, and which chains are stuck: none of their changes
    /// could be taken in, and it is not known from where else to request them.
    fn report_chains(&mut self, shard_id: ShardId, segments: &Segments) {
        for (chain_id, segment) in segments {
            let is_here = segment.last_id().map(|last| self.shards.has_change(&shard_id, &last));
            if is_here == Some(true) {
                self.outcome.reached_seqs.push((*chain_id, segment.end_seq()));
            }
            let has_diverged =
                self.outcome.diverged_chains.iter().any(|(diverged_id, _)| diverged_id == chain_id);
            let has_advanced = self.outcome.advanced_chains.contains(chain_id);
            if is_here == Some(false) && !has_advanced && !has_diverged {
                self.outcome.stuck_chains.push(*chain_id);
            }
        }
    }

    /// Verifies every signature of a segment. A segment that follows a change that is not here cannot be
    /// verified.
    fn verify_segment(&mut self, shard_id: ShardId, chain_id: ChainId, segment: &ChainSegment) -> bool {
        let Some((author, _)) = self.membership.records().holder_and_role(&segment.header.grant) else {
            self.outcome.has_gap = true;
            return false;
        };
        let base_hash = match segment.header.after {
            0 => Some(first_chain_hash(self.id, shard_id, chain_id)),
            after => self
                .shards
                .get(&shard_id)
                .and_then(|state| state.chain_hash_at(&chain_id, after, &segment.header.base_id)),
        };
        let Some(base_hash) = base_hash else {
            self.outcome.has_gap = true;
            self.outcome.diverged_chains.push((chain_id, segment.header.after));
            return false;
        };
        let verified = segment.verify(&author, (self.id, shard_id), base_hash);
        let is_proved = verified.is_ok();
        self.outcome.rejection = verified.err().or(self.outcome.rejection.take());
        is_proved
    }

    /// Takes in a change of a batch. Without a proved segment, the change is only rejected if it depends on a
    /// rejected one.
    fn ingest_from_batch(&mut self, encoded: EncodedChange, segment: Option<&ChainSegment>) {
        let id = encoded.id();
        if self.rejected.contains(RejectedId::Change(id)) {
            return;
        }
        let deps = &encoded.delta().deps;
        if deps.iter().any(|dep| self.rejected.contains(RejectedId::Change(*dep))) {
            return self.reject(id, RejectedChangeFault::RejectedDep);
        }
        let Some(segment) = segment else { return };
        let Some(author) = self.check_author(&encoded) else { return };
        match self.validate(encoded) {
            GroupValidation::Known => {}
            GroupValidation::Deferred(..) | GroupValidation::Isolated => self.outcome.has_gap = true,
            GroupValidation::Rejected(id, fault) => self.reject(id, fault.into()),
            GroupValidation::Valid(valid) => {
                let delta = valid.delta();
                let state = self.shards.get(&delta.shard_id);
                let chain_hash = state.and_then(|state| state.chain_hash_after(delta, valid.id()));
                if let Some((chain_hash, end_proof)) = chain_hash.zip(segment.end_proof_at(delta.seq)) {
                    self.insert_valid(valid, author, chain_hash, end_proof);
                }
            }
        }
    }
}

fn split_by_chain(group: GroupId, shard_id: ShardId, batch: ChangeBatch) -> (Segments, Vec<EncodedChange>) {
    let mut segments = Segments::new();
    for (header, proof) in batch.segments {
        let chain_id = ChainId::derive(group, shard_id, header.grant, header.incarnation);
        segments.insert(chain_id, ChainSegment::new(header, proof));
    }
    for encoded in &batch.changes {
        if let Some(segment) = segments.get_mut(&encoded.delta().chain_id(group)) {
            segment.push(encoded.id());
        }
    }
    (segments, batch.changes)
}
