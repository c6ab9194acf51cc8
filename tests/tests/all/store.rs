//! The store on a faulty disk: crashes at every operation, errors, and damage.
//!
//! `LARDER_STORE_ALL=1` tests every operation with every outcome of a crash. Without it, every seventh
//! operation is tested with one outcome.

use std::collections::BTreeMap;

use larder::store::{Store, StoreOpenError};
use larder_core::store::{MemoryStore, Row, Table};
use larder_tests::disk::{CrashOutcome, DiskDamage, DiskFault, FaultDuration, FaultyDisk};
use larder_tests::rng::TestRng;

tests! {
    a_crash_at_any_operation_loses_nothing_acknowledged_and_invents_nothing,
    a_failing_or_full_disk_loses_nothing_acknowledged_and_recovers,
    damage_is_detected_and_a_damaged_file_is_never_written_to,
}

/// The number of writes of the workload. Some share a commit.
const WRITES: u64 = 500;

/// A random number that depends on the arguments only.
fn pseudo_random(what: &str, nth: u64, bound: u64) -> u64 {
    TestRng::new(nth, what).below(bound)
}

/// The rows of the `nth` write: a few rows of random tables, put or removed, small or large.
fn rows_of_write(nth: u64) -> Vec<Row> {
    let rows = 1 + pseudo_random("rows", nth, 4);
    (0..rows)
        .map(|row| {
            let row_seed = nth * 8 + row;
            let index = usize::try_from(pseudo_random("table", row_seed, Table::ALL.len() as u64)).unwrap();
            let key = pseudo_random("key", row_seed, 60).to_be_bytes().to_vec();
            if pseudo_random("removes", row_seed, 5) == 0 {
                return Row::remove(Table::ALL[index], key);
            }
            let max_bytes = [40, 400, 9_000][usize::try_from(pseudo_random("size", row_seed, 3)).unwrap()];
            let bytes = usize::try_from(pseudo_random("bytes", row_seed, max_bytes)).unwrap();
            let value = row_seed.to_be_bytes().into_iter().cycle().take(8 + bytes).collect();
            Row::put(Table::ALL[index], key, value)
        })
        .collect()
}

/// The workload as commits, with a random number of writes in each.
fn commits() -> Vec<Vec<Row>> {
    let (mut commits, mut nth) = (Vec::new(), 0);
    while nth < WRITES {
        let shared = (1 + pseudo_random("shared", nth, 5)).min(WRITES - nth);
        commits.push((nth..nth + shared).flat_map(rows_of_write).collect());
        nth += shared;
    }
    commits
}

/// The expected contents of the store after each number of commits.
fn expected_stores(commits: &[Vec<Row>]) -> Vec<MemoryStore> {
    let mut models = vec![MemoryStore::default()];
    for commit in commits {
        let mut next = models.last().unwrap().clone();
        next.write(commit);
        models.push(next);
    }
    models
}

fn contents(store: &Store) -> MemoryStore {
    MemoryStore::copy_of(store).unwrap()
}

/// A disk with a new store. The daemon creates a store under another name and renames it when it is complete,
/// so its creation is not part of the workload.
fn new_store_disk() -> FaultyDisk {
    let disk = FaultyDisk::new();
    drop(Store::open_backend(disk.clone()).unwrap());
    FaultyDisk::from_bytes(&disk.bytes())
}

/// Commits until a commit fails. Returns the number of acknowledged commits.
fn commit_until_failure(disk: &FaultyDisk, commits: &[Vec<Row>]) -> usize {
    let Ok(store) = Store::open_backend(disk.clone()) else { return 0 };
    let done = commits.iter().take_while(|commit| store.commit(commit.iter()).is_ok()).count();
    // A store that failed may report the error once more when it is closed.
    drop(store);
    done
}

/// Asserts that the store opens with every acknowledged commit, with or without the pending one, and that
/// this state is stable.
fn assert_recovers(found: &FaultyDisk, acknowledged: usize, models: &[MemoryStore], what: &str) {
    let read = |disk: &FaultyDisk| {
        let store = Store::open_backend(disk.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
        contents(&store)
    };
    // A crash during recovery does not change the contents.
    let first = FaultyDisk::from_bytes(&found.bytes());
    for operation in 1..4 {
        let again = FaultyDisk::from_bytes(&found.bytes());
        again.crash_at(operation);
        drop(Store::open_backend(again.clone()));
        let after = again.after_crash(CrashOutcome::Sectors, operation);
        let held = read(&after);
        assert!(
            models[acknowledged..].iter().take(2).any(|model| *model == held),
            "{what}, again at {operation}"
        );
    }
    let held = read(&first);
    let nth = models[acknowledged..].iter().take(2).position(|model| *model == held);
    assert!(
        nth.is_some(),
        "{what}: after {acknowledged} acknowledged commits the store holds something else"
    );
    assert_eq!(read(&first), held, "{what}: opened once more");
}

fn a_crash_at_any_operation_loses_nothing_acknowledged_and_invents_nothing() {
    let all = std::env::var_os("LARDER_STORE_ALL").is_some();
    let commits = commits();
    let models = expected_stores(&commits);
    let whole = new_store_disk();
    assert_eq!(commit_until_failure(&whole, &commits), commits.len());
    let operations = whole.operations();
    assert!(operations > WRITES, "{operations}");
    let mut tried = 0;
    // By default only some operations are tested, because each one repeats the whole workload up to it.
    for operation in (1..=operations).step_by(if all { 1 } else { 7 }) {
        let disk = new_store_disk();
        disk.crash_at(operation);
        let acknowledged = commit_until_failure(&disk, &commits);
        for (nth, survival) in CrashOutcome::ALL.into_iter().enumerate() {
            if all || nth as u64 == operation % CrashOutcome::ALL.len() as u64 {
                let found = disk.after_crash(survival, operation);
                assert_recovers(
                    &found,
                    acknowledged,
                    &models,
                    &format!("operation {operation}, {survival:?}"),
                );
                tried += 1;
            }
        }
    }
    report!("{tried} crashes in {operations} operations, {} commits", commits.len());
}

fn a_failing_or_full_disk_loses_nothing_acknowledged_and_recovers() {
    let commits = commits();
    let models = expected_stores(&commits);
    let whole = new_store_disk();
    commit_until_failure(&whole, &commits);
    for operation in (1..whole.operations()).step_by(23) {
        let fault = if operation % 2 == 0 { DiskFault::Io } else { DiskFault::Full };
        let disk = new_store_disk();
        disk.fail_at(operation, fault, FaultDuration::UntilCleared);
        let acknowledged = commit_until_failure(&disk, &commits);
        disk.clear_faults();
        let what = format!("operation {operation}, {fault:?}");
        // The contents must be right both after a restart of the host and for the same process, which reads
        // through the same cache.
        assert_recovers(&disk.after_crash(CrashOutcome::Nothing, 0), acknowledged, &models, &what);
        let store = Store::open_backend(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let held = contents(&store);
        assert!(models[acknowledged..].iter().take(2).any(|model| *model == held), "{what}");
        store
            .commit(&[Row::put(Table::Meta, vec![1], vec![2])])
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

/// The disk after all commits, followed by a crash.
fn disk_after_crash(commits: &[Vec<Row>]) -> FaultyDisk {
    let disk = new_store_disk();
    let store = Store::open_backend(disk.clone()).unwrap();
    commits.iter().for_each(|commit| store.commit(commit).unwrap());
    disk.crash();
    drop(store);
    disk.after_crash(CrashOutcome::Nothing, 0)
}

/// The disk after all commits, with the store closed properly.
fn disk_after_close(commits: &[Vec<Row>]) -> FaultyDisk {
    let disk = new_store_disk();
    commit_until_failure(&disk, commits);
    disk
}

/// Damage in the file is detected or changes nothing. A damaged file is not written to, so that it can be
/// examined later.
fn damage_is_detected_and_a_damaged_file_is_never_written_to() {
    let commits = commits();
    let models = expected_stores(&commits);
    for (disk, state) in [(disk_after_close(&commits), "closed"), (disk_after_crash(&commits), "crashed")] {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for seed in 0..500 {
            let kinds = [
                DiskDamage::Flip,
                DiskDamage::Flip,
                DiskDamage::Sector,
                DiskDamage::Truncated,
                DiskDamage::Page,
            ];
            let kind = kinds[usize::try_from(seed % 5).unwrap()];
            let what = format!("{state}, {kind:?} {seed}");
            let damaged = disk.damaged(kind, seed);
            let before = damaged.bytes();
            let seen = match Store::open_backend(damaged.clone()) {
                Err(StoreOpenError::Damaged(_)) => {
                    assert!(damaged.bytes() == before, "{what}: a damaged file was written to");
                    "seen"
                }
                Err(error) => panic!("{what}: {error}"),
                Ok(store) => {
                    let same = contents(&store) == *models.last().unwrap();
                    assert!(same, "{what}: something else was believed");
                    "no matter"
                }
            };
            *counts.entry(seen).or_default() += 1;
        }
        assert!(counts.get("seen").is_some_and(|count| *count > 100), "{state}: {counts:?}");
    }
}
