//! The store file and the membership backup, with changed or missing bytes. Damage must be detected or have
//! no effect.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use larder::store::{Store, StoreOpenError, membership_backup};
use larder_core::store::{MemoryStore, Row, RowReader, Table};
use larder_tests::disk::FaultyDisk;

use crate::decisions::Decisions;
use crate::fixture::FIXTURE;

/// Opens a store file that the bytes damage, or decodes them as a membership backup.
pub fn fuzz_store_file(data: &[u8]) {
    // redb may panic on invalid pages. The store treats such a panic as damage.
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(|| check_store_file(data)));
    if let Err(panic_payload) = result {
        let panic_message = panic_payload.downcast_ref::<String>().cloned();
        eprintln!("{}", panic_message.unwrap_or_else(|| "a panic".to_owned()));
        std::process::abort();
    }
}

fn check_store_file(data: &[u8]) {
    let mut decisions = Decisions::new(data);
    if decisions.one_in(8) {
        let _ = membership_backup::decode(decisions.remaining());
        return;
    }
    let mut bytes = STORE_FILE.clone();
    while let Some(kind) = decisions.next_byte() {
        // Most of the file is unused, so most damage goes to the used part.
        let span = if kind & 1 == 0 { USED_FILE_BYTES.min(bytes.len()) } else { bytes.len() };
        let at = usize::try_from(decisions.number() | u64::from(decisions.next_byte_or_zero()) << 12)
            .unwrap_or(0)
            % span.max(1);
        match kind >> 4 {
            0 => bytes.truncate(at),
            1 => bytes[at..].iter_mut().take(512).for_each(|byte| *byte = 0),
            _ if !bytes.is_empty() => bytes[at] ^= decisions.next_byte_or_zero(),
            _ => {}
        }
    }
    match Store::open_backend(FaultyDisk::from_bytes(&bytes)) {
        Err(StoreOpenError::Damaged(_) | StoreOpenError::Unreachable(_)) => {}
        Err(error) => panic!("{error}"),
        Ok(store) => {
            let read = contents(&store);
            let known = read.is_empty() || read == FIXTURE.store || read == *STORE_BEFORE_LAST_COMMIT;
            assert!(known, "something else was believed");
        }
    }
}

/// The size of the used part of the file, in bytes.
const USED_FILE_BYTES: usize = 256 << 10;

/// The contents of the store before its last commit. A file that lost its newest commit has these contents.
static STORE_BEFORE_LAST_COMMIT: LazyLock<MemoryStore> = LazyLock::new(|| {
    let mut rows = all_rows(&FIXTURE.store);
    rows.pop();
    let mut before = MemoryStore::default();
    before.write(&rows);
    before
});

static STORE_FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let disk = FaultyDisk::new();
    let store = Store::open_backend(disk.clone()).expect("a new store");
    let rows = all_rows(&FIXTURE.store);
    let (last, first) = rows.split_last().expect("there are rows");
    store.commit(first).expect("it is written");
    store.commit([last]).expect("it is written");
    drop(store);
    disk.bytes()
});

fn all_rows(store: &MemoryStore) -> Vec<Row> {
    let rows_of_table = |table| {
        let Ok(rows) = store.read_rows(table, &[]);
        rows.into_iter().map(move |(key, value)| Row::put(table, key, value))
    };
    Table::ALL.into_iter().flat_map(rows_of_table).collect()
}

fn contents(store: &Store) -> MemoryStore {
    let mut memory = MemoryStore::default();
    for table in Table::ALL {
        let rows = store.read_rows(table, &[]).expect("every page was checked");
        memory.write(&rows.into_iter().map(|(key, value)| Row::put(table, key, value)).collect::<Vec<_>>());
    }
    memory
}
