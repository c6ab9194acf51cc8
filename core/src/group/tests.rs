//! Random histories of a few writers, exchanged by batches and pushes and checked against the invariants of a
//! group.

mod edit_conflicts;
mod edit_transactions;
mod field_spellings;
mod hostile_batches;
mod journal;
mod random_worlds;
mod removed_author;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::delta::{Delta, SignedDelta};
use crate::id::{ChainId, ChangeId, Incarnation, SecretKey};
use crate::limits;
use crate::record::{Grant, Record, RecordBody, Role, Signer, create_genesis};
use crate::shard::chain::EndProof;
use crate::shard::root::ShardRoot;
use crate::store::{MemoryStore, Table, key};
use crate::test_support::{GroupPeer, TestRng, missing_ranges, pull_all, secret_key};
use crate::value::Value;

impl Group {
    /// Replaces the end proof of a chain without a check.
    pub(crate) fn replace_end_proof(&mut self, shard_id: &ShardId, chain_id: &ChainId, end_proof: EndProof) {
        let state = self.shards.get_mut(shard_id).unwrap();
        state.shard.chain_mut(chain_id).unwrap().set_end_proof(end_proof);
    }
}

impl GroupPeer {
    fn apply_outcome(&mut self, outcome: IngestOutcome) -> IngestOutcome {
        assert_eq!(outcome.rejection, None);
        self.store.write(&outcome.rows);
        outcome
    }

    fn reload(&mut self) {
        let genesis = self.group.records().genesis();
        self.store.write(&self.group.initial_rows());
        let mut loaded = Group::load(&self.store, self.group.id(), genesis).unwrap();
        assert_eq!(loaded.take_repair_rows(), [], "the rows need no repair");
        assert_eq!(loaded.digest(&[]), self.group.digest(&[]));
        journal::assert_journal_matches(&self.store, &loaded);
        self.group = loaded;
    }
}

/// A group with `count` operators, the first its founder.
fn new_peers(count: u8) -> Vec<GroupPeer> {
    GroupPeer::new_group(count, |_| String::new())
}

fn shard_ids(group: &Group) -> Vec<ShardId> {
    group.shards().map(|shard| shard.root().shard_id()).collect()
}

fn single_put(key: &str, value: i64) -> BTreeMap<String, Value> {
    BTreeMap::from([(key.to_owned(), Value::Int(value))])
}

fn check_documents(peer: &mut GroupPeer) {
    peer.group.flush_documents();
    for shard in peer.group.shards() {
        assert_eq!(shard.document().fault(), None);
        assert_eq!(shard.graph().heads(), shard.document().heads());
        let read: BTreeMap<_, _> = shard
            .document()
            .read_all(shard.root())
            .unwrap()
            .into_iter()
            .map(|(key, mut visible)| {
                visible.sort_by_key(|value| value.op);
                (key, visible)
            })
            .collect();
        let kept: BTreeMap<_, _> =
            shard.state().iter().map(|(key, v)| (key.to_owned(), v.to_vec())).collect();
        assert_eq!(read, kept, "our state is Automerge's");
        for entry in shard.graph().iter() {
            let delta = shard.read_delta(&entry.id).unwrap();
            let bytes = delta.encode();
            assert_eq!(crate::delta::Delta::decode(&bytes), Ok(delta.clone()));
            let again = crate::delta::encoded_change::EncodedChange::new(shard.root(), delta).unwrap();
            assert_eq!(again.id(), entry.id, "composing is a bijection");
        }
    }
}

fn random_value(rng: &mut TestRng, n: u64) -> Value {
    match rng.below(7) {
        0 => Value::Null,
        1 => Value::Bool(n.is_multiple_of(2)),
        2 => Value::Int(n.cast_signed().wrapping_neg()),
        3 => Value::Float(n as f64 / 3.0),
        4 => Value::Bytes(vec![n as u8; (n % 50) as usize]),
        _ => Value::Str(format!("value {n}")),
    }
}

fn random_history(seed: u64) {
    let mut rng = TestRng::from_seed(seed);
    let mut peers = new_peers(2 + rng.below(4) as u8);
    let steps = 20 + rng.below(150);
    for step in 0..steps {
        let peer_index = rng.below(peers.len() as u64) as usize;
        match rng.below(10) {
            0 | 1 if peers.len() > 1 => {
                let other = (peer_index + 1 + rng.below(peers.len() as u64 - 1) as usize) % peers.len();
                let [from, to] = peers.get_disjoint_mut([peer_index, other]).unwrap();
                pull_all(from, to);
            }
            2 if rng.below(4) == 0 => peers[peer_index].reload(),
            3 => {
                let puts = BTreeMap::from([("config/db".to_owned(), random_value(&mut rng, step))]);
                peers[peer_index].write(ShardName::Observed(crate::id::RecordId::ZERO), puts, step as i64);
            }
            _ => {
                let puts = (0..1 + rng.below(3))
                    .map(|_| (format!("config/db keys.k{}", rng.below(6)), random_value(&mut rng, step)))
                    .collect();
                peers[peer_index].write(ShardName::Desired, puts, step as i64);
            }
        }
    }
    for _ in 0..2 {
        for i in 0..peers.len() {
            for j in 0..peers.len() {
                if i != j {
                    let [from, to] = peers.get_disjoint_mut([i, j]).unwrap();
                    pull_all(from, to);
                }
            }
        }
    }
    let digest = peers[0].group.digest(&[]);
    let state: Vec<_> =
        peers[0].group.desired().unwrap().state().iter().map(|(k, v)| (k.to_owned(), v.to_vec())).collect();
    for peer in &mut peers {
        assert_eq!(peer.group.digest(&[]), digest, "seed {seed}");
        let mine: Vec<_> =
            peer.group.desired().unwrap().state().iter().map(|(k, v)| (k.to_owned(), v.to_vec())).collect();
        assert_eq!(mine, state, "seed {seed}");
        check_documents(peer);
        peer.reload();
        check_documents(peer);
    }
}

#[test]
fn random_histories_converge_and_reload_from_the_store() {
    for seed in 0..40 {
        random_history(seed);
    }
}

#[test]
fn pushed_change_is_accepted_once_and_waits_for_missing_deps() {
    let mut peers = new_peers(3);
    let put_of = |n: u64| BTreeMap::from([(format!("config/db keys.k{n}"), Value::Int(1))]);
    let [a, b, c] = &mut peers[..] else { panic!() };
    let signed_change = |peer: &GroupPeer, id: ChangeId| {
        let shard = peer.group.desired().unwrap();
        let entry = shard.graph().get(&id).unwrap();
        let chain_id = shard.graph().chain_of(entry).unwrap().id;
        let signature = shard.graph().chain(&chain_id).unwrap().end_proof().unwrap().signature;
        (shard.root().shard_id(), SignedDelta { delta: shard.read_delta(&id).unwrap().encode(), signature })
    };
    let first = a.write(ShardName::Desired, put_of(1), 0).unwrap();
    a.group.flush_documents();
    let (shard_id, first) = signed_change(a, first);
    let outcome = b.group.ingest_push(shard_id, &first);
    assert_eq!(b.apply_outcome(outcome).new_changes.len(), 1);
    let outcome = b.group.ingest_push(shard_id, &first);
    assert!(b.apply_outcome(outcome).new_changes.is_empty(), "known");
    let second = b.write(ShardName::Desired, put_of(2), 0).unwrap();
    b.group.flush_documents();
    let (_, second) = signed_change(b, second);
    // The second change arrives before the first.
    let outcome = c.group.ingest_push(shard_id, &second);
    assert!(outcome.new_changes.is_empty() && outcome.has_gap && c.group.orphan_count() == 1);
    let outcome = c.group.ingest_push(shard_id, &first);
    assert_eq!(outcome.new_changes.len(), 2);
    assert_eq!(c.group.orphan_count(), 0);
    assert_eq!(c.group.digest(&[]), b.group.digest(&[]));
    // A false signature is rejected, but the change itself is not.
    let third = b.write(ShardName::Desired, put_of(3), 0).unwrap();
    b.group.flush_documents();
    let (_, third) = signed_change(b, third);
    let forged = SignedDelta { signature: first.signature, ..third.clone() };
    assert!(c.group.ingest_push(shard_id, &forged).rejection.is_some());
    assert_eq!(c.group.ingest_push(shard_id, &third).new_changes.len(), 1);
}

#[test]
fn batch_cut_between_checkpoints_is_proved_and_can_be_served_on() {
    let mut peers = new_peers(3);
    let [a, b, c] = &mut peers[..] else { panic!() };
    for n in 0..200u64 {
        let big = "x".repeat(9000);
        a.write(
            ShardName::Desired,
            BTreeMap::from([(format!("file/f{} content", n % 7), Value::Str(format!("{n}{big}")))]),
            0,
        );
    }
    let shard_id = a.group.desired().unwrap().root().shard_id();
    let position = a.group.shard_states().chain_positions(&shard_id)[0].clone();
    let range_for = |group: &Group| ChainRange {
        chain_id: position.chain_id,
        after: group.shard_states().accepted_len(&shard_id, &position.chain_id),
        upto: position.tips[0],
    };
    let (batch, more) = a.group.next_batch(&shard_id, &[range_for(&b.group)]).unwrap();
    assert!(more);
    let outcome = b.group.ingest_batch(shard_id, &batch);
    b.apply_outcome(outcome);
    let reach = b.group.shard_states().accepted_len(&shard_id, &position.chain_id);
    assert!(reach > 64 && reach < 200 && !reach.is_multiple_of(64), "cut between two signatures, at {reach}");
    b.reload();
    pull_all(b, c);
    assert_eq!(c.group.shard_states().accepted_len(&shard_id, &position.chain_id), reach);
    let mut corrupted = a.group.next_batch(&shard_id, &[range_for(&c.group)]).unwrap().0;
    let last = corrupted.len() - 1;
    corrupted[last] ^= 1;
    assert!(c.group.ingest_batch(shard_id, &corrupted).new_changes.is_empty());
    pull_all(a, c);
    assert_eq!(c.group.digest(&[]), a.group.digest(&[]));
}

#[test]
fn non_member_cannot_write() {
    let mut peers = new_peers(2);
    let puts = BTreeMap::from([("config/db keys.k".to_owned(), Value::Int(1))]);
    let error = peers[0].group.write(
        &secret_key(77),
        ShardName::Desired,
        puts,
        &ChangeNote::default(),
        Incarnation::ZERO,
    );
    assert_eq!(error.unwrap_err(), WriteError::NotMember);
}

#[test]
fn heads_beyond_the_deps_limit_are_merged_before_a_write() {
    let mut peers = new_peers(100);
    for (n, peer) in peers.iter_mut().enumerate() {
        let puts = BTreeMap::from([("config/db keys.k".to_owned(), Value::Int(n as i64))]);
        peer.write(ShardName::Desired, puts, 0);
    }
    let mut first = peers.remove(0);
    for peer in &mut peers {
        pull_all(peer, &mut first);
    }
    assert_eq!(first.group.desired().unwrap().graph().heads().len(), 100);
    let puts = BTreeMap::from([("config/db keys.k".to_owned(), Value::Int(-1))]);
    first.write(ShardName::Desired, puts, 0).unwrap();
    check_documents(&mut first);
    assert_eq!(first.group.desired().unwrap().graph().heads().len(), 1);
    assert_eq!(first.group.desired().unwrap().state().get("config/db keys.k").len(), 1);
    pull_all(&mut first, &mut peers[0]);
    assert_eq!(first.group.digest(&[]), peers[0].group.digest(&[]));
    first.reload();
    check_documents(&mut first);
}

fn change_note(message: &str, user: &str, command: &str) -> ChangeNote {
    ChangeNote { message: message.into(), user: user.into(), command: command.into(), time: 5 }
}

#[test]
fn change_note_round_trips() {
    for (message, user, command) in
        [("", "root", "larder set x"), ("two\nlines", "", ""), ("a\n\nUser: b", "root", "c d"), ("", "", "")]
    {
        let note = change_note(message, user, command);
        assert_eq!(ChangeNote::decode(&note.encode(), 5), note);
    }
    assert_eq!(
        change_note("why", "root", "larder set x").encode(),
        "why\n\nUser: root\nCommand: larder set x"
    );
    assert_eq!(change_note("why", "", "").encode(), "why");
}

#[test]
fn message_text_that_looks_like_trailers_round_trips() {
    let pieces = [
        "User: a",
        "Command: b",
        "User:",
        "\n",
        "\n\n",
        " ",
        "\r",
        "word",
        "é",
        "\u{2028}",
        "User: ",
        "Command: ",
    ];
    let mut rng = TestRng::from_seed(7);
    for _ in 0..20_000 {
        let message: String =
            (0..rng.below(7)).map(|_| pieces[rng.below(pieces.len() as u64) as usize]).collect();
        let user = ["", "root", "User: x", " "][rng.below(4) as usize];
        let command = ["", "larder set x", "Command: y"][rng.below(3) as usize];
        let note = change_note(&message, user, command);
        assert_eq!(ChangeNote::decode(&note.encode(), 5), note, "{:?}", note.encode());
    }
}

#[test]
fn long_message_is_truncated_and_trailers_are_kept() {
    for word in ["x", "é", "\u{1f600}", "User: x\n", "\n"] {
        let long = change_note(&word.repeat(5000), "root", "larder set x");
        let message = long.encode();
        assert!(
            message.len() <= crate::limits::MAX_MESSAGE_BYTES && message.len() > 4000,
            "{}",
            message.len()
        );
        let read = ChangeNote::decode(&message, 5);
        assert_eq!((read.user, read.command), (long.user, long.command));
        assert!(long.message.starts_with(&read.message) && read.message.len() > 4000);
        let long = change_note(&word.repeat(5000), &"é".repeat(5000), &"c".repeat(5000));
        assert!(long.encode().len() <= crate::limits::MAX_MESSAGE_BYTES);
        let read = ChangeNote::decode(&long.encode(), 5);
        assert!(read.message.len() > 2000 && read.user.len() > 1000 && read.command.len() > 1000);
        let bare = change_note(&word.repeat(5000), "", "").encode();
        assert!(bare.len() <= crate::limits::MAX_MESSAGE_BYTES);
        assert!(long.message.starts_with(&ChangeNote::decode(&bare, 5).message));
    }
}

#[test]
fn false_signature_in_a_batch_rejects_only_its_own_chain() {
    let mut peers = new_peers(3);
    let [a, b, c] = &mut peers[..] else { panic!() };
    a.write(ShardName::Desired, single_put("config/db keys.a", 1), 0);
    let valid_id = c.write(ShardName::Desired, single_put("config/db keys.c", 1), 0).unwrap();
    pull_all(a, c);
    let shard_id = c.group.desired().unwrap().root().shard_id();
    let ranges = missing_ranges(&c.group, &b.group, &shard_id);
    let batch = c.group.next_batch(&shard_id, &ranges).unwrap().0;
    let root = c.group.desired().unwrap().root().clone();
    let mut read = crate::delta::columnar::decode(&root, &batch).unwrap();
    let author = |header: &crate::delta::columnar::SegmentHeader| {
        c.group.members().grant(&header.grant).map(|grant| grant.holder)
    };
    for (header, proof) in &mut read.segments {
        if author(header) == Some(a.secret.node_id()) {
            proof.end_proof.signature.0[0] ^= 1;
        }
    }
    let indexed_deltas: Vec<_> = read
        .changes
        .iter()
        .map(|encoded| {
            let grant = encoded.delta().grant;
            let segment_index = read.segments.iter().position(|(header, _)| header.grant == grant).unwrap();
            (segment_index, encoded.id(), encoded.delta())
        })
        .collect();
    let corrupted = crate::delta::columnar::encode(&root, &read.segments, &indexed_deltas);
    let outcome = b.group.ingest_batch(shard_id, &corrupted);
    assert_eq!(outcome.new_changes.iter().map(|new| new.id).collect::<Vec<_>>(), [valid_id]);
    assert!(outcome.rejection.is_some() && outcome.stuck_chains.len() == 1);
    assert_eq!(b.group.rejected().iter().count(), 0, "another peer may send it with the right one");
    b.store.write(&outcome.rows);
    pull_all(a, b);
    assert_eq!(b.group.digest(&[]), c.group.digest(&[]));
}
