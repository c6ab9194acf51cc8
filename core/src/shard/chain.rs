//! A chain: everything one actor wrote, and the signatures that prove it.
//!
//! The author signs a running hash of its chain, not each change by itself:
//!
//! ```text
//! link 0    = BLAKE3("larder 1 chain", group | epoch | actor)
//! link n    = BLAKE3("larder 1 chain", link n-1 | hash of change n)
//! signature = Ed25519 over "larder 1 chain\0" | group [16] | epoch [16] | n as u64 big-endian | link n
//! ```
//!
//! So one signature fixes the author's whole past, and kept are only those of every 64th change and of the newest.
//! Because a link needs the *hashes* of the changes and not their content, a prefix that ends between two kept
//! signatures can still be proved: by the hashes of the few changes ahead and the signature beyond them, its [`EndProof`].
//! A window of history can thus be cut anywhere, stored and passed on, and nothing unproved is ever kept.

use serde::{Deserialize, Serialize};

use crate::id::{ChainId, ChangeId, GrantId, GroupId, Incarnation, NodeId, SecretKey, ShardId, Sig, hash};
use crate::limits;

/// The running hash of a chain.
pub type ChainHash = [u8; 32];

/// What proves the end of a chain: the hashes of the changes after it, up to one that is signed, and that signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndProof {
    /// Hashes of the changes past the end; empty if the newest change is itself signed.
    pub ids_ahead: Vec<ChangeId>,
    /// The author's signature of the chain at the last of these.
    pub signature: Sig,
}

/// The link before the first change of a chain.
pub fn first_chain_hash(group: GroupId, shard_id: ShardId, chain_id: ChainId) -> ChainHash {
    hash("larder 1 chain", &[&group.0, &shard_id.0, &chain_id.0])
}

/// The link after one more change.
pub fn next_chain_hash(chain_hash: &ChainHash, change_id: ChangeId) -> ChainHash {
    hash("larder 1 chain", &[chain_hash, &change_id.0])
}

fn signed_message(group: GroupId, shard_id: ShardId, seq: u64, chain_hash: &ChainHash) -> Vec<u8> {
    [b"larder 1 chain\0".as_slice(), &group.0, &shard_id.0, &seq.to_be_bytes(), chain_hash].concat()
}

/// Signs a chain at its change `seq`.
pub fn sign_chain(
    secret: &SecretKey,
    group: GroupId,
    shard_id: ShardId,
    seq: u64,
    chain_hash: &ChainHash,
) -> Sig {
    secret.sign(&signed_message(group, shard_id, seq, chain_hash))
}

/// True if `author` signed the chain at its change `seq`.
pub fn verify_chain(
    author: &NodeId,
    group: GroupId,
    shard_id: ShardId,
    seq: u64,
    chain_hash: &ChainHash,
    sig: &Sig,
) -> bool {
    author.verify(&signed_message(group, shard_id, seq, chain_hash), sig)
}

/// True if `cover` proves the chain whose link after `seq` changes is `link`.
pub fn is_chain_proved(
    author: &NodeId,
    group_and_shard: (GroupId, ShardId),
    seq: u64,
    chain_hash: &ChainHash,
    end_proof: &EndProof,
) -> bool {
    if end_proof.ids_ahead.len() > limits::MAX_END_PROOF_HASHES {
        return false;
    }
    let signed_hash =
        end_proof.ids_ahead.iter().fold(*chain_hash, |chain_hash, id| next_chain_hash(&chain_hash, *id));
    verify_chain(
        author,
        group_and_shard.0,
        group_and_shard.1,
        seq + end_proof.ids_ahead.len() as u64,
        &signed_hash,
        &end_proof.signature,
    )
}

/// Everything known of one chain of accepted changes.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Who writes it.
    pub id: ChainId,
    /// The grant it is written under.
    pub grant: GrantId,
    /// Which life of that grant.
    pub incarnation: Incarnation,
    /// The author's changes in order, as indexes into the graph; the first has seq 1.
    pub(super) entry_indexes: Vec<u32>,
    /// The link after the newest change.
    hash: ChainHash,
    /// Signatures at 64, 128, ...
    checkpoints: Vec<Sig>,
    /// What proves the newest change.
    end_proof: Option<EndProof>,
}

impl Chain {
    pub(super) fn new(group: GroupId, shard_id: ShardId, author: (GrantId, Incarnation)) -> Self {
        let chain_id = ChainId::derive(group, shard_id, author.0, author.1);
        Self {
            id: chain_id,
            grant: author.0,
            incarnation: author.1,
            entry_indexes: Vec::new(),
            hash: first_chain_hash(group, shard_id, chain_id),
            checkpoints: Vec::new(),
            end_proof: None,
        }
    }

    pub(super) fn push(&mut self, entry_index: u32, change_id: ChangeId) {
        self.entry_indexes.push(entry_index);
        self.hash = next_chain_hash(&self.hash, change_id);
    }

    /// How many changes it has; also the seq of its newest.
    pub fn len(&self) -> u64 {
        self.entry_indexes.len() as u64
    }

    /// True if nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.entry_indexes.is_empty()
    }

    /// The link after the newest change.
    pub fn hash(&self) -> &ChainHash {
        &self.hash
    }

    /// Takes in signatures that were checked: one at a 64th change that the chain has reached is kept as a mark.
    pub fn add_checkpoint(&mut self, seq: u64, signature: Sig) -> bool {
        let next_seq = (self.checkpoints.len() as u64 + 1) * limits::CHECKPOINT_INTERVAL;
        if seq != next_seq || seq > self.len() {
            return false;
        }
        self.checkpoints.push(signature);
        true
    }

    /// Takes in what proves the newest change. A signature that lands on a 64th change is a mark too.
    pub fn set_end_proof(&mut self, end_proof: EndProof) {
        if end_proof.ids_ahead.is_empty() {
            self.add_checkpoint(self.len(), end_proof.signature);
        }
        self.end_proof = Some(end_proof);
    }

    /// Takes over the marks of a chain that this one is the beginning of, and what proves its end.
    pub(super) fn copy_proofs_from(&mut self, whole: &Self, end_proof: Option<EndProof>) {
        let checkpoint_count =
            usize::try_from(self.len() / limits::CHECKPOINT_INTERVAL).unwrap_or(usize::MAX);
        self.checkpoints = whole.checkpoints.iter().take(checkpoint_count).copied().collect();
        self.end_proof = end_proof;
    }

    /// What proves the newest change.
    pub fn end_proof(&self) -> Option<&EndProof> {
        self.end_proof.as_ref()
    }

    /// The signature at a 64th change.
    pub fn checkpoint_at(&self, seq: u64) -> Option<&Sig> {
        let index = (seq / limits::CHECKPOINT_INTERVAL).checked_sub(1)?;
        if !seq.is_multiple_of(limits::CHECKPOINT_INTERVAL) {
            return None;
        }
        self.checkpoints.get(usize::try_from(index).ok()?)
    }

    /// The seqs after `after` and up to `upto` that carry a mark.
    pub fn checkpoints_between(&self, after: u64, upto: u64) -> impl Iterator<Item = (u64, Sig)> {
        let from = after / limits::CHECKPOINT_INTERVAL + 1;
        (from..=upto / limits::CHECKPOINT_INTERVAL)
            .map(|nth| nth * limits::CHECKPOINT_INTERVAL)
            .filter_map(|seq| self.checkpoint_at(seq).map(|sig| (seq, *sig)))
    }
}
