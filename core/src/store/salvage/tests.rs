use std::collections::BTreeSet;

use super::*;
use crate::golden::fixture;
use crate::group::{ChainRange, Tip};
use crate::id::ChangeId;

/// A group in which the founder wrote `count` changes; every tenth is the operator's, if that one writes too.
fn store_with_changes(count: i64, with_operator: bool) -> MemoryStore {
    fixture::stored_changes(count, |nth| with_operator && nth % 10 == 9)
}

fn salvage(damaged: &MemoryStore, node_key: &SecretKey) -> Option<SalvagedGroup> {
    let records = readable_records(damaged, fixture::group());
    salvage_group(damaged, (fixture::group(), &records), false, true, node_key)
}

fn load_group(store: &MemoryStore) -> Group {
    Group::load(store, fixture::group(), fixture::genesis().id()).unwrap()
}

/// Loads the group from the salvaged rows.
fn load_salvaged(salvaged: &SalvagedGroup) -> Group {
    let mut store = MemoryStore::default();
    store.write(&salvaged.rows);
    load_group(&store)
}

fn change_ids(group: &Group) -> BTreeSet<ChangeId> {
    group.shards().flat_map(|shard| shard.graph().iter()).map(|entry| entry.id).collect()
}

fn rows_of(store: &MemoryStore, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.read_rows(table, &key::for_group(fixture::group())).unwrap()
}

/// Counts the salvaged changes that a new node accepts. Their signatures must prove them to others, too.
fn count_changes_proved_to_a_new_node(group: &mut Group) -> usize {
    let shard = group.desired().unwrap().root().shard_id();
    let positions = group.shard_states().chain_positions(&shard);
    let newest_seq = positions.iter().map(|position| position.tips[0].seq).max().unwrap_or(0);
    let mut proved = 0;
    for upto in 1..=newest_seq {
        let wants: Vec<ChainRange> = positions
            .iter()
            .map(|position| ChainRange {
                chain_id: position.chain_id,
                after: 0,
                upto: Tip { seq: upto, ..position.tips[0] },
            })
            .collect();
        let Some((batch, _)) = group.next_batch(&shard, &wants) else { return 0 };
        let outcome = Group::new(fixture::records()).ingest_batch(shard, &batch);
        assert_eq!(outcome.rejection, None, "up to {upto}");
        proved = outcome.new_changes.len();
    }
    proved
}

#[test]
fn intact_store_is_salvaged_completely() {
    let store = store_with_changes(70, true);
    let salvaged = salvage(&store, &fixture::operator()).unwrap();
    assert_eq!((salvaged.lost_shards, salvaged.is_incomplete, salvaged.saved_changes), (0, false, 70));
    assert_eq!(load_salvaged(&salvaged).digest(&[]), load_group(&store).digest(&[]));
}

/// A flipped bit in any row is detected or has no effect.
#[test]
fn rows_with_a_flipped_bit_are_never_accepted() {
    let store = store_with_changes(70, true);
    let whole = load_group(&store);
    let mut detected = 0;
    for table in [Table::Records, Table::Changes, Table::Checkpoints, Table::EndProofs] {
        for (row, value) in rows_of(&store, table) {
            for byte in [0, value.len() / 2, value.len() - 1] {
                let mut bad = value.clone();
                bad[byte] ^= 1;
                let mut damaged = store.clone();
                damaged.write(&[Row::put(table, row.clone(), bad)]);
                let Some(salvaged) = salvage(&damaged, &fixture::operator()) else {
                    detected += 1;
                    continue;
                };
                let group = load_salvaged(&salvaged);
                let complete = group.digest(&[]) == whole.digest(&[]);
                assert!(complete || salvaged.is_incomplete, "{table:?}");
                assert!(change_ids(&group).is_subset(&change_ids(&whole)), "{table:?}");
                detected += usize::from(!complete);
            }
        }
    }
    assert!(detected > 5, "{detected}");
}

/// A damaged row loses the changes that depend on it, and no others. The remaining ones are proved.
#[test]
fn every_change_before_a_damaged_row_is_salvaged() {
    let store = store_with_changes(140, false);
    for (damaged_nth, expected) in [(5, 4), (64, 63), (65, 64), (140, 139), (100, 99)] {
        let mut damaged = store.clone();
        let (row, value) = rows_of(&store, Table::Changes)[damaged_nth - 1].clone();
        let mut bad = value;
        bad[50] ^= 1;
        damaged.write(&[Row::put(Table::Changes, row, bad)]);
        let salvaged = salvage(&damaged, &fixture::operator()).unwrap();
        assert_eq!((salvaged.saved_changes, salvaged.is_incomplete), (expected, true), "{damaged_nth}");
        assert_eq!(count_changes_proved_to_a_new_node(&mut load_salvaged(&salvaged)) as u64, expected);
    }
}

/// A signature in the middle is lost. The salvaged changes end before it, and the next signature proves them
/// at any cut.
#[test]
fn chain_ends_before_a_missing_checkpoint_signature() {
    for (nth, expected) in [(0, 0), (1, 64)] {
        let mut damaged = store_with_changes(140, false);
        let (row, _) = rows_of(&damaged, Table::Checkpoints)[nth].clone();
        damaged.write(&[Row::remove(Table::Checkpoints, row)]);
        let salvaged = salvage(&damaged, &fixture::operator()).unwrap();
        assert_eq!((salvaged.saved_changes, salvaged.is_incomplete), (expected, true));
        assert_eq!(count_changes_proved_to_a_new_node(&mut load_salvaged(&salvaged)) as u64, expected);
    }
}

/// Without signatures, no change of another's chain is salvaged. The node signs its own chain again.
#[test]
fn own_changes_are_salvaged_without_their_signatures() {
    let mut damaged = store_with_changes(140, false);
    for table in [Table::Checkpoints, Table::EndProofs] {
        for (row, _) in rows_of(&damaged, table) {
            damaged.write(&[Row::remove(table, row)]);
        }
    }
    assert_eq!(salvage(&damaged, &fixture::operator()).unwrap().saved_changes, 0);
    let salvaged = salvage(&damaged, &fixture::founder()).unwrap();
    assert_eq!((salvaged.saved_changes, salvaged.is_incomplete), (140, false));
    assert_eq!(count_changes_proved_to_a_new_node(&mut load_salvaged(&salvaged)), 140);
}

/// Only the `own-tips` row shows how many changes the chain had.
#[test]
fn missing_tip_of_the_own_chain_is_reported_as_incomplete() {
    let mut damaged = store_with_changes(70, false);
    let (row, _) = rows_of(&damaged, Table::Changes)[69].clone();
    damaged.write(&[Row::remove(Table::Changes, row)]);
    let (end_proof_key, _) = rows_of(&damaged, Table::EndProofs)[0].clone();
    damaged.write(&[Row::remove(Table::EndProofs, end_proof_key)]);
    let salvaged = salvage(&damaged, &fixture::founder()).unwrap();
    assert_eq!((salvaged.saved_changes, salvaged.is_incomplete), (69, true));
}

#[test]
fn group_without_its_genesis_record_is_not_salvaged() {
    let found = store_with_changes(70, true);
    assert!(salvage_group(&found, (fixture::group(), &[]), false, true, &fixture::founder()).is_none());
}
