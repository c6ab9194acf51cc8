//! A segment: the part of one chain in a batch, with the signatures that prove it.

use super::ingest_fault::IngestFault;
use crate::delta::columnar::{SegmentHeader, SegmentProof};
use crate::id::{ChangeId, GroupId, NodeId, ShardId};
use crate::limits;
use crate::shard::chain::{self, ChainHash, EndProof, next_chain_hash};

/// The part of one chain in a batch.
pub(super) struct ChainSegment {
    pub(super) header: SegmentHeader,
    proof: SegmentProof,
    ids: Vec<ChangeId>,
}

impl ChainSegment {
    pub(super) fn new(header: SegmentHeader, proof: SegmentProof) -> Self {
        Self { header, proof, ids: Vec::new() }
    }

    pub(super) fn push(&mut self, id: ChangeId) {
        self.ids.push(id);
    }

    /// The id of the last change.
    pub(super) fn last_id(&self) -> Option<ChangeId> {
        self.ids.last().copied()
    }

    /// The sequence number of the last change.
    pub(super) fn end_seq(&self) -> u64 {
        self.header.after.saturating_add(self.ids.len() as u64)
    }

    /// Verifies every signature of the segment, given the chain hash before its first change.
    pub(super) fn verify(
        &self,
        author: &NodeId,
        group_and_shard: (GroupId, ShardId),
        base_hash: ChainHash,
    ) -> Result<(), IngestFault> {
        let mut chain_hash = base_hash;
        let mut checkpoints = self.proof.checkpoints.iter();
        for (seq, id) in (self.header.after + 1..).zip(&self.ids) {
            chain_hash = next_chain_hash(&chain_hash, *id);
            let is_checkpoint = seq.is_multiple_of(limits::CHECKPOINT_INTERVAL);
            let is_good = !is_checkpoint
                || checkpoints.next().is_some_and(|checkpoint| {
                    chain::verify_chain(
                        author,
                        group_and_shard.0,
                        group_and_shard.1,
                        seq,
                        &chain_hash,
                        checkpoint,
                    )
                });
            if !is_good {
                return Err(IngestFault::MissingCheckpoint(seq));
            }
        }
        let end_seq = self.end_seq();
        // Signatures past the end prove nothing here. An end proof ends at the next checkpoint at the latest,
        // so that the rest of it still proves the chain if only a part of the segment is taken in.
        let next_checkpoint = end_seq.next_multiple_of(limits::CHECKPOINT_INTERVAL);
        let is_proved = !self.ids.is_empty()
            && checkpoints.next().is_none()
            && end_seq + self.proof.end_proof.ids_ahead.len() as u64 <= next_checkpoint
            && chain::is_chain_proved(author, group_and_shard, end_seq, &chain_hash, &self.proof.end_proof);
        if is_proved { Ok(()) } else { Err(IngestFault::FalseEndProof) }
    }

    /// The proof of the chain up to `seq`: the next signature of the segment, and the hashes that lead to it.
    pub(super) fn end_proof_at(&self, seq: u64) -> Option<EndProof> {
        let index_of_seq = |seq: u64| usize::try_from(seq.checked_sub(self.header.after)?).ok();
        let next_checkpoint = seq.next_multiple_of(limits::CHECKPOINT_INTERVAL);
        if next_checkpoint <= self.end_seq() {
            let checkpoints_before = self.header.after / limits::CHECKPOINT_INTERVAL;
            let checkpoint_index = usize::try_from(
                (next_checkpoint / limits::CHECKPOINT_INTERVAL).checked_sub(checkpoints_before + 1)?,
            )
            .ok()?;
            let ahead = self.ids.get(index_of_seq(seq)?..index_of_seq(next_checkpoint)?)?.to_vec();
            return Some(EndProof {
                ids_ahead: ahead,
                signature: *self.proof.checkpoints.get(checkpoint_index)?,
            });
        }
        let mut ahead = self.ids.get(index_of_seq(seq)?..)?.to_vec();
        ahead.extend(&self.proof.end_proof.ids_ahead);
        Some(EndProof { ids_ahead: ahead, signature: self.proof.end_proof.signature })
    }
}
