//! Windows of history: changes from others in bulk, chain by chain, each with the signatures that prove it.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use super::ingest::{GroupValidation, IngestOutcome};
use super::orphans::Orphan;
use super::rejected::RejectedId;
use super::segment::ChainSegment;
use crate::delta::columnar::{self, SegmentHeader, SegmentProof};
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChainId, ShardId};
use crate::limits;
use crate::shard::chain::first_chain_hash;

/// What a window brings, by chain.
type Segments = BTreeMap<ChainId, ChainSegment>;

impl Group {
    /// Takes in a window of history that a neighbour sent.
    pub fn ingest_batch(&mut self, shard_id: ShardId, batch_bytes: &[u8]) -> IngestOutcome {
        let mut outcome = IngestOutcome::default();
        let Some(root) = self.roots.get(&shard_id) else {
            outcome.has_gap = true;
            return outcome;
        };
        let batch = match columnar::decode(root, batch_bytes) {
            Ok(batch) => batch,
            Err(error) => {
                outcome.rejection = Some(error.to_string());
                return outcome;
            }
        };
        let segments = self.split_by_chain(shard_id, batch.segments, &batch.changes);
        // Each chain stands by its own signatures: one that proves nothing takes no other with it.
        let mut proved_chains = BTreeSet::new();
        for (chain_id, segment) in &segments {
            if self.verify_segment(shard_id, *chain_id, segment, &mut outcome) {
                proved_chains.insert(*chain_id);
            }
        }
        for encoded in batch.changes {
            let chain_id = encoded.delta().chain_id(self.id);
            let segment = segments.get(&chain_id).filter(|_| proved_chains.contains(&chain_id));
            self.ingest_from_batch(encoded, segment, &mut outcome);
            if self
                .unaccepted
                .get(&shard_id)
                .is_some_and(|unaccepted| unaccepted.unevaluated_count() >= limits::MAX_UNACCEPTED_PER_BATCH)
            {
                self.reaccept(shard_id, &mut outcome);
            }
        }
        self.finish_ingest(&mut outcome);
        outcome.stuck_chains = self.find_stuck_chains(shard_id, &segments, &outcome);
        let is_here =
            |segment: &ChainSegment| segment.last_id().is_some_and(|last| self.has_change(&shard_id, &last));
        let reached = segments.iter().filter(|(_, segment)| is_here(segment));
        outcome.reached_seqs = reached.map(|(chain_id, segment)| (*chain_id, segment.end_seq())).collect();
        let released: Vec<Orphan> =
            outcome.new_changes.iter().flat_map(|new| self.orphans.take_waiting_for(&new.id)).collect();
        for orphan in released {
            self.ingest_change(*orphan.encoded, orphan.signature, &mut outcome);
        }
        self.finish_ingest(&mut outcome);
        outcome
    }

    fn split_by_chain(
        &self,
        shard_id: ShardId,
        headers: Vec<(SegmentHeader, SegmentProof)>,
        changes: &[EncodedChange],
    ) -> Segments {
        let mut segments = Segments::new();
        for (header, proof) in headers {
            let chain_id = ChainId::derive(self.id, shard_id, header.grant, header.incarnation);
            segments.insert(chain_id, ChainSegment::new(header, proof));
        }
        for encoded in changes {
            let chain_id = encoded.delta().chain_id(self.id);
            if let Some(segment) = segments.get_mut(&chain_id) {
                segment.push(encoded.id());
            }
        }
        segments
    }

    /// Chains of which nothing could be taken, and of which it is not known where else to begin.
    fn find_stuck_chains(
        &self,
        shard_id: ShardId,
        segments: &Segments,
        outcome: &IngestOutcome,
    ) -> Vec<ChainId> {
        let has_diverged =
            |chain_id: &ChainId| outcome.diverged_chains.iter().any(|(diverged, _)| diverged == chain_id);
        let is_stuck = |(chain_id, segment): &(&ChainId, &ChainSegment)| {
            let is_known = segment.last_id().is_none_or(|last| self.has_change(&shard_id, &last));
            !is_known && !outcome.advanced_chains.contains(*chain_id) && !has_diverged(chain_id)
        };
        segments.iter().filter(is_stuck).map(|(chain_id, _)| *chain_id).collect()
    }

    /// Checks every signature that came with a run. A run that begins on what is not here cannot be checked: a gap.
    fn verify_segment(
        &self,
        shard_id: ShardId,
        chain_id: ChainId,
        segment: &ChainSegment,
        outcome: &mut IngestOutcome,
    ) -> bool {
        let Some((author, _)) = self.records.holder_and_role(&segment.header.grant) else {
            outcome.has_gap = true;
            return false;
        };
        let base_hash = match segment.header.after {
            0 => Some(first_chain_hash(self.id, shard_id, chain_id)),
            after => self.chain_hash_at(&shard_id, &chain_id, after, &segment.header.base_id),
        };
        let Some(base_hash) = base_hash else {
            outcome.has_gap = true;
            outcome.diverged_chains.push((chain_id, segment.header.after));
            return false;
        };
        match segment.verify(&author, (self.id, shard_id), base_hash) {
            Ok(()) => true,
            Err(reason) => {
                outcome.rejection = Some(reason);
                false
            }
        }
    }

    /// Takes in a change of a window. Where nothing proves it, it is only looked at for whether it builds on something
    /// refused, and so can never be let in.
    fn ingest_from_batch(
        &mut self,
        encoded: EncodedChange,
        segment: Option<&ChainSegment>,
        outcome: &mut IngestOutcome,
    ) {
        let id = encoded.id();
        if self.rejected.contains(RejectedId::Change(id)) {
            return;
        }
        let deps = &encoded.delta().deps;
        if deps.iter().any(|dep| self.rejected.contains(RejectedId::Change(*dep))) {
            return self.reject(id, "it builds on a refused change".to_owned(), outcome);
        }
        let Some(segment) = segment else { return };
        let Some(author) = self.check_author(&encoded, outcome) else { return };
        match self.validate_change(encoded) {
            GroupValidation::Known => {}
            GroupValidation::Deferred(..) | GroupValidation::Isolated => outcome.has_gap = true,
            GroupValidation::Rejected(id, fault) => self.reject(id, fault.to_string(), outcome),
            GroupValidation::Valid(valid) => {
                let (seq, chain_hash) = (valid.delta().seq, self.chain_hash_of(&valid));
                if let Some((chain_hash, end_proof)) = chain_hash.zip(segment.end_proof_at(seq)) {
                    self.insert_valid(valid, author, chain_hash, end_proof, outcome);
                }
            }
        }
    }
}
