use super::*;
use crate::group::Note;
use crate::id::Incarnation;
use crate::shard::root::ShardName;
use crate::store::{Memory, Row};
use crate::value::Value;
use crate::vectors::scene;

/// A group in which the founder wrote, and the operator every fourth change.
fn stored(count: i64) -> Memory {
    let mut group = Group::new(scene::records());
    let mut memory = Memory::default();
    memory.write(&group.rows());
    for nth in 0..count {
        let other = nth % 4 == 3;
        let secret = if other { scene::operator() } else { scene::founder() };
        let puts = [(format!("config/a keys.k{nth}"), Value::Int(nth))].into();
        let life = Incarnation([if other { 2 } else { 1 }; 16]);
        let written = group.write(&secret, ShardName::Desired, puts, &Note::default(), life).unwrap();
        memory.write(&written.taken.rows);
        group.flush();
    }
    memory
}

fn verified(store: &Memory) -> Verified {
    let Ok(found) = verify(store, scene::group(), &mut |_| {});
    found
}

fn rows(store: &Memory, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.rows(table, &key::group(scene::group())).unwrap()
}

#[test]
fn what_is_whole_passes_and_is_counted() {
    let mut told = 0;
    let Ok(found) = verify(&stored(300), scene::group(), &mut |count| told = count);
    assert_eq!(found, Verified { changes: 300, records: 2, failed: vec![], more: 0 });
    assert_eq!(told, 300);
    assert_eq!(verified(&stored(0)).changes, 0);
}

/// Whatever bit of a change is turned, that change is named, and no other.
#[test]
fn a_change_that_was_tampered_with_is_named() {
    let store = stored(140);
    for (row, value) in rows(&store, Table::Changes).into_iter().step_by(11) {
        for at in 0..value.len() {
            let mut bad = value.clone();
            bad[at] ^= 1 << (at % 8);
            let mut tampered = store.clone();
            tampered.write(&[Row::put(Table::Changes, row.clone(), bad)]);
            let found = verified(&tampered);
            let named: Vec<String> = found.failed.into_iter().map(|failed| failed.id).collect();
            assert_eq!(named, [name(&row).unwrap().to_string()], "byte {at}");
        }
    }
}

/// Whoever changes the name too has everything consistent but the signature.
#[test]
fn a_change_in_place_of_another_is_not_signed() {
    let store = stored(40);
    let root = Root::derive(scene::group(), ShardName::Desired);
    let (row, value) = rows(&store, Table::Changes).pop().unwrap();
    let mut delta = Delta::decode(&value).unwrap();
    delta.puts[0].value = Value::Int(-1);
    let forged = Composed::new(&root, delta).unwrap();
    let delta = forged.delta();
    let named =
        key::change(scene::group(), root.epoch(), delta.actor(scene::group()), delta.seq, forged.id());
    let mut tampered = store;
    tampered
        .write(&[Row::remove(Table::Changes, row), Row::put(Table::Changes, named, forged.bytes().to_vec())]);
    let found = verified(&tampered);
    assert!(found.failed.iter().any(|failed| failed.id == forged.id().to_string()), "{found:?}");
    assert!(found.failed.iter().any(|failed| failed.why.contains("did not sign")), "{found:?}");
}

/// Any row that is gone, and any turned bit of a signature or record, is found.
#[test]
fn nothing_that_proves_anything_can_go_unseen() {
    let store = stored(200);
    for table in [Table::Records, Table::Changes, Table::Marks, Table::Covers] {
        for (row, value) in rows(&store, table).into_iter().step_by(3) {
            let mut without = store.clone();
            without.write(&[Row::remove(table, row.clone())]);
            assert!(!verified(&without).failed.is_empty(), "{table:?} {row:?} is gone");
            let mut bad = value;
            let last = bad.len() - 1;
            bad[last] ^= 1;
            let mut tampered = store.clone();
            tampered.write(&[Row::put(table, row.clone(), bad)]);
            assert!(!verified(&tampered).failed.is_empty(), "{table:?} {row:?} is another");
        }
    }
}

#[test]
fn what_is_named_is_bounded() {
    let mut store = stored(limits::VERIFY_FAILED as i64 + 20);
    for (row, _) in rows(&store, Table::Changes) {
        store.write(&[Row::put(Table::Changes, row, vec![0])]);
    }
    let found = verified(&store);
    assert_eq!((found.failed.len(), found.more), (limits::VERIFY_FAILED, 20));
}
