//! Damage: a store in which rows are gone or wrong, and the node that comes back from what of it proves itself.
//!
//! What the daemon does about a damaged file is played here with the same code that it uses, on rows in place of pages:
//! the damaged store is set aside, what can be saved begins a new one, and the roster says which groups there were.

use std::collections::BTreeSet;

use larder_core::id::{ChangeId, GroupId};
use larder_core::record::SignedRecord;
use larder_core::store::salvage::{Kept, READ, salvage_all};
use larder_core::store::{GroupRow, Memory, Row, Rows, Table, key, layout};

use super::super::dice::Dice;
use super::super::plan::Hits;
use super::World;

impl World {
    /// Kills a node; when it starts again its store is damaged.
    pub(in super::super) fn damage(&mut self, node: usize, hits: Hits, seed: u64, pause: u64) {
        if self.nodes[node].machine.is_none() {
            return;
        }
        self.crash(node, pause, 0);
        let mut dice = Dice::new(seed, "damage");
        let found = damaged(&self.nodes[node].disk.rows, hits, &mut dice);
        let kept = roster(&self.nodes[node].disk.rows);
        let secret = self.nodes[node].secret.clone();
        let saved = salvage_all(&found, &kept, hits == Hits::OneTable, &secret);
        self.trace.note(self.now, &format!("damage {node}, {hits:?}"));
        if saved.values().any(|group| group.changes > 0 && group.lacking) {
            self.marks.reach("damage-saved");
        }
        if saved.values().any(|group| group.changes == 0) {
            self.marks.reach("damage-whole");
        }
        let mut rows = Memory::default();
        saved.into_values().for_each(|group| rows.write(&group.rows));
        self.nodes[node].disk.rows = rows;
        self.nodes[node].damaged = true;
        self.forget_what_is_gone(node, "damage-alone");
    }

    /// What was on no other disk is lost, whoever had acknowledged it; and the node itself need not remember any more
    /// what it acknowledged before.
    pub(super) fn forget_what_is_gone(&mut self, node: usize, mark: &'static str) {
        let on_disk: BTreeSet<ChangeId> = self.nodes.iter().flat_map(|of| changes(&of.disk.rows)).collect();
        let before = self.acknowledged.len();
        self.acknowledged.retain(|change, _| on_disk.contains(change));
        if self.acknowledged.len() < before {
            self.marks.reach(mark);
        }
        for by in self.acknowledged.values_mut().filter(|by| by.node == node) {
            by.forgotten = true;
        }
    }
}

/// A store after damage, as far as it can be read.
fn damaged(store: &Memory, hits: Hits, dice: &mut Dice) -> Memory {
    let mut found = Memory::default();
    if hits == Hits::Everything {
        return found;
    }
    let one = READ[dice.index(READ.len())];
    let share = [5, 100, 600][dice.index(3)];
    for table in READ {
        let hit = hits == Hits::Anything || table == one;
        for (key, mut value) in rows(store, table, &[]) {
            match hit && dice.once_in_thousand(share) {
                true if dice.roll(2) == 0 || value.is_empty() => continue,
                true => {
                    let at = dice.index(value.len());
                    value[at] ^= 1 << dice.roll(8);
                }
                false => {}
            }
            found.write(&[Row::put(table, key, value)]);
        }
    }
    found
}

/// The roster, which is written whenever records or groups are.
fn roster(store: &Memory) -> Vec<Kept> {
    let kept = |(id, row): (Vec<u8>, Vec<u8>)| {
        let (group, row) = GroupId::from_slice(&id).zip(layout::<GroupRow>(&row))?;
        let records = rows(store, Table::Records, &key::group(group));
        let records = records.iter().filter_map(|(_, value)| SignedRecord::decode(value).ok()).collect();
        Some(Kept { group, paused: row.paused, records })
    };
    rows(store, Table::Groups, &[]).into_iter().filter_map(kept).collect()
}

fn changes(store: &Memory) -> impl Iterator<Item = ChangeId> {
    let rows = [Table::Changes, Table::Aside].into_iter().flat_map(|table| rows(store, table, &[]));
    rows.filter_map(|(key, _)| key.get(56..).and_then(ChangeId::from_slice))
}

fn rows(store: &Memory, table: Table, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Ok(rows) = store.rows(table, prefix);
    rows
}
