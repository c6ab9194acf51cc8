//! Damage: a store with missing or wrong rows, and the node that restarts with the rows that can still be
//! verified.
//!
//! The simulation repeats what the daemon does with a damaged file, with the same code, but on rows instead
//! of pages. The damaged store is set aside, a new store begins with the salvaged rows, and the membership
//! backup names the node's groups.

use std::collections::BTreeSet;

use larder_core::id::{ChangeId, GroupId};
use larder_core::record::SignedRecord;
use larder_core::store::salvage::{KnownGroup, SALVAGED_TABLES, salvage_all};
use larder_core::store::{GroupRow, MemoryStore, Row, RowReader, Table, decode_layout, key};

use super::super::plan::DamageExtent;
use super::World;
use crate::rng::TestRng;

impl World {
    /// Crashes a node and damages its store before it restarts.
    pub(in super::super) fn damage_store(&mut self, node: usize, hits: DamageExtent, seed: u64, pause: u64) {
        if self.nodes[node].core_node.is_none() {
            return;
        }
        self.crash_node(node, pause, 0);
        let mut rng = TestRng::new(seed, "damage");
        let found = damaged_store(&self.nodes[node].disk.rows, hits, &mut rng);
        let backup = membership_backup(&self.nodes[node].disk.rows);
        let secret = self.nodes[node].secret.clone();
        let saved = salvage_all(&found, &backup, hits == DamageExtent::OneTable, &secret);
        self.trace.record_event(self.now, &format!("damage {node}, {hits:?}"));
        if saved.values().any(|group| group.saved_changes > 0 && group.is_incomplete) {
            self.coverage.record("damage-saved");
        }
        if saved.values().any(|group| group.saved_changes == 0) {
            self.coverage.record("damage-whole");
        }
        let mut rows = MemoryStore::default();
        saved.into_values().for_each(|group| rows.write(&group.rows));
        self.nodes[node].disk.rows = rows;
        self.nodes[node].was_damaged = true;
        self.forget_lost_writes(node, "damage-alone");
    }

    /// Forgets the acknowledged writes that are on no disk any more. The node itself need not remember the
    /// other writes that it acknowledged before.
    pub(super) fn forget_lost_writes(&mut self, node: usize, mark: &'static str) {
        let on_disk: BTreeSet<ChangeId> =
            self.nodes.iter().flat_map(|sim_node| stored_change_ids(&sim_node.disk.rows)).collect();
        let before = self.acknowledged_writes.len();
        self.acknowledged_writes.retain(|change, _| on_disk.contains(change));
        if self.acknowledged_writes.len() < before {
            self.coverage.record(mark);
        }
        for write in self.acknowledged_writes.values_mut().filter(|by| by.node == node) {
            write.is_forgotten = true;
        }
    }
}

/// The rows that can still be read after the damage.
fn damaged_store(store: &MemoryStore, extent: DamageExtent, rng: &mut TestRng) -> MemoryStore {
    let mut found = MemoryStore::default();
    if extent == DamageExtent::Everything {
        return found;
    }
    let damaged_table = SALVAGED_TABLES[rng.index(SALVAGED_TABLES.len())];
    let per_mille = [5, 100, 600][rng.index(3)];
    for table in SALVAGED_TABLES {
        let hit = extent == DamageExtent::Anything || table == damaged_table;
        for (key, mut value) in table_rows(store, table, &[]) {
            match hit && rng.per_mille(per_mille) {
                true if rng.below(2) == 0 || value.is_empty() => continue,
                true => {
                    let at = rng.index(value.len());
                    value[at] ^= 1 << rng.below(8);
                }
                false => {}
            }
            found.write(&[Row::put(table, key, value)]);
        }
    }
    found
}

/// The membership backup, which the daemon writes whenever records or groups change.
fn membership_backup(store: &MemoryStore) -> Vec<KnownGroup> {
    let backup_entry = |(id, row): (Vec<u8>, Vec<u8>)| {
        let (group, row) = GroupId::from_slice(&id).zip(decode_layout::<GroupRow>(&row))?;
        let records = table_rows(store, Table::Records, &key::for_group(group));
        let records = records.iter().filter_map(|(_, value)| SignedRecord::decode(value).ok()).collect();
        Some(KnownGroup { group, paused: row.paused, records })
    };
    table_rows(store, Table::Groups, &[]).into_iter().filter_map(backup_entry).collect()
}

fn stored_change_ids(store: &MemoryStore) -> impl Iterator<Item = ChangeId> {
    let rows =
        [Table::Changes, Table::Unaccepted].into_iter().flat_map(|table| table_rows(store, table, &[]));
    rows.filter_map(|(key, _)| key.get(56..).and_then(ChangeId::from_slice))
}

fn table_rows(store: &MemoryStore, table: Table, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Ok(rows) = store.read_rows(table, prefix);
    rows
}
