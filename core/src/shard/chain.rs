//! A chain: all changes of one grant and one incarnation in one shard, and the signatures that prove it.
//!
//! The author signs a running hash of its chain, not each change by itself:
//!
//! ```text
//! hash 0    = BLAKE3("larder 1 chain", group | shard | chain)
//! hash n    = BLAKE3("larder 1 chain", hash n-1 | id of change n)
//! signature = Ed25519 over "larder 1 chain\0" | group [16] | shard [16] | n as u64 big-endian | hash n
//! ```
//!
//! So one signature vouches for the author's whole chain up to it. A node keeps the signature of every 64th
//! change (the checkpoints) and of the newest. A chain hash needs only the ids of the changes, not their
//! content. So a prefix that ends between two kept signatures can be proved too: by the ids of the few
//! changes after it and the next signature. That is its [`EndProof`]. A batch can therefore be cut anywhere,
//! stored and passed on, and every change that a node keeps is proved.

use serde::{Deserialize, Serialize};

use crate::id::{ChainId, ChangeId, GrantId, GroupId, Incarnation, NodeId, SecretKey, ShardId, Sig, hash};
use crate::limits;

/// The running hash of a chain.
pub type ChainHash = [u8; 32];

/// The proof of a chain up to some change: the ids of the changes after it, up to a signed one, and that
/// signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndProof {
    /// The ids of the changes after the proved one; empty if that change itself is signed.
    pub ids_ahead: Vec<ChangeId>,
    /// The author's signature of the chain at the last of these changes.
    pub signature: Sig,
}

/// The chain hash before the first change of a chain.
pub fn first_chain_hash(group: GroupId, shard_id: ShardId, chain_id: ChainId) -> ChainHash {
    hash("larder 1 chain", &[&group.0, &shard_id.0, &chain_id.0])
}

/// The chain hash after one more change.
pub fn next_chain_hash(chain_hash: &ChainHash, change_id: ChangeId) -> ChainHash {
    hash("larder 1 chain", &[chain_hash, &change_id.0])
}

fn signed_message(group: GroupId, shard_id: ShardId, seq: u64, chain_hash: &ChainHash) -> Vec<u8> {
    [b"larder 1 chain\0".as_slice(), &group.0, &shard_id.0, &seq.to_be_bytes(), chain_hash].concat()
}

/// Signs a chain up to its change with number `seq`.
pub fn sign_chain(
    secret: &SecretKey,
    group: GroupId,
    shard_id: ShardId,
    seq: u64,
    chain_hash: &ChainHash,
) -> Sig {
    secret.sign(&signed_message(group, shard_id, seq, chain_hash))
}

/// True if `author` signed the chain up to its change with number `seq`.
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

/// True if `end_proof` proves the chain whose hash after `seq` changes is `chain_hash`.
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

/// One chain of accepted changes.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The chain's id, which is its Automerge actor.
    pub id: ChainId,
    /// The grant that the chain is written under.
    pub grant: GrantId,
    /// The incarnation of the grant.
    pub incarnation: Incarnation,
    /// The changes in order, as indexes into the graph; the first has sequence number 1.
    pub(super) entry_indexes: Vec<u32>,
    /// The chain hash after the newest change.
    hash: ChainHash,
    /// The signatures of every 64th change.
    checkpoints: Vec<Sig>,
    /// The proof of the chain up to its newest change.
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

    /// The number of changes, which is the sequence number of the newest.
    pub fn len(&self) -> u64 {
        self.entry_indexes.len() as u64
    }

    /// True if the chain has no change.
    pub fn is_empty(&self) -> bool {
        self.entry_indexes.is_empty()
    }

    /// The chain hash after the newest change.
    pub fn hash(&self) -> &ChainHash {
        &self.hash
    }

    /// Adds a verified signature as the next checkpoint. False if `seq` is not that of the next checkpoint,
    /// or is past the end of the chain.
    pub fn add_checkpoint(&mut self, seq: u64, signature: Sig) -> bool {
        let next_seq = (self.checkpoints.len() as u64 + 1) * limits::CHECKPOINT_INTERVAL;
        if seq != next_seq || seq > self.len() {
            return false;
        }
        self.checkpoints.push(signature);
        true
    }

    /// Sets the proof of the newest change. A signature of a 64th change is a checkpoint too.
    pub fn set_end_proof(&mut self, end_proof: EndProof) {
        if end_proof.ids_ahead.is_empty() {
            self.add_checkpoint(self.len(), end_proof.signature);
        }
        self.end_proof = Some(end_proof);
    }

    /// Copies the checkpoints of a longer chain that begins with this one, and sets the end proof.
    pub(super) fn copy_proofs_from(&mut self, whole: &Self, end_proof: Option<EndProof>) {
        let checkpoint_count =
            usize::try_from(self.len() / limits::CHECKPOINT_INTERVAL).unwrap_or(usize::MAX);
        self.checkpoints = whole.checkpoints.iter().take(checkpoint_count).copied().collect();
        self.end_proof = end_proof;
    }

    /// The proof of the newest change.
    pub fn end_proof(&self) -> Option<&EndProof> {
        self.end_proof.as_ref()
    }

    /// The signature of a 64th change.
    pub fn checkpoint_at(&self, seq: u64) -> Option<&Sig> {
        let index = (seq / limits::CHECKPOINT_INTERVAL).checked_sub(1)?;
        if !seq.is_multiple_of(limits::CHECKPOINT_INTERVAL) {
            return None;
        }
        self.checkpoints.get(usize::try_from(index).ok()?)
    }

    /// The checkpoints after `after` and up to `upto`, with their sequence numbers.
    pub fn checkpoints_between(&self, after: u64, upto: u64) -> impl Iterator<Item = (u64, Sig)> {
        let from = after / limits::CHECKPOINT_INTERVAL + 1;
        (from..=upto / limits::CHECKPOINT_INTERVAL)
            .map(|nth| nth * limits::CHECKPOINT_INTERVAL)
            .filter_map(|seq| self.checkpoint_at(seq).map(|sig| (seq, *sig)))
    }
}
