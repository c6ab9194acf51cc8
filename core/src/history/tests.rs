//! Tests of the history: several operators write, diverge and merge, and then the past is queried.

mod applied_revision;
mod line_blame;
mod log;
mod revert;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::group::{ChainRange, ChangeNote, Group};
use crate::id::{ChangeId, Incarnation, NodeId, RecordId, SecretKey, Sig, hash16};
use crate::record::{Grant, Record, RecordBody, RecordSet, Role, Signer, create_genesis};
use crate::resource::conflict::conflicts;
use crate::resource::edit::{Edit as Draft, FieldEdit, Resolution};
use crate::resource::edit_transaction::plan_edits;
use crate::resource::literal::{self, Literal};
use crate::resource::{FieldPath, FieldRef, ResourceName};
use crate::shard::Shard;
use crate::shard::chain::EndProof;
use crate::shard::root::ShardName;
use crate::shard::state::VisibleState;
use crate::store::{MemoryStore, RowReader, Table};
use crate::typed_name::HistoryPoint;
use crate::value::Value;

/// A small deterministic generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014).
struct TestRng(u64);

impl TestRng {
    fn next_below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

struct HistoryTestPeer {
    secret: SecretKey,
    group: Group,
    incarnations: u64,
    user: &'static str,
    store: MemoryStore,
}

impl HistoryTestPeer {
    fn shard(&self) -> &Shard {
        self.group.desired().unwrap()
    }

    fn heads(&self) -> Vec<ChangeId> {
        self.shard().graph().heads()
    }

    fn put(&mut self, shard: ShardName, puts: BTreeMap<String, Value>, time: i64) -> Option<ChangeId> {
        self.incarnations += 1;
        let incarnation = Incarnation(hash16("test life", &[&self.incarnations.to_be_bytes()]));
        let note =
            ChangeNote { message: "why".into(), user: self.user.into(), command: "larder set".into(), time };
        let outcome = self.group.write(&self.secret, shard, puts, &note, incarnation).unwrap();
        self.group.flush_documents();
        self.store.write(&outcome.ingest.rows);
        outcome.change_id
    }

    fn edit(&mut self, edits: &[Draft], time: i64) -> ChangeId {
        let puts = plan_edits(self.shard(), edits, true).unwrap();
        self.put(ShardName::Desired, puts, time).unwrap()
    }

    /// Sets fields of `config/db`, each given as `field=literal`, `field+=literal`, `field-=literal` or
    /// `field-`.
    fn set(&mut self, fields: &[&str], time: i64) -> ChangeId {
        let fields = fields.iter().map(|text| field_edit(text)).collect();
        self.edit(&[Draft::Set { resource: resource_name("config/db"), fields, replace: false }], time)
    }

    fn log(&self, query: &LogQuery) -> Vec<LogEntry> {
        let entries = log(&self.group, query, &no_stored_rows);
        let stored =
            |key: &[u8]| self.store.read_rows(Table::Changes, key).unwrap().pop().map(|(_, row)| row);
        assert_eq!(log(&self.group, query, &stored), entries, "wherever it is read");
        // Rows that hold another change, or nothing that is one.
        let wrong_row = |key: &[u8]| stored(&key[..32]);
        assert_eq!(
            log(&self.group, query, &wrong_row),
            entries,
            "what is wrong in the store is not believed"
        );
        assert_eq!(log(&self.group, query, &|key| Some(key.to_vec())), entries);
        entries
    }
}

fn resource_name(text: &str) -> ResourceName {
    text.parse().unwrap()
}

fn field_edit(text: &str) -> (FieldPath, FieldEdit) {
    let scalar = |text: &str| match literal::parse(text).unwrap() {
        Literal::Scalar(value) => value,
        Literal::List(_) => panic!("one item"),
    };
    let (path, edit) = if let Some((path, value)) = text.split_once("+=") {
        (path, FieldEdit::Add(scalar(value)))
    } else if let Some((path, value)) = text.split_once("-=") {
        (path, FieldEdit::Remove(scalar(value)))
    } else if let Some((path, value)) = text.split_once('=') {
        (path, FieldEdit::Assign(literal::parse(value).unwrap()))
    } else {
        (text.strip_suffix('-').unwrap(), FieldEdit::Unset)
    };
    (path.parse().unwrap(), edit)
}

fn secret(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

/// Peers of a group with `n` operators. The first is the founder.
fn peers(n: u8) -> Vec<HistoryTestPeer> {
    let genesis = create_genesis(&secret(1), "shop", [9; 16], secret(200).node_id());
    let (group, grant) = (genesis.genesis_group_id().unwrap(), genesis.id());
    let mut records = vec![];
    let mut prev = RecordId::ZERO;
    for i in 2..=n {
        let alias = if i == 2 { "plc".to_owned() } else { String::new() };
        let body =
            Grant { holder: secret(i).node_id(), role: Role::Operator, alias, labels: vec![], invite: None };
        let (signer, seq) = (Signer::Holder, u64::from(i) - 1);
        let record = Record { group, grant, signer, seq, prev, body: RecordBody::Grant(body), note: None }
            .sign(&secret(1));
        prev = record.id();
        records.push(record);
    }
    let peer = |i: u8| {
        let mut group = Group::new(RecordSet::from_genesis(genesis.clone()).unwrap());
        assert_eq!(group.apply_records(records.iter().cloned()).fault, None);
        let user = ["ann", "ben", "cem"][usize::from(i) % 3];
        HistoryTestPeer {
            secret: secret(i),
            group,
            incarnations: 1000 * u64::from(i),
            user,
            store: MemoryStore::default(),
        }
    };
    (1..=n).map(peer).collect()
}

/// Copies everything that `from` has to `to`.
fn pull(from: &mut HistoryTestPeer, to: &mut HistoryTestPeer) {
    let shard_ids: Vec<_> = from.group.shards().map(|shard| shard.root().shard_id()).collect();
    for shard_id in shard_ids {
        loop {
            let positions = from.group.shard_states().chain_positions(&shard_id);
            let want = |position: &crate::group::Position| {
                let after = to.group.shard_states().accepted_len(&shard_id, &position.chain_id);
                let upto = *position.tips.first()?;
                (upto.seq > after).then_some(ChainRange { chain_id: position.chain_id, after, upto })
            };
            let wants: Vec<ChainRange> = positions.iter().filter_map(want).collect();
            let Some((batch, _)) = from.group.next_batch(&shard_id, &wants) else { break };
            let outcome = to.group.ingest_batch(shard_id, &batch);
            to.store.write(&outcome.rows);
            assert!(outcome.rejection.is_none() && !outcome.new_changes.is_empty());
        }
    }
    to.group.flush_documents();
}

fn sync(peers: &mut [HistoryTestPeer]) {
    for _ in 0..2 {
        for i in 0..peers.len() {
            for j in (0..peers.len()).filter(|j| *j != i).collect::<Vec<_>>() {
                let [from, to] = peers.get_disjoint_mut([i, j]).unwrap();
                pull(from, to);
            }
        }
    }
}

/// A random history with divergence, merges, lists and unreliable clocks.
fn random_history(seed: u64) -> Vec<HistoryTestPeer> {
    let mut rng = TestRng(seed);
    let mut peers = peers(2 + rng.next_below(3) as u8);
    let skews: Vec<i64> =
        peers.iter().map(|_| [0, 0, 86_400, -1_000_000][rng.next_below(4) as usize]).collect();
    for step in 0..30 + rng.next_below(90) as i64 {
        let peer_index = rng.next_below(peers.len() as u64) as usize;
        let time = 1_000_000 + 60 * step + skews[peer_index];
        match rng.next_below(8) {
            0 | 1 => {
                let other_index =
                    (peer_index + 1 + rng.next_below(peers.len() as u64 - 1) as usize) % peers.len();
                let [from, to] = peers.get_disjoint_mut([peer_index, other_index]).unwrap();
                pull(from, to);
            }
            2 => {
                let value = Value::Str(format!("applied - - {time} 0"));
                let puts = BTreeMap::from([("config/db".to_owned(), value)]);
                peers[peer_index].put(ShardName::Observed(RecordId::ZERO), puts, time);
            }
            _ => {
                let resource =
                    resource_name(["config/db", "config/web", "file/motd"][rng.next_below(3) as usize]);
                let field = ["keys.a", "keys.b", "keys.list"][rng.next_below(3) as usize];
                let text = match (field, rng.next_below(3)) {
                    ("keys.list", 0) => format!("{field}-={}", rng.next_below(4)),
                    ("keys.list", _) => format!("{field}+={}", rng.next_below(4)),
                    (_, 0) => format!("{field}-"),
                    _ => format!("{field}={step}"),
                };
                let edit = Draft::Set { resource, fields: vec![field_edit(&text)], replace: false };
                if let Ok(puts) = plan_edits(peers[peer_index].shard(), &[edit], true) {
                    peers[peer_index].put(ShardName::Desired, puts, time);
                }
            }
        }
    }
    peers
}

fn query_all() -> LogQuery {
    LogQuery { include_all_sources: true, ..LogQuery::default() }
}
