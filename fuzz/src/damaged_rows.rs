//! A store with damaged rows: removed, changed, duplicated or exchanged.
//!
//! A node must open it or report the damage. Only rows that can be verified are salvaged, nothing is
//! invented, and the salvaged rows can be opened.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use larder_core::id::{ChangeId, RecordId};
use larder_core::node::Node;
use larder_core::record::SignedRecord;
use larder_core::store::LoadError;
use larder_core::store::salvage::{KnownGroup, salvage_all};
use larder_core::store::{MemoryStore, Row, RowReader, Table};
use larder_core::test_support::{TestNode, node_config};

use crate::decisions::Decisions;
use crate::fixture::{self, FIXTURE, secret_key};

/// Damages a store as the bytes decide, and opens and salvages it.
pub fn fuzz_rows(data: &[u8]) {
    let mut decisions = Decisions::new(data);
    let mut store = FIXTURE.store.clone();
    let backup = if decisions.next_bool() { membership_backup() } else { Vec::new() };
    let reads_all_rows = decisions.next_bool();
    while let Some(step) = decisions.next_byte() {
        damage_row(&mut store, step, &mut decisions);
    }
    match open_node(&store) {
        Ok(node) => assert_nothing_invented(&node),
        Err(LoadError::Newer { .. } | LoadError::Damaged(_)) => {}
        Err(LoadError::Read(error)) => panic!("memory can be read: {error}"),
    }
    let saved = salvage_all(&store, &backup, reads_all_rows, &secret_key(fixture::FOUNDER));
    assert!(backup.is_empty() || !saved.is_empty(), "the roster says which groups there were");
    let mut salvaged = MemoryStore::default();
    saved.values().for_each(|group| salvaged.write(&group.rows));
    assert_nothing_invented(&open_node(&salvaged).expect("what was saved is sound"));
}

fn damage_row(store: &mut MemoryStore, step: u8, decisions: &mut Decisions<'_>) {
    let table = *decisions.choose(&Table::ALL);
    let Ok(existing) = store.read_rows(table, &[]);
    let Some((key, mut value)) =
        existing.get(usize::from(decisions.next_byte_or_zero()) % existing.len().max(1)).cloned()
    else {
        return;
    };
    let row = match step % 6 {
        0 => Row::remove(table, key),
        1 => {
            let at = usize::from(decisions.next_byte_or_zero()) % value.len().max(1);
            value.truncate(at);
            Row::put(table, key, value)
        }
        2 => {
            let (other, _) = decisions.choose(&existing).clone();
            Row::put(table, other, value)
        }
        3 => Row::put(table, decisions.bytes().to_vec(), value),
        4 => Row::put(table, key, decisions.bytes().to_vec()),
        _ => {
            let at = usize::from(u16::from_be_bytes([
                decisions.next_byte_or_zero(),
                decisions.next_byte_or_zero(),
            ])) % value.len().max(1);
            if let Some(byte) = value.get_mut(at) {
                *byte ^= decisions.next_byte_or_zero();
            }
            Row::put(table, key, value)
        }
    };
    store.write(&[row]);
}

fn open_node(store: &MemoryStore) -> Result<Node, LoadError> {
    let config = node_config(secret_key(fixture::FOUNDER));
    Node::open(config, TestNode::START, store).map(|(node, _)| node)
}

fn assert_nothing_invented(node: &Node) {
    for state in node.groups() {
        let changes = state.group.shards().flat_map(|shard| shard.graph().iter()).map(|entry| entry.id);
        assert!(changes.collect::<BTreeSet<_>>().is_subset(&STORED_IDS.0), "no change is invented");
        let records = state.group.records().iter().map(SignedRecord::id);
        assert!(records.collect::<BTreeSet<_>>().is_subset(&STORED_IDS.1), "no record is invented");
        for shard in state.group.shards() {
            assert_eq!(shard.document().fault(), None);
            assert_eq!(shard.document().heads(), shard.graph().heads());
        }
    }
}

/// The ids of all changes and records in the undamaged store.
static STORED_IDS: LazyLock<(BTreeSet<ChangeId>, BTreeSet<RecordId>)> = LazyLock::new(|| {
    let node = open_node(&FIXTURE.store).expect("the scene is sound");
    let state = node.group(&fixture::group()).expect("the founder is in it");
    let changes = state.group.shards().flat_map(|shard| shard.graph().iter()).map(|entry| entry.id).collect();
    (changes, state.group.records().iter().map(SignedRecord::id).collect())
});

fn membership_backup() -> Vec<KnownGroup> {
    let node = open_node(&FIXTURE.store).expect("the scene is sound");
    let records = |state: &larder_core::node::GroupState| state.group.records().iter().cloned().collect();
    node.groups()
        .map(|state| KnownGroup { group: state.group.id(), paused: state.paused, records: records(state) })
        .collect()
}
