//! What a store may hold after damage: rows gone, changed, doubled, in each other's place.
//!
//! What must hold: a node comes up from them or says that they are damaged; of what is damaged only what proves itself is
//! saved, nothing is invented, and from what was saved it comes up.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use larder_core::group::LoadError;
use larder_core::id::{ChangeId, RecordId};
use larder_core::machine::{Config, Machine, Moment, Now};
use larder_core::record::SignedRecord;
use larder_core::store::salvage::{Kept, salvage_all};
use larder_core::store::{Memory, Row, Rows, Table};

use crate::scene::{self, SCENE, secret};
use crate::script::Script;

/// Plays the damage that these bytes are.
pub fn rows(data: &[u8]) {
    let mut script = Script::new(data);
    let mut store = SCENE.store.clone();
    let roster = if script.coin() { kept() } else { Vec::new() };
    let whole = script.coin();
    while let Some(step) = script.draw() {
        damage(&mut store, step, &mut script);
    }
    match open(&store) {
        Ok(machine) => nothing_new(&machine),
        Err(LoadError::Newer { .. } | LoadError::Damaged(_)) => {}
        Err(LoadError::Read(error)) => panic!("memory can be read: {error}"),
    }
    let saved = salvage_all(&store, &roster, whole, &secret(scene::FOUNDER));
    assert!(roster.is_empty() || !saved.is_empty(), "the roster says which groups there were");
    let mut fresh = Memory::default();
    saved.values().for_each(|group| fresh.write(&group.rows));
    nothing_new(&open(&fresh).expect("what was saved is sound"));
}

fn damage(store: &mut Memory, step: u8, script: &mut Script<'_>) {
    let table = *script.pick(&Table::ALL);
    let Ok(there) = store.rows(table, &[]);
    let Some((key, mut value)) = there.get(usize::from(script.byte()) % there.len().max(1)).cloned() else {
        return;
    };
    let row = match step % 6 {
        0 => Row::remove(table, key),
        1 => {
            let at = usize::from(script.byte()) % value.len().max(1);
            value.truncate(at);
            Row::put(table, key, value)
        }
        2 => {
            let (other, _) = script.pick(&there).clone();
            Row::put(table, other, value)
        }
        3 => Row::put(table, script.bytes().to_vec(), value),
        4 => Row::put(table, key, script.bytes().to_vec()),
        _ => {
            let at = usize::from(u16::from_be_bytes([script.byte(), script.byte()])) % value.len().max(1);
            if let Some(byte) = value.get_mut(at) {
                *byte ^= script.byte();
            }
            Row::put(table, key, value)
        }
    };
    store.write(&[row]);
}

fn open(store: &Memory) -> Result<Machine, LoadError> {
    let config = Config {
        secret: secret(scene::FOUNDER),
        seed: [1; 32],
        software: "fuzz".to_owned(),
        host: "host".to_owned(),
        reborn: false,
    };
    let now = Now { mono: Moment(1_000_000), wall: 1_700_000_000 };
    Machine::open(config, now, store).map(|(machine, _)| machine)
}

fn nothing_new(machine: &Machine) {
    for of in machine.groups() {
        let changes = of.group.shards().flat_map(|shard| shard.graph().iter()).map(|entry| entry.id);
        assert!(changes.collect::<BTreeSet<_>>().is_subset(&WRITTEN.0), "no change is invented");
        let records = of.group.records().iter().map(SignedRecord::id);
        assert!(records.collect::<BTreeSet<_>>().is_subset(&WRITTEN.1), "no record is invented");
        for shard in of.group.shards() {
            assert_eq!(shard.document().isolated(), None);
            assert_eq!(shard.document().heads(), shard.graph().heads());
        }
    }
}

/// Everything that was ever stored.
static WRITTEN: LazyLock<(BTreeSet<ChangeId>, BTreeSet<RecordId>)> = LazyLock::new(|| {
    let machine = open(&SCENE.store).expect("the scene is sound");
    let of = machine.group(&scene::group()).expect("the founder is in it");
    let changes = of.group.shards().flat_map(|shard| shard.graph().iter()).map(|entry| entry.id).collect();
    (changes, of.group.records().iter().map(SignedRecord::id).collect())
});

fn kept() -> Vec<Kept> {
    let machine = open(&SCENE.store).expect("the scene is sound");
    let records = |of: &larder_core::machine::Membership| of.group.records().iter().cloned().collect();
    machine
        .groups()
        .map(|of| Kept { group: of.group.id(), paused: of.paused, records: records(of) })
        .collect()
}
