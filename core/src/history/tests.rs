//! Several operators write, part, and meet again; then the past is asked for.

mod back;
mod lines;
mod log;
mod runs;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::group::{Group, Note, Want};
use crate::id::{ChangeId, Incarnation, NodeId, RecordId, Secret, Sig, hash16};
use crate::limits;
use crate::record::{Body, Grant, Record, Records, Role, Signer, found};
use crate::resource::conflict::conflicts;
use crate::resource::draft::draw_up;
use crate::resource::edit::{Edit as Draft, FieldEdit, Settle};
use crate::resource::literal::{self, Literal};
use crate::resource::{FieldPath, ResourceName};
use crate::shard::Shard;
use crate::shard::chain::Cover;
use crate::shard::root::ShardName;
use crate::shard::state::State;
use crate::store::{Memory, Rows, Table};
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
    lives: u64,
    user: &'static str,
    disk: Memory,
}

impl Peer {
    fn shard(&self) -> &Shard {
        self.group.desired().unwrap()
    }

    fn heads(&self) -> Vec<ChangeId> {
        self.shard().graph().heads()
    }

    fn put(&mut self, shard: ShardName, puts: BTreeMap<String, Value>, time: i64) -> Option<ChangeId> {
        self.lives += 1;
        let fresh = Incarnation(hash16("test life", &[&self.lives.to_be_bytes()]));
        let note = Note { words: "why".into(), user: self.user.into(), command: "larder set".into(), time };
        let written = self.group.write(&self.secret, shard, puts, &note, fresh).unwrap();
        self.group.flush();
        self.disk.write(&written.taken.rows);
        written.id
    }

    fn edit(&mut self, edits: &[Draft], time: i64) -> ChangeId {
        let puts = draw_up(self.shard(), edits, true).unwrap();
        self.put(ShardName::Desired, puts, time).unwrap()
    }

    /// Sets fields of `config/db`, each said as `field=literal`, `field+=literal`, `field-=literal` or `field-`.
    fn set(&mut self, fields: &[&str], time: i64) -> ChangeId {
        let fields = fields.iter().map(|text| field_edit(text)).collect();
        self.edit(&[Draft::Set { resource: name("config/db"), fields, replace: false }], time)
    }

    fn log(&self, query: &Query) -> Vec<LogEntry> {
        let told = log(&self.group, query, &nowhere);
        let stored = |key: &[u8]| self.disk.rows(Table::Changes, key).unwrap().pop().map(|(_, row)| row);
        assert_eq!(log(&self.group, query, &stored), told, "wherever it is read");
        // Rows that hold another change, or nothing that is one.
        let other = |key: &[u8]| stored(&key[..32]);
        assert_eq!(log(&self.group, query, &other), told, "what is wrong in the store is not believed");
        assert_eq!(log(&self.group, query, &|key| Some(key.to_vec())), told);
        told
    }
}

fn name(text: &str) -> ResourceName {
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
        (path, FieldEdit::Take(scalar(value)))
    } else if let Some((path, value)) = text.split_once('=') {
        (path, FieldEdit::Assign(literal::parse(value).unwrap()))
    } else {
        (text.strip_suffix('-').unwrap(), FieldEdit::Unset)
    };
    (path.parse().unwrap(), edit)
}

fn secret(n: u8) -> Secret {
    Secret::from_bytes(&[n; 32])
}

/// A group with `n` operators, the first its founder.
fn peers(n: u8) -> Vec<Peer> {
    let genesis = found(&secret(1), "shop", [9; 16], secret(200).node());
    let (group, grant) = (genesis.founds().unwrap(), genesis.id());
    let mut records = vec![];
    let mut prev = RecordId::ZERO;
    for i in 2..=n {
        let alias = if i == 2 { "plc".to_owned() } else { String::new() };
        let body = Grant { key: secret(i).node(), role: Role::Operator, alias, labels: vec![], invite: None };
        let (signer, seq) = (Signer::Holder, u64::from(i) - 1);
        let record = Record { group, grant, signer, seq, prev, body: Body::Grant(body), remark: None }
            .sign(&secret(1));
        prev = record.id();
        records.push(record);
    }
    let peer = |i: u8| {
        let mut group = Group::new(Records::begin(genesis.clone()).unwrap());
        assert_eq!(group.record(records.iter().cloned()).fault, None);
        let user = ["ann", "ben", "cem"][usize::from(i) % 3];
        Peer { secret: secret(i), group, lives: 1000 * u64::from(i), user, disk: Memory::default() }
    };
    (1..=n).map(peer).collect()
}

/// Brings `to` up to what `from` has.
fn pull(from: &mut Peer, to: &mut Peer) {
    let epochs: Vec<_> = from.group.shards().map(|shard| shard.root().epoch()).collect();
    for epoch in epochs {
        loop {
            let positions = from.group.positions(&epoch);
            let want = |position: &crate::group::Position| {
                let after = to.group.reach(&epoch, &position.actor);
                let upto = *position.tips.first()?;
                (upto.seq > after).then_some(Want { actor: position.actor, after, upto })
            };
            let wants: Vec<Want> = positions.iter().filter_map(want).collect();
            let Some((window, _)) = from.group.window(&epoch, &wants) else { break };
            let taken = to.group.take_window(epoch, &window);
            to.disk.write(&taken.rows);
            assert!(taken.refused.is_none() && !taken.new.is_empty());
        }
    }
    to.group.flush();
}

fn sync(peers: &mut [Peer]) {
    for _ in 0..2 {
        for i in 0..peers.len() {
            for j in (0..peers.len()).filter(|j| *j != i).collect::<Vec<_>>() {
                let [from, to] = peers.get_disjoint_mut([i, j]).unwrap();
                pull(from, to);
            }
        }
    }
}

/// A history with sides that part and meet, lists, and clocks that are all over the place.
fn random_history(seed: u64) -> Vec<Peer> {
    let mut dice = Dice(seed);
    let mut peers = peers(2 + dice.roll(3) as u8);
    let skews: Vec<i64> = peers.iter().map(|_| [0, 0, 86_400, -1_000_000][dice.roll(4) as usize]).collect();
    for step in 0..30 + dice.roll(90) as i64 {
        let at = dice.roll(peers.len() as u64) as usize;
        let time = 1_000_000 + 60 * step + skews[at];
        match dice.roll(8) {
            0 | 1 => {
                let other = (at + 1 + dice.roll(peers.len() as u64 - 1) as usize) % peers.len();
                let [from, to] = peers.get_disjoint_mut([at, other]).unwrap();
                pull(from, to);
            }
            2 => {
                let value = Value::Str(format!("applied - - {time} 0"));
                let puts = BTreeMap::from([("config/db".to_owned(), value)]);
                peers[at].put(ShardName::Observed(RecordId::ZERO), puts, time);
            }
            _ => {
                let resource = name(["config/db", "config/web", "file/motd"][dice.roll(3) as usize]);
                let field = ["keys.a", "keys.b", "keys.list"][dice.roll(3) as usize];
                let text = match (field, dice.roll(3)) {
                    ("keys.list", 0) => format!("{field}-={}", dice.roll(4)),
                    ("keys.list", _) => format!("{field}+={}", dice.roll(4)),
                    (_, 0) => format!("{field}-"),
                    _ => format!("{field}={step}"),
                };
                let edit = Draft::Set { resource, fields: vec![field_edit(&text)], replace: false };
                if let Ok(puts) = draw_up(peers[at].shard(), &[edit], true) {
                    peers[at].put(ShardName::Desired, puts, time);
                }
            }
        }
    }
    peers
}

fn all() -> Query {
    Query { all: true, ..Query::default() }
}
