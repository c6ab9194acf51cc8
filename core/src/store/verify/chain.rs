//! Verifying one chain, from its first change to its newest.

use super::{ShardChain, VerifyPass};
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChangeId, NodeId};
use crate::limits;
use crate::shard::chain::{ChainHash, first_chain_hash, is_chain_proved, next_chain_hash, verify_chain};

/// The state of a walk along one chain.
pub(super) struct ChainWalk {
    pub(super) chain: ShardChain,
    author: Option<NodeId>,
    seq: u64,
    chain_hash: ChainHash,
    newest: Option<ChangeId>,
    /// True once a change is missing, so that later signatures cannot be verified.
    has_gap: bool,
}

impl VerifyPass<'_> {
    pub(super) fn begin_chain(&self, chain: ShardChain) -> ChainWalk {
        let chain_hash = first_chain_hash(self.group.id(), chain.0, chain.1);
        ChainWalk { chain, author: None, seq: 0, chain_hash, newest: None, has_gap: false }
    }

    /// Verifies one more change. The chain hash is computed from the id in the row's key, so a tampered
    /// change is reported alone, and the changes after it are still verified.
    pub(super) fn on_change(
        &mut self,
        walk: &mut ChainWalk,
        seq: u64,
        id: ChangeId,
        encoded: Option<EncodedChange>,
    ) {
        if seq != walk.seq + 1 && !walk.has_gap {
            self.report.add_failure(
                &id,
                &format!("the change before it in its chain, number {}, is missing", seq.saturating_sub(1)),
            );
            walk.has_gap = true;
        }
        walk.seq = seq;
        walk.chain_hash = next_chain_hash(&walk.chain_hash, id);
        walk.newest = Some(id);
        if let Some(base) = self.branch_points.get_mut(&(walk.chain, seq)) {
            *base = Some((id, walk.chain_hash));
        }
        let grant = encoded.map(|encoded| encoded.delta().grant);
        if let (None, Some(grant)) = (walk.author, grant) {
            walk.author = self.group.records().holder_and_role(&grant).map(|(key, _)| key);
            if walk.author.is_none() {
                self.report.add_failure(
                    &id,
                    "its author is not known: the grant that it was written under is missing",
                );
                walk.has_gap = true;
            }
        }
        let is_checkpoint = seq.is_multiple_of(limits::CHECKPOINT_INTERVAL);
        if let (true, false, Some(author)) = (is_checkpoint, walk.has_gap, walk.author) {
            let is_signed = self.checkpoints.get(&(walk.chain, seq)).is_some_and(|checkpoint| {
                verify_chain(&author, self.group.id(), walk.chain.0, seq, &walk.chain_hash, checkpoint)
            });
            if !is_signed {
                self.report
                    .add_failure(&id, &not_signed_message(seq - (limits::CHECKPOINT_INTERVAL - 1), seq));
            }
        }
    }

    /// Verifies the end of a chain by its end proof.
    pub(super) fn end_chain(&mut self, walk: ChainWalk) {
        let end_proof = self.end_proofs.remove(&walk.chain);
        let (Some(newest), Some(author), false) = (walk.newest, walk.author, walk.has_gap) else { return };
        let Some((seq, end_proof)) = end_proof else {
            return self.report.add_failure(&newest, "nothing proves the end of its chain");
        };
        if seq != walk.seq {
            let reason =
                format!("its chain ends here, and is signed for up to number {seq} (this is {})", walk.seq);
            return self.report.add_failure(&newest, &reason);
        }
        if !is_chain_proved(&author, (self.group.id(), walk.chain.0), seq, &walk.chain_hash, &end_proof) {
            let from = (seq - 1) / limits::CHECKPOINT_INTERVAL * limits::CHECKPOINT_INTERVAL + 1;
            self.report.add_failure(&newest, &not_signed_message(from, seq));
        }
    }
}

fn not_signed_message(from: u64, upto: u64) -> String {
    format!("its author did not sign its chain up to here (changes {from} to {upto} of it)")
}
