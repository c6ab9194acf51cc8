//! Batches that no honest member sends. Afterwards the store must still load and serve other members.

use super::*;
use crate::delta::Delta;
use crate::delta::columnar::{self, SegmentHeader, SegmentProof};
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChainId, Sig};
use crate::limits;
use crate::shard::chain::{self, ChainHash, EndProof, first_chain_hash, next_chain_hash};

/// A chain that its author can forge, valid or not.
struct ForgedChain {
    secret: SecretKey,
    header: SegmentHeader,
    chain_id: ChainId,
    shard_id: ShardId,
    group: GroupId,
    changes: Vec<EncodedChange>,
}

impl ForgedChain {
    /// The chain that `peer` wrote in the desired state.
    fn from_peer(peer: &mut GroupPeer) -> Self {
        peer.group.flush_documents();
        let shard = peer.group.desired().unwrap();
        let root = shard.root().clone();
        let grant_id = peer.group.members().live_grants_of(&peer.secret.node_id()).next().unwrap().grant;
        let chain = shard.graph().chains().find(|chain| chain.grant == grant_id).unwrap();
        let header = SegmentHeader {
            grant: chain.grant,
            incarnation: chain.incarnation,
            after: 0,
            base_id: ChangeId::ZERO,
        };
        let ids = (1..=chain.len()).map(|seq| shard.graph().entry_in_chain(chain, seq).unwrap().id);
        let changes =
            ids.map(|id| EncodedChange::new(&root, shard.read_delta(&id).unwrap()).unwrap()).collect();
        let (chain_id, shard_id, group) = (chain.id, root.shard_id(), peer.group.id());
        Self { secret: peer.secret.clone(), header, chain_id, shard_id, group, changes }
    }

    /// Adds an invalid change: it should replace earlier puts, and replaces none.
    fn push_invalid_change(&mut self, root: &ShardRoot, key: &str) {
        let last = self.changes.last().unwrap();
        let put = crate::delta::Put { key: key.to_owned(), value: Value::Int(0), preds: vec![] };
        let delta = Delta {
            seq: last.delta().seq + 1,
            deps: vec![last.id()],
            start_op: last.delta().max_op() + 1,
            puts: vec![put],
            ..last.delta().clone()
        };
        self.changes.push(EncodedChange::new(root, delta).unwrap());
    }

    fn chain_hash(&self, ahead: &[ChangeId]) -> ChainHash {
        let ids = self.changes.iter().map(EncodedChange::id).chain(ahead.iter().copied());
        ids.fold(first_chain_hash(self.group, self.shard_id, self.chain_id), |chain_hash, id| {
            next_chain_hash(&chain_hash, id)
        })
    }

    /// The end proof of all changes and of further ids ahead.
    fn end_proof(&self, ahead: Vec<ChangeId>) -> EndProof {
        let seq = (self.changes.len() + ahead.len()) as u64;
        let signature =
            chain::sign_chain(&self.secret, self.group, self.shard_id, seq, &self.chain_hash(&ahead));
        EndProof { ids_ahead: ahead, signature }
    }

    fn encode_batch(&self, root: &ShardRoot, proof: SegmentProof) -> Vec<u8> {
        self.encode_segments(root, vec![(self.header.clone(), proof)], |_| 0)
    }

    fn encode_segments(
        &self,
        root: &ShardRoot,
        segments: Vec<(SegmentHeader, SegmentProof)>,
        segment_index: fn(usize) -> usize,
    ) -> Vec<u8> {
        let indexed_deltas: Vec<_> = self
            .changes
            .iter()
            .enumerate()
            .map(|(nth, change)| (segment_index(nth), change.id(), change.delta()))
            .collect();
        columnar::encode(root, &segments, &indexed_deltas)
    }
}

fn write_key(peer: &mut GroupPeer, n: u64) {
    let puts = BTreeMap::from([(format!("config/db keys.k{n}"), Value::Int(n as i64))]);
    peer.write(ShardName::Desired, puts, 0);
}

fn desired_root(peer: &GroupPeer) -> ShardRoot {
    peer.group.desired().unwrap().root().clone()
}

/// Ingests a batch of any content, and checks that the group is intact afterwards.
fn assert_batch_reaches(peers: &mut [GroupPeer], batch: &[u8], reach: u64) {
    let (first, rest) = peers.split_first_mut().unwrap();
    let root = desired_root(first);
    let forged = ForgedChain::from_peer(first);
    let [b, c] = rest else { panic!() };
    let outcome = b.group.ingest_batch(root.shard_id(), batch);
    b.store.write(&outcome.rows);
    assert_eq!(
        b.group.shard_states().accepted_len(&root.shard_id(), &forged.chain_id),
        reach,
        "{:?}",
        outcome.rejection
    );
    b.reload();
    check_documents(b);
    pull_all(b, c);
    assert_eq!(c.group.shard_states().accepted_len(&root.shard_id(), &forged.chain_id), reach);
    c.reload();
}

#[test]
fn batch_with_a_surplus_checkpoint_is_rejected() {
    let mut peers = new_peers(3);
    (0..10).for_each(|n| write_key(&mut peers[0], n));
    let forged = ForgedChain::from_peer(&mut peers[0]);
    let proof = SegmentProof { checkpoints: vec![Sig([7; 64])], end_proof: forged.end_proof(vec![]) };
    let batch = forged.encode_batch(&desired_root(&peers[0]), proof);
    assert_batch_reaches(&mut peers, &batch, 0);
}

#[test]
fn end_proof_beyond_the_next_checkpoint_is_rejected() {
    let mut peers = new_peers(3);
    (0..5).for_each(|n| write_key(&mut peers[0], n));
    let (root, mut forged) = (desired_root(&peers[0]), ForgedChain::from_peer(&mut peers[0]));
    (0..5).for_each(|n| forged.push_invalid_change(&root, &format!("config/db keys.k{n}")));
    let ahead = |count: u8| (0..count).map(|n| ChangeId([n; 32])).collect::<Vec<_>>();
    let far_proof = SegmentProof {
        checkpoints: vec![],
        end_proof: forged.end_proof(ahead(limits::MAX_END_PROOF_HASHES as u8)),
    };
    let batch = forged.encode_batch(&root, far_proof);
    assert_batch_reaches(&mut peers, &batch, 0);
    let near_proof = SegmentProof { checkpoints: vec![], end_proof: forged.end_proof(ahead(64 - 10)) };
    let batch = forged.encode_batch(&root, near_proof);
    assert_batch_reaches(&mut peers, &batch, 5);
}

#[test]
fn chain_with_an_invalid_change_is_accepted_up_to_the_last_checkpoint() {
    let mut peers = new_peers(3);
    (0..64).for_each(|n| write_key(&mut peers[0], n));
    let (root, mut forged) = (desired_root(&peers[0]), ForgedChain::from_peer(&mut peers[0]));
    let checkpoint = forged.end_proof(vec![]).signature;
    forged.push_invalid_change(&root, "config/db keys.k0");
    let ahead = (0..63).map(|n| ChangeId([n; 32])).collect();
    let proof = SegmentProof { checkpoints: vec![checkpoint], end_proof: forged.end_proof(ahead) };
    let batch = forged.encode_batch(&root, proof);
    assert_batch_reaches(&mut peers, &batch, 64);
}

/// A batch that contains one chain in two segments. The signature does not cover the changes that would be
/// ingested.
#[test]
fn batch_that_names_a_chain_twice_is_rejected() {
    let mut peers = new_peers(3);
    (0..3).for_each(|n| write_key(&mut peers[0], n));
    let [a, b, _] = &mut peers[..] else { panic!() };
    pull_all(a, b);
    write_key(a, 3);
    let (root, mut forged) = (desired_root(a), ForgedChain::from_peer(a));
    // The author signs its three changes, then its first again, then the fourth.
    let mut chain_hash = first_chain_hash(forged.group, forged.shard_id, forged.chain_id);
    for nth in [0, 1, 2, 0, 3] {
        chain_hash = next_chain_hash(&chain_hash, forged.changes[nth].id());
    }
    let signature = chain::sign_chain(&forged.secret, forged.group, forged.shard_id, 5, &chain_hash);
    let proof = SegmentProof { checkpoints: vec![], end_proof: EndProof { ids_ahead: vec![], signature } };
    let second_header = SegmentHeader { after: 3, base_id: forged.changes[2].id(), ..forged.header.clone() };
    forged.changes = vec![forged.changes[0].clone(), forged.changes[3].clone()];
    let batch = forged.encode_segments(
        &root,
        vec![(forged.header.clone(), proof.clone()), (second_header, proof)],
        |nth| nth,
    );
    assert_batch_reaches(&mut peers, &batch, 3);
}

#[test]
fn absurd_ranges_are_served_without_a_panic() {
    let mut peers = new_peers(1);
    (0..3).for_each(|n| write_key(&mut peers[0], n));
    let shard_id = desired_root(&peers[0]).shard_id();
    let position = peers[0].group.shard_states().chain_positions(&shard_id)[0].clone();
    let upto = Tip { seq: u64::MAX, ..position.tips[0] };
    let range_from = |after| ChainRange { chain_id: position.chain_id, after, upto };
    assert_eq!(peers[0].group.next_batch(&shard_id, &[range_from(u64::MAX)]), None);
    let (whole, more) = peers[0].group.next_batch(&shard_id, &[range_from(0)]).unwrap();
    assert!(!more);
    let many = vec![range_from(0); limits::MAX_REQUESTED_CHAINS];
    assert_eq!(peers[0].group.next_batch(&shard_id, &many), Some((whole, false)), "a chain is sent once");
}

/// A change of one field on top of the root, as the holder of `grant` would write it.
fn first_delta(root: &ShardRoot, grant: GrantId) -> Delta {
    let put = crate::delta::Put { key: "config/db keys.k".to_owned(), value: Value::Int(1), preds: vec![] };
    Delta {
        shard_id: root.shard_id(),
        grant,
        incarnation: Incarnation([4; 16]),
        seq: 1,
        deps: vec![root.id()],
        start_op: root.max_op() + 1,
        time: 1,
        message: String::new(),
        puts: vec![put],
    }
}

/// Signs a delta as the first change of its chain.
fn sign_delta(root: &ShardRoot, delta: Delta, secret: &SecretKey) -> SignedDelta {
    let chain_id = delta.chain_id(root.group());
    let encoded = EncodedChange::new(root, delta).unwrap();
    let chain_hash =
        next_chain_hash(&first_chain_hash(root.group(), root.shard_id(), chain_id), encoded.id());
    let signature = chain::sign_chain(secret, root.group(), root.shard_id(), 1, &chain_hash);
    SignedDelta { delta: encoded.bytes().to_vec(), signature }
}

#[test]
fn change_signed_for_one_group_or_shard_is_rejected_in_others() {
    let here = &mut new_peers(2)[0];
    let (founder, genesis) = (secret_key(1), here.group.records().genesis());
    let signed_change = sign_delta(&desired_root(here), first_delta(&desired_root(here), genesis), &founder);
    let mut other = Group::new(
        RecordSet::from_genesis(create_genesis(&founder, "other", [8; 16], secret_key(200).node_id()))
            .unwrap(),
    );
    let (other_root, grant) = (other.desired().unwrap().root().clone(), other.records().genesis());
    let observed = ShardRoot::derive(here.group.id(), ShardName::Observed(genesis));
    let resigned = |root: &ShardRoot, grant| {
        let delta = sign_delta(root, first_delta(root, grant), &founder).delta;
        SignedDelta { delta, signature: signed_change.signature }
    };
    // Each change is sent unaltered, and encoded for the other shard so that only the signature is wrong.
    for change in [&signed_change, &resigned(&other_root, grant)] {
        let outcome = other.ingest_push(other_root.shard_id(), change);
        assert!(outcome.rejection.is_some() && outcome.new_changes.is_empty(), "{outcome:?}");
    }
    for change in [&signed_change, &resigned(&observed, genesis)] {
        let outcome = here.group.ingest_push(observed.shard_id(), change);
        assert!(outcome.rejection.is_some() && outcome.new_changes.is_empty(), "{outcome:?}");
    }
    let fault = other.apply_records(here.group.records().iter().cloned()).fault;
    assert_eq!(fault, Some(crate::record::RecordFault::Foreign));
    // With a signature for that shard, the change is accepted.
    assert_eq!(here.group.ingest_push(desired_root(here).shard_id(), &signed_change).new_changes.len(), 1);
    let right = sign_delta(&observed, first_delta(&observed, genesis), &founder);
    assert_eq!(here.group.ingest_push(observed.shard_id(), &right).new_changes.len(), 1);
    let right = sign_delta(&other_root, first_delta(&other_root, grant), &founder);
    assert_eq!(other.ingest_push(other_root.shard_id(), &right).new_changes.len(), 1);
}

/// In Automerge the greatest counter wins. A counter that follows from no other would win for ever.
#[test]
fn change_with_a_wrong_start_op_is_rejected() {
    let here = &mut new_peers(1)[0];
    let (root, genesis) = (desired_root(here), here.group.records().genesis());
    let right = root.max_op() + 1;
    for start_op in [0, 1, right - 1, right + 1, 1 << 31, 1 << 40, u64::MAX - 1, u64::MAX] {
        let delta = Delta { start_op, ..first_delta(&root, genesis) };
        let signed_change = match EncodedChange::new(&root, delta.clone()) {
            Ok(_) => sign_delta(&root, delta, &secret_key(1)),
            Err(_) => SignedDelta { delta: delta.encode(), signature: Sig([7; 64]) },
        };
        let outcome = here.group.ingest_push(root.shard_id(), &signed_change);
        assert!(outcome.rejection.is_some() && outcome.new_changes.is_empty(), "{start_op}: {outcome:?}");
    }
    let signed_change = sign_delta(&root, first_delta(&root, genesis), &secret_key(1));
    assert_eq!(here.group.ingest_push(root.shard_id(), &signed_change).new_changes.len(), 1);
}
