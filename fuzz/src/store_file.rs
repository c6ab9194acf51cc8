//! The store's file and the roster beside it, with bytes changed or cut off: damage is seen, or makes no difference.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use larder::store::{OpenError, Store, roster};
use larder_core::store::{Memory, Row, Rows, Table};
use larder_tests::disk::Disk;

use crate::scene::SCENE;
use crate::script::Script;

/// Opens a store whose file was changed as these bytes say; or reads them as a roster.
pub fn store_file(data: &[u8]) {
    // What the library does on pages that make no sense may be a panic, which is taken for damage.
    std::panic::set_hook(Box::new(|_| {}));
    let sound = catch_unwind(AssertUnwindSafe(|| look(data)));
    if let Err(why) = sound {
        let why = why.downcast_ref::<String>().cloned();
        eprintln!("{}", why.unwrap_or_else(|| "a panic".to_owned()));
        std::process::abort();
    }
}

fn look(data: &[u8]) {
    let mut script = Script::new(data);
    if script.rarely(8) {
        let _ = roster::parse(script.rest());
        return;
    }
    let mut bytes = MADE.clone();
    while let Some(kind) = script.draw() {
        // Most of the file is room that holds nothing: what is hit is hit in the used part, more often than not.
        let span = if kind & 1 == 0 { USED.min(bytes.len()) } else { bytes.len() };
        let at = usize::try_from(script.number() | u64::from(script.byte()) << 12).unwrap_or(0) % span.max(1);
        match kind >> 4 {
            0 => bytes.truncate(at),
            1 => bytes[at..].iter_mut().take(512).for_each(|byte| *byte = 0),
            _ if !bytes.is_empty() => bytes[at] ^= script.byte(),
            _ => {}
        }
    }
    match Store::on(Disk::of(&bytes)) {
        Err(OpenError::Damaged(_) | OpenError::Unreachable(_)) => {}
        Err(error) => panic!("{error}"),
        Ok(store) => {
            let read = contents(&store);
            let known = read.is_empty() || read == SCENE.store || read == *BEFORE;
            assert!(known, "something else was believed");
        }
    }
}

/// How much of the file holds something.
const USED: usize = 256 << 10;

/// What the store held before its last commit: a file of which the newest commit is gone is as it was then.
static BEFORE: LazyLock<Memory> = LazyLock::new(|| {
    let mut rows = all(&SCENE.store);
    rows.pop();
    let mut before = Memory::default();
    before.write(&rows);
    before
});

static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let disk = Disk::new();
    let store = Store::on(disk.clone()).expect("a new store");
    let rows = all(&SCENE.store);
    let (last, first) = rows.split_last().expect("there are rows");
    store.commit(first).expect("it is written");
    store.commit([last]).expect("it is written");
    drop(store);
    disk.bytes()
});

fn all(store: &Memory) -> Vec<Row> {
    let of = |table| {
        let Ok(rows) = store.rows(table, &[]);
        rows.into_iter().map(move |(key, value)| Row::put(table, key, value))
    };
    Table::ALL.into_iter().flat_map(of).collect()
}

fn contents(store: &Store) -> Memory {
    let mut all = Memory::default();
    for table in Table::ALL {
        let rows = store.rows(table, &[]).expect("every page was checked");
        all.write(&rows.into_iter().map(|(key, value)| Row::put(table, key, value)).collect::<Vec<_>>());
    }
    all
}
