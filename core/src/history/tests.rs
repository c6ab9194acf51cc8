//! Tests of the history: several operators write, diverge and merge, and then the past is queried.

mod applied_revision;
mod line_blame;
mod log;
mod revert;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::group::{ChangeNote, Group};
use crate::id::{ChangeId, Incarnation, NodeId, RecordId, SecretKey, Sig};
use crate::record::{Grant, Record, RecordBody, Role, Signer};
use crate::resource::conflict::conflicts;
use crate::resource::edit::{Edit as Draft, FieldEdit, Resolution};
use crate::resource::edit_transaction::plan_edits;
use crate::resource::literal::{self, Literal};
use crate::resource::{FieldPath, FieldRef, ResourceName};
use crate::shard::Shard;
use crate::shard::chain::EndProof;
use crate::shard::root::ShardName;
use crate::shard::state::VisibleState;
use crate::store::{RowReader, Table};
use crate::test_support::{GroupPeer, TestRng, pull_all, secret_key};
use crate::typed_name::HistoryPoint;
use crate::value::Value;

impl GroupPeer {
    fn shard(&self) -> &Shard {
        self.group.desired().unwrap()
    }

    fn heads(&self) -> Vec<ChangeId> {
        self.shard().graph().heads()
    }

    fn put(&mut self, shard: ShardName, puts: BTreeMap<String, Value>, time: i64) -> Option<ChangeId> {
        let change_id = self.write(shard, puts, time);
        self.group.flush_documents();
        change_id
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

/// Peers of a group with `count` operators. The first is the founder, and the second has the alias `plc`.
fn peers(count: u8) -> Vec<GroupPeer> {
    GroupPeer::new_group(count, |number| if number == 2 { "plc".to_owned() } else { String::new() })
}

/// Copies everything that `from` has to `to`.
fn pull(from: &mut GroupPeer, to: &mut GroupPeer) {
    pull_all(from, to);
    to.group.flush_documents();
}

fn sync(peers: &mut [GroupPeer]) {
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
fn random_history(seed: u64) -> Vec<GroupPeer> {
    let mut rng = TestRng::from_seed(seed);
    let mut peers = peers(2 + rng.below(3) as u8);
    let skews: Vec<i64> = peers.iter().map(|_| [0, 0, 86_400, -1_000_000][rng.below(4) as usize]).collect();
    for step in 0..30 + rng.below(90) as i64 {
        let peer_index = rng.below(peers.len() as u64) as usize;
        let time = 1_000_000 + 60 * step + skews[peer_index];
        match rng.below(8) {
            0 | 1 => {
                let other_index = (peer_index + 1 + rng.below(peers.len() as u64 - 1) as usize) % peers.len();
                let [from, to] = peers.get_disjoint_mut([peer_index, other_index]).unwrap();
                pull(from, to);
            }
            2 => {
                let value = Value::Str(format!("applied - - {time} 0"));
                let puts = BTreeMap::from([("config/db".to_owned(), value)]);
                peers[peer_index].put(ShardName::Observed(RecordId::ZERO), puts, time);
            }
            _ => {
                let resource = resource_name(["config/db", "config/web", "file/motd"][rng.below(3) as usize]);
                let field = ["keys.a", "keys.b", "keys.list"][rng.below(3) as usize];
                let text = match (field, rng.below(3)) {
                    ("keys.list", 0) => format!("{field}-={}", rng.below(4)),
                    ("keys.list", _) => format!("{field}+={}", rng.below(4)),
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
