use super::*;
use crate::golden::fixture;
use crate::shard::root::ShardName;
use crate::store::{MemoryStore, Row};
use crate::value::Value;

/// A group in which the founder wrote, and the operator every fourth change.
fn store_with_changes(count: i64) -> MemoryStore {
    fixture::stored_changes(count, |nth| nth % 4 == 3)
}

fn verify_store(store: &MemoryStore) -> VerifyReport {
    let Ok(report) = verify_group(store, fixture::group(), &mut |_| {});
    report
}

fn rows_of(store: &MemoryStore, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.read_rows(table, &key::for_group(fixture::group())).unwrap()
}

#[test]
fn intact_store_has_no_failures_and_reports_its_counts() {
    let mut progress = 0;
    let Ok(report) = verify_group(&store_with_changes(300), fixture::group(), &mut |count| progress = count);
    assert_eq!(report, VerifyReport { changes: 300, records: 2, failures: vec![], omitted_failures: 0 });
    assert_eq!(progress, 300);
    assert_eq!(verify_store(&store_with_changes(0)).changes, 0);
}

/// Verification names exactly the change in which a bit is flipped.
#[test]
fn tampered_change_is_the_only_reported_failure() {
    let store = store_with_changes(140);
    for (row, value) in rows_of(&store, Table::Changes).into_iter().step_by(11) {
        for byte in 0..value.len() {
            let mut bad = value.clone();
            bad[byte] ^= 1 << (byte % 8);
            let mut tampered = store.clone();
            tampered.write(&[Row::put(Table::Changes, row.clone(), bad)]);
            let report = verify_store(&tampered);
            let failed_ids: Vec<String> = report.failures.into_iter().map(|failure| failure.id).collect();
            assert_eq!(failed_ids, [key::parse_change(&row).unwrap().id.to_string()], "byte {byte}");
        }
    }
}

/// If the id of the change is altered as well, only the signature reveals it.
#[test]
fn replaced_change_with_a_consistent_hash_is_reported_as_unsigned() {
    let store = store_with_changes(40);
    let root = ShardRoot::derive(fixture::group(), ShardName::Desired);
    let (row, value) = rows_of(&store, Table::Changes).pop().unwrap();
    let mut delta = Delta::decode(&value).unwrap();
    delta.puts[0].value = Value::Int(-1);
    let forged = EncodedChange::new(&root, delta).unwrap();
    let delta = forged.delta();
    let forged_key = key::change(
        fixture::group(),
        root.shard_id(),
        delta.chain_id(fixture::group()),
        delta.seq,
        forged.id(),
    );
    let mut tampered = store;
    tampered.write(&[
        Row::remove(Table::Changes, row),
        Row::put(Table::Changes, forged_key, forged.bytes().to_vec()),
    ]);
    let report = verify_store(&tampered);
    assert!(report.failures.iter().any(|failed| failed.id == forged.id().to_string()), "{report:?}");
    assert!(report.failures.iter().any(|failed| failed.reason.contains("did not sign")), "{report:?}");
}

/// Verification finds every missing row, and every flipped bit of a signature or record.
#[test]
fn every_missing_or_altered_proof_row_is_reported() {
    let store = store_with_changes(200);
    for table in [Table::Records, Table::Changes, Table::Checkpoints, Table::EndProofs] {
        for (row, value) in rows_of(&store, table).into_iter().step_by(3) {
            let mut without = store.clone();
            without.write(&[Row::remove(table, row.clone())]);
            assert!(!verify_store(&without).failures.is_empty(), "{table:?} {row:?} is gone");
            let mut bad = value;
            let last = bad.len() - 1;
            bad[last] ^= 1;
            let mut tampered = store.clone();
            tampered.write(&[Row::put(table, row.clone(), bad)]);
            assert!(!verify_store(&tampered).failures.is_empty(), "{table:?} {row:?} is another");
        }
    }
}

#[test]
fn number_of_reported_failures_is_limited() {
    let mut store = store_with_changes(limits::MAX_REPORTED_VERIFY_FAILURES as i64 + 20);
    for (row, _) in rows_of(&store, Table::Changes) {
        store.write(&[Row::put(Table::Changes, row, vec![0])]);
    }
    let report = verify_store(&store);
    assert_eq!((report.failures.len(), report.omitted_failures), (limits::MAX_REPORTED_VERIFY_FAILURES, 20));
}
