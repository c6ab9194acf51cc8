//! A crash between any two steps of making a store, or of setting a damaged one aside: the next start goes on.

use std::fs;
use std::path::{Path, PathBuf};

use larder::place::Place;
use larder::store::recover::{self, Loss};
use larder::store::{Roster, Store};
use larder_core::id::Secret;
use larder_core::machine::{Caller, Config, Effect, Input, Machine, Moment, Now, Request};
use larder_core::store::{Memory, Row, Rows, Table};

fn me() -> Secret {
    Secret::from_bytes(&[5; 32])
}

/// A directory of its own for each state that is tried.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("larder-recovery-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn place(&self) -> Place {
        Place::new(Some(self.0.clone()), None)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn open(&self) -> (Memory, Option<Loss>) {
        let (store, loss) = recover::open(&self.place(), &me()).unwrap_or_else(|failure| panic!("{failure}"));
        (contents(&store), loss)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn contents(store: &Store) -> Memory {
    let mut all = Memory::default();
    for table in Table::ALL {
        let rows = store.rows(table, &[]).unwrap();
        all.write(&rows.into_iter().map(|(key, value)| Row::put(table, key, value)).collect::<Vec<_>>());
    }
    all
}

/// What a node stores that founds a group.
fn founded() -> Vec<Row> {
    let config = Config {
        secret: me(),
        seed: [1; 32],
        software: "test".to_owned(),
        host: "here".to_owned(),
        reborn: false,
    };
    let now = Now { mono: Moment(1), wall: 1_700_000_000 };
    let (mut machine, _) = Machine::open(config, now, &Memory::default()).unwrap();
    let request = Request::Found { name: "shop".to_owned() };
    let effects = machine.handle(now, Input::Request { caller: Caller(1), request });
    let rows = |effect| match effect {
        Effect::Store { rows, .. } => rows,
        _ => Vec::new(),
    };
    effects.into_iter().flat_map(rows).collect()
}

/// A directory with a damaged store and the roster beside it.
fn damaged(name: &str) -> (Dir, Vec<u8>) {
    let dir = Dir::new(name);
    let path = dir.file("store.redb");
    let store = Store::open(&path).unwrap();
    store.commit(&founded()).unwrap();
    Roster::at(dir.file("groups.kept")).keep(&store).unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[8192..len].fill(0x5a);
    fs::write(&path, &bytes).unwrap();
    (dir, bytes)
}

/// Every file of a directory that holds just these bytes.
fn holding(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| fs::read(path).is_ok_and(|found| found == bytes)).collect()
}

#[test]
fn setting_a_damaged_store_aside_can_stop_anywhere() {
    let (dir, bytes) = damaged("whole");
    let (expected, loss) = dir.open();
    assert_eq!(loss.unwrap().groups.len(), 1);
    let made = fs::read(dir.file("store.redb")).unwrap();
    assert_eq!(holding(&dir.0, &bytes), [dir.file("store.redb.damaged-1")]);
    // What is left on the disk after each step: the copy that is read, the new store half and whole, the second name of
    // the damaged one. After the last step, the rename, there is nothing left to do.
    type Left<'a> = (&'a str, &'a dyn Fn(&Dir));
    let steps: [Left<'_>; 5] = [
        ("copied", &|dir| fs::write(dir.file("store.salvage"), &bytes[..4096]).unwrap()),
        ("half", &|dir| fs::write(dir.file("store.new"), &made[..9000]).unwrap()),
        ("new", &|dir| fs::write(dir.file("store.new"), &made).unwrap()),
        ("named", &|dir| {
            fs::write(dir.file("store.new"), &made).unwrap();
            fs::hard_link(dir.file("store.redb"), dir.file("store.redb.damaged-1")).unwrap();
        }),
        ("roster", &|dir| fs::write(dir.file("groups.new"), b"half").unwrap()),
    ];
    for (name, leave) in steps {
        let (dir, bytes) = damaged(name);
        leave(&dir);
        let (found, loss) = dir.open();
        assert!(loss.is_some() && found == expected, "{name}");
        assert!(!holding(&dir.0, &bytes).is_empty(), "{name}: the damaged store is kept as it was");
        let (again, loss) = dir.open();
        assert!(loss.is_none() && again == expected, "{name}: once is enough");
    }
}

/// A directory entry that never reached the disk: the store is gone, the roster is there.
#[test]
fn a_store_that_was_never_there_after_all_is_begun_anew() {
    let (dir, _) = damaged("gone");
    fs::remove_file(dir.file("store.redb")).unwrap();
    let (found, loss) = dir.open();
    assert_eq!(loss.unwrap().aside, None);
    assert_eq!(found.rows(Table::Groups, &[]).unwrap().len(), 1, "its group is not forgotten");
}

#[test]
fn making_a_store_can_stop_anywhere() {
    let made = {
        let dir = Dir::new("made");
        dir.open();
        fs::read(dir.file("store.redb")).unwrap()
    };
    for (name, file, left) in [
        ("nothing", "other", &made[..0]),
        ("begun", "store.new", &made[..0]),
        ("half-made", "store.new", &made[..made.len() / 2]),
        ("not-named", "store.new", &made[..]),
        ("empty", "store.redb", &made[..0]),
    ] {
        let dir = Dir::new(name);
        fs::write(dir.file(file), left).unwrap();
        let (found, loss) = dir.open();
        assert!(found.is_empty() && loss.is_none(), "{name}");
        assert!(dir.file("store.redb").exists());
    }
}
