use std::collections::BTreeSet;

use super::*;
use crate::group::{Note, Tip, Want};
use crate::id::{ChangeId, Incarnation};
use crate::shard::root::ShardName;
use crate::value::Value;
use crate::vectors::scene;

/// A group in which the founder wrote so often; every tenth change is the operator's, if that one writes too.
fn stored(count: i64, both: bool) -> Memory {
    let mut group = Group::new(scene::records());
    let mut memory = Memory::default();
    memory.write(&group.rows());
    for nth in 0..count {
        let other = both && nth % 10 == 9;
        let secret = if other { scene::operator() } else { scene::founder() };
        let puts = [(format!("config/a keys.k{nth}"), Value::Int(nth))].into();
        let life = Incarnation([if other { 2 } else { 1 }; 16]);
        let written = group.write(&secret, ShardName::Desired, puts, &Note::default(), life).unwrap();
        memory.write(&written.taken.rows);
        group.flush();
    }
    memory
}

fn save(found: &Memory, me: &Secret) -> Option<Salvaged> {
    let records = records(found, scene::group());
    salvage(found, (scene::group(), &records), false, true, me)
}

fn load(memory: &Memory) -> Group {
    Group::load(memory, scene::group(), scene::genesis().id()).unwrap()
}

/// The group that comes up from what was saved.
fn loaded(saved: &Salvaged) -> Group {
    let mut memory = Memory::default();
    memory.write(&saved.rows);
    load(&memory)
}

fn ids(group: &Group) -> BTreeSet<ChangeId> {
    group.shards().flat_map(|shard| shard.graph().iter()).map(|entry| entry.id).collect()
}

fn rows(found: &Memory, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    found.rows(table, &key::group(scene::group())).unwrap()
}

/// What was saved is proved to others too, wherever it is cut: a node that has nothing takes all of it.
fn convinces(group: &mut Group) -> usize {
    let epoch = group.desired().unwrap().root().epoch();
    let positions = group.positions(&epoch);
    let most = positions.iter().map(|position| position.tips[0].seq).max().unwrap_or(0);
    let mut taken = 0;
    for upto in 1..=most {
        let wants: Vec<Want> = positions
            .iter()
            .map(|position| Want {
                actor: position.actor,
                after: 0,
                upto: Tip { seq: upto, ..position.tips[0] },
            })
            .collect();
        let Some((window, _)) = group.window(&epoch, &wants) else { return 0 };
        let told = Group::new(scene::records()).take_window(epoch, &window);
        assert_eq!(told.refused, None, "up to {upto}");
        taken = told.new.len();
    }
    taken
}

#[test]
fn what_is_whole_is_saved_whole() {
    let found = stored(70, true);
    let saved = save(&found, &scene::operator()).unwrap();
    assert_eq!((saved.lost, saved.lacking, saved.changes), (0, false, 70));
    assert_eq!(loaded(&saved).digest(&[]), load(&found).digest(&[]));
}

/// A flipped bit in any row is seen, or has no say.
#[test]
fn nothing_damaged_is_believed() {
    let found = stored(70, true);
    let whole = load(&found);
    let mut seen = 0;
    for table in [Table::Records, Table::Changes, Table::Marks, Table::Covers] {
        for (row, value) in rows(&found, table) {
            for at in [0, value.len() / 2, value.len() - 1] {
                let mut bad = value.clone();
                bad[at] ^= 1;
                let mut damaged = found.clone();
                damaged.write(&[Row::put(table, row.clone(), bad)]);
                let Some(saved) = save(&damaged, &scene::operator()) else {
                    seen += 1;
                    continue;
                };
                let group = loaded(&saved);
                let complete = group.digest(&[]) == whole.digest(&[]);
                assert!(complete || saved.lacking, "{table:?}");
                assert!(ids(&group).is_subset(&ids(&whole)), "{table:?}");
                seen += usize::from(!complete);
            }
        }
    }
    assert!(seen > 5, "{seen}");
}

/// A row that is gone takes with it what was built on it, and no more; what is left is proved.
#[test]
fn all_before_a_missing_row_is_saved() {
    let found = stored(140, false);
    for (gone, left) in [(5, 4), (64, 63), (65, 64), (140, 139), (100, 99)] {
        let mut damaged = found.clone();
        let (row, value) = rows(&found, Table::Changes)[gone - 1].clone();
        let mut bad = value;
        bad[50] ^= 1;
        damaged.write(&[Row::put(Table::Changes, row, bad)]);
        let saved = save(&damaged, &scene::operator()).unwrap();
        assert_eq!((saved.changes, saved.lacking), (left, true), "{gone}");
        assert_eq!(convinces(&mut loaded(&saved)) as u64, left);
    }
}

/// A lost signature in the middle: what is left ends before it, and is proved by the next one wherever it is cut.
#[test]
fn a_lost_mark_cuts_the_chain_before_it() {
    for (mark, left) in [(0, 0), (1, 64)] {
        let mut damaged = stored(140, false);
        let (row, _) = rows(&damaged, Table::Marks)[mark].clone();
        damaged.write(&[Row::remove(Table::Marks, row)]);
        let saved = save(&damaged, &scene::operator()).unwrap();
        assert_eq!((saved.changes, saved.lacking), (left, true));
        assert_eq!(convinces(&mut loaded(&saved)) as u64, left);
    }
}

/// Without signatures nothing of another's chain is believed; one's own is signed again.
#[test]
fn ones_own_writes_need_no_signature_to_be_saved() {
    let mut damaged = stored(140, false);
    for table in [Table::Marks, Table::Covers] {
        for (row, _) in rows(&damaged, table) {
            damaged.write(&[Row::remove(table, row)]);
        }
    }
    assert_eq!(save(&damaged, &scene::operator()).unwrap().changes, 0);
    let saved = save(&damaged, &scene::founder()).unwrap();
    assert_eq!((saved.changes, saved.lacking), (140, false));
    assert_eq!(convinces(&mut loaded(&saved)), 140);
}

/// The place in one's own chain says how much there was, where nothing else does.
#[test]
fn a_lost_end_of_ones_own_chain_is_missed() {
    let mut damaged = stored(70, false);
    let (row, _) = rows(&damaged, Table::Changes)[69].clone();
    damaged.write(&[Row::remove(Table::Changes, row)]);
    let (cover, _) = rows(&damaged, Table::Covers)[0].clone();
    damaged.write(&[Row::remove(Table::Covers, cover)]);
    let saved = save(&damaged, &scene::founder()).unwrap();
    assert_eq!((saved.changes, saved.lacking), (69, true));
}

#[test]
fn without_its_genesis_nothing_of_a_group_is_believed() {
    let found = stored(70, true);
    assert!(salvage(&found, (scene::group(), &[]), false, true, &scene::founder()).is_none());
}
