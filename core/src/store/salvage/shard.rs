//! Saving one shard: of every chain as much as its author's signatures prove.
//!
//! ```text
//! rows found     1   2   3   .   5   6   7        4 is missing or damaged; its id is still in its key
//! saved          1   2   3                        signed at 7: the ids 4 to 7 lead there
//! ```
//!
//! Changes that depend on a missing change are not saved. This node's own chains need no signature: their
//! changes name each other by hash, and the node signs them again. So a write that no other node has is not
//! lost with its signature.

use std::collections::BTreeMap;

use crate::delta::Delta;
use crate::delta::encoded_change::EncodedChange;
use crate::group::Group;
use crate::id::{ChainId, ChangeId, NodeId, SecretKey, Sig};
use crate::limits;
use crate::shard::Shard;
use crate::shard::chain::{self, Chain, ChainHash, EndProof, first_chain_hash, next_chain_hash};
use crate::shard::root::ShardRoot;
use crate::shard::validate::Validation;
use crate::store::{MemoryStore, OwnTipRow, Row, RowReader, Table, decode_layout, decode_versioned, key};

/// The part of a shard that could be saved.
pub(super) struct SalvagedShard {
    pub(super) rows: Vec<Row>,
    pub(super) changes: u64,
    /// False if a change was found, or proved to exist, that is not saved.
    pub(super) is_complete: bool,
}

/// A chain and a sequence number in it.
type ChainPosition = (ChainId, u64);

/// The rows of one shard in a damaged store.
#[derive(Default)]
struct FoundRows {
    changes: BTreeMap<ChainPosition, EncodedChange>,
    /// The ids in the keys of the rows, also where the value is damaged.
    ids: BTreeMap<ChainPosition, ChangeId>,
    checkpoints: BTreeMap<ChainPosition, Sig>,
    end_proofs: BTreeMap<ChainId, (u64, EndProof)>,
    /// The length of each chain that this node remembers to have written.
    own_tips: BTreeMap<ChainId, u64>,
    /// True if a row cannot be read.
    has_bad_rows: bool,
}

/// Saves what a damaged store holds of the shard that `root` begins. `node_key` is the key of the store's
/// node.
pub(super) fn salvage_shard(
    damaged: &MemoryStore,
    group: &Group,
    root: &ShardRoot,
    node_key: &SecretKey,
) -> SalvagedShard {
    let found = FoundRows::from_store(damaged, root);
    if found.ids.is_empty() && found.end_proofs.is_empty() && found.own_tips.is_empty() {
        return SalvagedShard { rows: Vec::new(), changes: 0, is_complete: !found.has_bad_rows };
    }
    let mut max_seqs: BTreeMap<ChainId, u64> = BTreeMap::new();
    loop {
        let shard = found.build_shard(root, &max_seqs);
        let proved: Vec<ProvedChain> =
            shard.graph().chains().map(|chain| found.prove_chain(&shard, chain, group, node_key)).collect();
        let cut_chains = proved.iter().filter(|chain| chain.proved_len < chain.len);
        let cut_chains: Vec<(ChainId, u64)> =
            cut_chains.map(|chain| (chain.chain, chain.proved_len)).collect();
        if cut_chains.is_empty() {
            return found.to_salvaged(&shard, root, &proved);
        }
        // Changes that depend on a cut change go too, so the shard is built again.
        max_seqs.extend(cut_chains);
    }
}

/// How much of a chain is proved, with the proofs.
struct ProvedChain {
    chain: ChainId,
    len: u64,
    proved_len: u64,
    checkpoints: Vec<Sig>,
    end_proof: Option<EndProof>,
}

impl FoundRows {
    fn from_store(damaged: &MemoryStore, root: &ShardRoot) -> Self {
        let mut found = Self::default();
        let prefix = key::for_shard(root.group(), root.shard_id());
        let rows = |table| damaged.read_rows(table, &prefix).unwrap_or_else(|infallible| match infallible {});
        for (row, value) in rows(Table::Changes) {
            found.read_change(root, &row, &value);
        }
        for (row, value) in rows(Table::Checkpoints) {
            let checkpoint =
                key::parse_checkpoint(&row).map(|(_, chain, seq)| (chain, seq)).zip(Sig::from_slice(&value));
            found.has_bad_rows |= checkpoint.is_none();
            found.checkpoints.extend(checkpoint);
        }
        for (row, value) in rows(Table::OwnTips) {
            let grant = key::parse_own_tip(&row).map(|(_, grant)| grant);
            if let Some((grant, own_tip)) =
                grant.zip(decode_versioned::<OwnTipRow>(Table::OwnTips, &value).ok())
            {
                found.own_tips.insert(
                    ChainId::derive(root.group(), root.shard_id(), grant, own_tip.incarnation),
                    own_tip.seq,
                );
            }
        }
        for (row, value) in rows(Table::EndProofs) {
            let end_proof =
                key::parse_chain(&row).map(|(_, chain)| chain).zip(decode_layout::<(u64, EndProof)>(&value));
            found.has_bad_rows |= end_proof.is_none();
            found.end_proofs.extend(end_proof);
        }
        found
    }

    fn read_change(&mut self, root: &ShardRoot, row: &[u8], value: &[u8]) {
        let Some(change_key) = key::parse_change(row) else {
            self.has_bad_rows = true;
            return;
        };
        let (position, id) = ((change_key.chain_id, change_key.seq), change_key.id);
        self.ids.insert(position, id);
        let encoded = Delta::decode(value).and_then(|delta| EncodedChange::new(root, delta)).ok();
        let matches_key = |encoded: &EncodedChange| {
            let delta = encoded.delta();
            encoded.id() == id && (delta.chain_id(root.group()), delta.seq) == position
        };
        match encoded.filter(matches_key) {
            Some(encoded) => drop(self.changes.insert(position, encoded)),
            None => self.has_bad_rows = true,
        }
    }

    /// Builds the shard from the found changes, of each chain at most up to `max_seqs`.
    fn build_shard(&self, root: &ShardRoot, max_seqs: &BTreeMap<ChainId, u64>) -> Shard {
        let is_within_limit =
            |(chain, seq): &ChainPosition| max_seqs.get(chain).is_none_or(|max_seq| seq <= max_seq);
        let mut remaining: Vec<&EncodedChange> = self
            .changes
            .iter()
            .filter(|(position, _)| is_within_limit(position))
            .map(|(_, change)| change)
            .collect();
        remaining.sort_by_key(|change| (change.delta().start_op, change.delta().max_op()));
        let mut shard = Shard::new(root.clone());
        loop {
            let before = remaining.len();
            // Invalid changes stay out, and so do changes that depend on them.
            remaining.retain(|change| match shard.validate((*change).clone()) {
                Validation::Valid(checked) => {
                    shard.apply_change(*checked);
                    false
                }
                _ => true,
            });
            if remaining.len() == before {
                shard.flush();
                return shard;
            }
        }
    }

    fn prove_chain(&self, shard: &Shard, chain: &Chain, group: &Group, node_key: &SecretKey) -> ProvedChain {
        let author = group.records().holder_and_role(&chain.grant).map(|(key, _)| key);
        let (chain_id, len) = (chain.id, chain.len());
        let unproved =
            ProvedChain { chain: chain_id, len, proved_len: 0, checkpoints: Vec::new(), end_proof: None };
        let Some(author) = author else { return unproved };
        let chain_hashes = self.chain_hashes(shard, chain);
        if author == node_key.node_id() {
            return re_sign_own_chain(shard, chain, &chain_hashes, node_key);
        }
        let signed = self.valid_signatures(shard, chain_id, &author, &chain_hashes);
        let checkpoint_seqs = |proved_len: u64| {
            (1..=proved_len / limits::CHECKPOINT_INTERVAL).map(|nth| nth * limits::CHECKPOINT_INTERVAL)
        };
        let end_proof = |proved_len: u64| {
            // The end proof never passes the next checkpoint: one for a shorter prefix needs all hashes up to
            // there.
            let (signed_seq, signature) =
                signed.range(proved_len..=proved_len.next_multiple_of(limits::CHECKPOINT_INTERVAL)).next()?;
            let ahead = (proved_len + 1..=*signed_seq)
                .filter_map(|seq| chain_hashes.get(&seq))
                .map(|(_, id)| *id)
                .collect();
            Some(EndProof { ids_ahead: ahead, signature: *signature })
        };
        let is_proved = |proved_len: &u64| {
            end_proof(*proved_len).is_some()
                && checkpoint_seqs(*proved_len).all(|seq| signed.contains_key(&seq))
        };
        match (1..=len).rev().find(is_proved) {
            Some(proved_len) => {
                let checkpoints =
                    checkpoint_seqs(proved_len).filter_map(|seq| signed.get(&seq).copied()).collect();
                ProvedChain {
                    chain: chain_id,
                    len,
                    proved_len,
                    checkpoints,
                    end_proof: end_proof(proved_len),
                }
            }
            None => unproved,
        }
    }

    /// The chain hash and change id at every sequence number: of the found changes, and of those after them
    /// whose ids are known.
    fn chain_hashes(&self, shard: &Shard, chain: &Chain) -> BTreeMap<u64, (ChainHash, ChangeId)> {
        let (root, graph) = (shard.root(), shard.graph());
        let present =
            (1..=chain.len()).filter_map(|seq| graph.entry_in_chain(chain, seq)).map(|entry| entry.id);
        let mut ids: Vec<ChangeId> = present.collect();
        while let Some(id) = self.ids.get(&(chain.id, ids.len() as u64 + 1)) {
            ids.push(*id);
        }
        if let Some((_, end_proof)) =
            self.end_proofs.get(&chain.id).filter(|(seq, _)| *seq == ids.len() as u64)
        {
            ids.extend(&end_proof.ids_ahead);
        }
        let mut chain_hash = first_chain_hash(root.group(), root.shard_id(), chain.id);
        let mut chain_hashes = BTreeMap::new();
        for (seq, id) in (1..).zip(ids) {
            chain_hash = next_chain_hash(&chain_hash, id);
            chain_hashes.insert(seq, (chain_hash, id));
        }
        chain_hashes
    }

    /// The valid signatures of a chain, by sequence number.
    fn valid_signatures(
        &self,
        shard: &Shard,
        chain: ChainId,
        author: &NodeId,
        chain_hashes: &BTreeMap<u64, (ChainHash, ChangeId)>,
    ) -> BTreeMap<u64, Sig> {
        let root = shard.root();
        let checkpoints = self
            .checkpoints
            .range((chain, 0)..=(chain, u64::MAX))
            .map(|((_, seq), checkpoint)| (*seq, *checkpoint));
        let end_proof = self.end_proofs.get(&chain);
        let end_proof =
            end_proof.map(|(seq, proof)| (seq.saturating_add(proof.ids_ahead.len() as u64), proof.signature));
        let is_valid = |(seq, signature): &(u64, Sig)| {
            chain_hashes.get(seq).is_some_and(|(chain_hash, _)| {
                chain::verify_chain(author, root.group(), root.shard_id(), *seq, chain_hash, signature)
            })
        };
        checkpoints.chain(end_proof).filter(is_valid).collect()
    }

    fn to_salvaged(&self, shard: &Shard, root: &ShardRoot, proved: &[ProvedChain]) -> SalvagedShard {
        let (group, shard_id) = (root.group(), root.shard_id());
        let mut rows = Vec::new();
        for entry in shard.graph().iter() {
            let Some(chain) = shard.graph().chain_of(entry) else { continue };
            let Some(change) = self.changes.get(&(chain.id, entry.seq)) else { continue };
            let key = key::change(group, shard_id, chain.id, entry.seq, entry.id);
            rows.push(Row::put(Table::Changes, key, change.bytes().to_vec()));
        }
        for chain in proved {
            for (nth, checkpoint) in (1..).zip(&chain.checkpoints) {
                let key =
                    key::chain_from_seq(group, shard_id, chain.chain, nth * limits::CHECKPOINT_INTERVAL);
                rows.push(Row::put(Table::Checkpoints, key, checkpoint.0.to_vec()));
            }
            if let Some(end_proof) = &chain.end_proof {
                let key = key::for_chain(group, shard_id, chain.chain);
                rows.push(Row::put_encoded(Table::EndProofs, key, &(chain.proved_len, end_proof)));
            }
        }
        let saved_len =
            |id: &ChainId| proved.iter().find(|chain| chain.chain == *id).map_or(0, |chain| chain.proved_len);
        let end_proofs_reached =
            self.end_proofs.iter().all(|(chain_id, (seq, _))| *seq <= saved_len(chain_id));
        let found_changes_reached = self.ids.keys().all(|(chain_id, seq)| *seq <= saved_len(chain_id));
        let own_tips_reached = self.own_tips.iter().all(|(chain_id, seq)| *seq <= saved_len(chain_id));
        SalvagedShard {
            rows,
            changes: shard.graph().len() as u64,
            is_complete: end_proofs_reached
                && found_changes_reached
                && own_tips_reached
                && !self.has_bad_rows,
        }
    }
}

/// A chain of this node's own, signed again. The signatures of the same chain hashes are the same as before.
fn re_sign_own_chain(
    shard: &Shard,
    chain: &Chain,
    chain_hashes: &BTreeMap<u64, (ChainHash, ChangeId)>,
    node_key: &SecretKey,
) -> ProvedChain {
    let (root, len) = (shard.root(), chain.len());
    let sign = |seq: u64| {
        let (chain_hash, _) = chain_hashes.get(&seq)?;
        Some(chain::sign_chain(node_key, root.group(), root.shard_id(), seq, chain_hash))
    };
    let checkpoints =
        (1..=len / limits::CHECKPOINT_INTERVAL).filter_map(|nth| sign(nth * limits::CHECKPOINT_INTERVAL));
    let end_proof = sign(len).map(|signature| EndProof { ids_ahead: Vec::new(), signature });
    ProvedChain { chain: chain.id, len, proved_len: len, checkpoints: checkpoints.collect(), end_proof }
}
