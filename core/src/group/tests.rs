//! Random histories of a few writers, merged by windows and pushes, against what must hold of every group.

mod drafts;
mod edits;
mod hostile;
mod journal;
mod worlds;

use std::collections::BTreeMap;

use super::*;
use crate::delta::SignedDelta;
use crate::id::{Incarnation, Secret};
use crate::record::{Body, Grant, Record, Role, Signer, found};
use crate::store::Memory;
use crate::value::Value;

/// A small deterministic generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

struct Peer {
    secret: Secret,
    group: Group,
    store: Memory,
    lives: u64,
}

impl Peer {
    fn write(&mut self, shard: ShardName, puts: BTreeMap<String, Value>, time: i64) -> Option<ChangeId> {
        self.lives += 1;
        let note = Note { words: "why".into(), user: "root".into(), command: "larder set".into(), time };
        let fresh = Incarnation(crate::id::hash16("test life", &[&self.lives.to_be_bytes()]));
        let written = self.group.write(&self.secret, shard, puts, &note, fresh).unwrap();
        self.store.write(&written.taken.rows);
        written.id
    }

    fn take(&mut self, taken: Taken) -> Taken {
        assert_eq!(taken.refused, None);
        self.store.write(&taken.rows);
        taken
    }

    fn reload(&mut self) {
        let genesis = self.group.records().genesis();
        self.store.write(&self.group.rows());
        let mut loaded = Group::load(&self.store, self.group.id(), genesis).unwrap();
        assert_eq!(loaded.take_mended(), [], "the rows say all that follows from them");
        assert_eq!(loaded.digest(&[]), self.group.digest(&[]));
        journal::tells_what_counts(&self.store, &loaded);
        self.group = loaded;
    }
}

fn secret(n: u8) -> Secret {
    Secret::from_bytes(&[n; 32])
}

/// A group with `n` operators, the first its founder.
fn peers(n: u8) -> Vec<Peer> {
    peers_called(n, "")
}

/// The same, all but the founder with this alias.
fn peers_called(n: u8, alias: &str) -> Vec<Peer> {
    let genesis = found(&secret(1), "shop", [9; 16], secret(200).node());
    let grant_id = genesis.id();
    let mut records = vec![];
    let mut prev = crate::id::RecordId::ZERO;
    for i in 2..=n {
        let grant = Grant {
            key: secret(i).node(),
            role: Role::Operator,
            alias: alias.to_owned(),
            labels: vec![],
            invite: None,
        };
        let record = Record {
            group: genesis.founds().unwrap(),
            grant: grant_id,
            signer: Signer::Holder,
            seq: u64::from(i) - 1,
            prev,
            body: Body::Grant(grant),
            remark: None,
        }
        .sign(&secret(1));
        prev = record.id();
        records.push(record);
    }
    (1..=n)
        .map(|i| {
            let mut group = Group::new(Records::begin(genesis.clone()).unwrap());
            // Out of order on purpose: a record waits for the one before it.
            let recorded = group.record(records.iter().rev().cloned());
            assert_eq!((recorded.new.len(), recorded.fault), (records.len(), None));
            let mut store = Memory::default();
            store.write(&recorded.rows);
            Peer { secret: secret(i), group, store, lives: 1000 * u64::from(i) }
        })
        .collect()
}

fn epochs(group: &Group) -> Vec<EpochId> {
    group.shards().map(|shard| shard.root().epoch()).collect()
}

/// Brings `to` up to what `from` has, window by window.
fn pull(from: &mut Peer, to: &mut Peer) {
    for epoch in epochs(&from.group) {
        for _ in 0..1000 {
            let wants: Vec<Want> = from
                .group
                .positions(&epoch)
                .iter()
                .filter_map(|position| {
                    let after = to.group.reach(&epoch, &position.actor);
                    let upto = *position.tips.first()?;
                    (upto.seq > after).then_some(Want { actor: position.actor, after, upto })
                })
                .collect();
            let Some((window, _)) = from.group.window(&epoch, &wants) else { break };
            let taken = to.group.take_window(epoch, &window);
            let taken = to.take(taken);
            assert!(!taken.new.is_empty() && !taken.gap, "each window brings something");
        }
    }
}

/// A second machine with the same key and the same store.
fn copy(peer: &Peer) -> Peer {
    let (secret, group, store) = (peer.secret.clone(), peer.group.clone(), peer.store.clone());
    Peer { secret, group, store, lives: peer.lives }
}

fn one(key: &str, value: i64) -> BTreeMap<String, Value> {
    BTreeMap::from([(key.to_owned(), Value::Int(value))])
}

/// What `to` would ask `from` for in `desired`.
fn wants(from: &Group, to: &Group) -> (EpochId, Vec<Want>) {
    let epoch = from.desired().unwrap().root().epoch();
    let positions = from.positions(&epoch);
    let wants = positions.iter().filter_map(|position| {
        let after = to.reach(&epoch, &position.actor);
        let upto = position.tips[0];
        (upto.seq > after).then_some(Want { actor: position.actor, after, upto })
    });
    (epoch, wants.collect())
}

fn check(peer: &mut Peer) {
    peer.group.flush();
    for shard in peer.group.shards() {
        assert_eq!(shard.document().isolated(), None);
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
            let delta = shard.delta(&entry.id).unwrap();
            let bytes = delta.encode();
            assert_eq!(crate::delta::Delta::decode(&bytes), Ok(delta.clone()));
            let again = crate::delta::compose::Composed::new(shard.root(), delta).unwrap();
            assert_eq!(again.id(), entry.id, "composing is a bijection");
        }
    }
}

fn value(dice: &mut Dice, n: u64) -> Value {
    match dice.roll(7) {
        0 => Value::Null,
        1 => Value::Bool(n.is_multiple_of(2)),
        2 => Value::Int(n.cast_signed().wrapping_neg()),
        3 => Value::Float(n as f64 / 3.0),
        4 => Value::Bytes(vec![n as u8; (n % 50) as usize]),
        _ => Value::Str(format!("value {n}")),
    }
}

fn random_history(seed: u64) {
    let mut dice = Dice(seed);
    let mut peers = peers(2 + dice.roll(4) as u8);
    let steps = 20 + dice.roll(150);
    for step in 0..steps {
        let at = dice.roll(peers.len() as u64) as usize;
        match dice.roll(10) {
            0 | 1 if peers.len() > 1 => {
                let other = (at + 1 + dice.roll(peers.len() as u64 - 1) as usize) % peers.len();
                let [from, to] = peers.get_disjoint_mut([at, other]).unwrap();
                pull(from, to);
            }
            2 if dice.roll(4) == 0 => peers[at].reload(),
            3 => {
                let puts = BTreeMap::from([("config/db".to_owned(), value(&mut dice, step))]);
                peers[at].write(ShardName::Observed(crate::id::RecordId::ZERO), puts, step as i64);
            }
            _ => {
                let puts = (0..1 + dice.roll(3))
                    .map(|_| (format!("config/db keys.k{}", dice.roll(6)), value(&mut dice, step)))
                    .collect();
                peers[at].write(ShardName::Desired, puts, step as i64);
            }
        }
    }
    for _ in 0..2 {
        for i in 0..peers.len() {
            for j in 0..peers.len() {
                if i != j {
                    let [from, to] = peers.get_disjoint_mut([i, j]).unwrap();
                    pull(from, to);
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
        check(peer);
        peer.reload();
        check(peer);
    }
}

#[test]
fn random_histories_converge_and_come_back() {
    for seed in 0..40 {
        random_history(seed);
    }
}

#[test]
fn a_push_is_let_in_once_and_orphans_wait() {
    let mut peers = peers(3);
    let key = |n: u64| BTreeMap::from([(format!("config/db keys.k{n}"), Value::Int(1))]);
    let [a, b, c] = &mut peers[..] else { panic!() };
    let push = |peer: &Peer, id: ChangeId| {
        let shard = peer.group.desired().unwrap();
        let entry = shard.graph().get(&id).unwrap();
        let actor = shard.graph().chain_of(entry).unwrap().actor;
        let signature = peer.group.signature_of(&shard.root().epoch(), &actor, entry.seq).unwrap();
        (shard.root().epoch(), SignedDelta { delta: shard.delta(&id).unwrap().encode(), signature })
    };
    let first = a.write(ShardName::Desired, key(1), 0).unwrap();
    a.group.flush();
    let (epoch, first) = push(a, first);
    let taken = b.group.take_push(epoch, &first);
    assert_eq!(b.take(taken).new.len(), 1);
    let taken = b.group.take_push(epoch, &first);
    assert!(b.take(taken).new.is_empty(), "known");
    let second = b.write(ShardName::Desired, key(2), 0).unwrap();
    b.group.flush();
    let (_, second) = push(b, second);
    // The answer overtakes what it answers.
    let taken = c.group.take_push(epoch, &second);
    assert!(taken.new.is_empty() && taken.gap && c.group.waiting() == 1);
    let taken = c.group.take_push(epoch, &first);
    assert_eq!(taken.new.len(), 2);
    assert_eq!(c.group.waiting(), 0);
    assert_eq!(c.group.digest(&[]), b.group.digest(&[]));
    // A false signature is refused, and is not held against the change.
    let third = b.write(ShardName::Desired, key(3), 0).unwrap();
    b.group.flush();
    let (_, third) = push(b, third);
    let forged = SignedDelta { signature: first.signature, ..third.clone() };
    assert!(c.group.take_push(epoch, &forged).refused.is_some());
    assert_eq!(c.group.take_push(epoch, &third).new.len(), 1);
}

#[test]
fn a_window_cut_anywhere_is_proved_and_passed_on() {
    let mut peers = peers(3);
    let [a, b, c] = &mut peers[..] else { panic!() };
    for n in 0..200u64 {
        let big = "x".repeat(9000);
        a.write(
            ShardName::Desired,
            BTreeMap::from([(format!("file/f{} content", n % 7), Value::Str(format!("{n}{big}")))]),
            0,
        );
    }
    let epoch = a.group.desired().unwrap().root().epoch();
    let position = a.group.positions(&epoch)[0].clone();
    let want = |group: &Group| Want {
        actor: position.actor,
        after: group.reach(&epoch, &position.actor),
        upto: position.tips[0],
    };
    let (window, more) = a.group.window(&epoch, &[want(&b.group)]).unwrap();
    assert!(more);
    let taken = b.group.take_window(epoch, &window);
    b.take(taken);
    let reach = b.group.reach(&epoch, &position.actor);
    assert!(reach > 64 && reach < 200 && !reach.is_multiple_of(64), "cut between two signatures, at {reach}");
    b.reload();
    pull(b, c);
    assert_eq!(c.group.reach(&epoch, &position.actor), reach);
    let mut broken = a.group.window(&epoch, &[want(&c.group)]).unwrap().0;
    let last = broken.len() - 1;
    broken[last] ^= 1;
    assert!(c.group.take_window(epoch, &broken).new.is_empty());
    pull(a, c);
    assert_eq!(c.group.digest(&[]), a.group.digest(&[]));
}

#[test]
fn a_reader_writes_nothing_and_a_stranger_is_no_author() {
    let mut peers = peers(2);
    let puts = BTreeMap::from([("config/db keys.k".to_owned(), Value::Int(1))]);
    let error =
        peers[0].group.write(&secret(77), ShardName::Desired, puts, &Note::default(), Incarnation::ZERO);
    assert_eq!(error.unwrap_err(), AuthorError::Member);
}

#[test]
fn many_heads_are_merged_before_they_are_too_many() {
    let mut peers = peers(100);
    for (n, peer) in peers.iter_mut().enumerate() {
        let puts = BTreeMap::from([("config/db keys.k".to_owned(), Value::Int(n as i64))]);
        peer.write(ShardName::Desired, puts, 0);
    }
    let mut first = peers.remove(0);
    for peer in &mut peers {
        pull(peer, &mut first);
    }
    assert_eq!(first.group.desired().unwrap().graph().heads().len(), 100);
    let puts = BTreeMap::from([("config/db keys.k".to_owned(), Value::Int(-1))]);
    first.write(ShardName::Desired, puts, 0).unwrap();
    check(&mut first);
    assert_eq!(first.group.desired().unwrap().graph().heads().len(), 1);
    assert_eq!(first.group.desired().unwrap().state().get("config/db keys.k").len(), 1);
    pull(&mut first, &mut peers[0]);
    assert_eq!(first.group.digest(&[]), peers[0].group.digest(&[]));
    first.reload();
    check(&mut first);
}

fn note(words: &str, user: &str, command: &str) -> Note {
    Note { words: words.into(), user: user.into(), command: command.into(), time: 5 }
}

#[test]
fn a_note_comes_back() {
    for (words, user, command) in
        [("", "root", "larder set x"), ("two\nlines", "", ""), ("a\n\nUser: b", "root", "c d"), ("", "", "")]
    {
        let note = note(words, user, command);
        assert_eq!(Note::read(&note.message(), 5), note);
    }
    assert_eq!(note("why", "root", "larder set x").message(), "why\n\nUser: root\nCommand: larder set x");
    assert_eq!(note("why", "", "").message(), "why");
}

#[test]
fn whatever_the_words_are_they_are_no_trailers() {
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
    let mut dice = Dice(7);
    for _ in 0..20_000 {
        let words: String =
            (0..dice.roll(7)).map(|_| pieces[dice.roll(pieces.len() as u64) as usize]).collect();
        let user = ["", "root", "User: x", " "][dice.roll(4) as usize];
        let command = ["", "larder set x", "Command: y"][dice.roll(3) as usize];
        let note = note(&words, user, command);
        assert_eq!(Note::read(&note.message(), 5), note, "{:?}", note.message());
    }
}

#[test]
fn long_words_are_cut_and_trailers_are_not() {
    for word in ["x", "é", "\u{1f600}", "User: x\n", "\n"] {
        let long = note(&word.repeat(5000), "root", "larder set x");
        let message = long.message();
        assert!(message.len() <= crate::limits::MESSAGE_BYTES && message.len() > 4000, "{}", message.len());
        let read = Note::read(&message, 5);
        assert_eq!((read.user, read.command), (long.user, long.command));
        assert!(long.words.starts_with(&read.words) && read.words.len() > 4000);
        let long = note(&word.repeat(5000), &"é".repeat(5000), &"c".repeat(5000));
        assert!(long.message().len() <= crate::limits::MESSAGE_BYTES);
        let read = Note::read(&long.message(), 5);
        assert!(read.words.len() > 2000 && read.user.len() > 1000 && read.command.len() > 1000);
        let bare = note(&word.repeat(5000), "", "").message();
        assert!(bare.len() <= crate::limits::MESSAGE_BYTES);
        assert!(long.words.starts_with(&Note::read(&bare, 5).words));
    }
}

#[test]
fn a_false_signature_keeps_out_its_own_chain_only() {
    let mut peers = peers(3);
    let [a, b, c] = &mut peers[..] else { panic!() };
    a.write(ShardName::Desired, one("config/db keys.a", 1), 0);
    let fine = c.write(ShardName::Desired, one("config/db keys.c", 1), 0).unwrap();
    pull(a, c);
    let (epoch, wants) = wants(&c.group, &b.group);
    let window = c.group.window(&epoch, &wants).unwrap().0;
    let root = c.group.desired().unwrap().root().clone();
    let mut read = crate::delta::columns::decode(&root, &window).unwrap();
    let author = |head: &crate::delta::columns::Head| {
        c.group.members().grant(&head.grant).map(|standing| standing.key)
    };
    for (head, proof) in &mut read.chains {
        if author(head) == Some(a.secret.node()) {
            proof.cover.signature.0[0] ^= 1;
        }
    }
    let places: Vec<_> = read
        .changes
        .iter()
        .map(|composed| {
            let grant = composed.delta().grant;
            let place = read.chains.iter().position(|(head, _)| head.grant == grant).unwrap();
            (place, composed.id(), composed.delta())
        })
        .collect();
    let broken = crate::delta::columns::encode(&root, &read.chains, &places);
    let taken = b.group.take_window(epoch, &broken);
    assert_eq!(taken.new.iter().map(|new| new.id).collect::<Vec<_>>(), [fine]);
    assert!(taken.refused.is_some() && taken.stuck.len() == 1);
    assert_eq!(b.group.refused().count(), 0, "somebody else may bring it with the right one");
    b.store.write(&taken.rows);
    pull(a, b);
    assert_eq!(b.group.digest(&[]), c.group.digest(&[]));
}
