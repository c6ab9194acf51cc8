//! A crash may come between any two steps of creating a store or of replacing a damaged one. The next start
//! must complete them.

use std::fs;
use std::path::{Path, PathBuf};

use larder::data_dir::DataDir;
use larder::store::recover::{self, RecoveryReport};
use larder::store::{MembershipBackup, Store};
use larder_core::id::SecretKey;
use larder_core::node::{Input, Node, Request, RequestId, offline};
use larder_core::store::{MemoryStore, Row, RowReader, Table};
use larder_core::test_support::{TestNode, node_config};

tests! {
    replacing_a_damaged_store_survives_a_crash_at_any_step,
    a_missing_store_is_recreated_from_the_membership_backup,
    creating_a_store_survives_a_crash_at_any_step,
}

fn node_secret() -> SecretKey {
    SecretKey::from_bytes(&[5; 32])
}

/// A new data directory for each tested state.
struct TempDataDir(PathBuf);

impl TempDataDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("larder-recovery-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn data_dir(&self) -> DataDir {
        DataDir::new(Some(self.0.clone()), None)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn recover_and_open(&self) -> (MemoryStore, Option<RecoveryReport>) {
        let (store, loss) = recover::open_or_recover(&self.data_dir(), &node_secret())
            .unwrap_or_else(|failure| panic!("{failure}"));
        (MemoryStore::copy_of(&store).unwrap(), loss)
    }
}

impl Drop for TempDataDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The rows that a node stores when it creates a group.
fn rows_of_a_new_group() -> Vec<Row> {
    let config = node_config(node_secret());
    let (mut node, _) = Node::open(config, TestNode::START, &MemoryStore::default()).unwrap();
    let request = Request::CreateGroup { name: "shop".to_owned() };
    let input = Input::Request { request_id: RequestId(1), request };
    let mut rows = Vec::new();
    offline::handle(&mut node, TestNode::START, input, |batch| rows.extend(batch));
    rows
}

/// A data directory with a damaged store and a membership backup.
fn damaged_data_dir(name: &str) -> (TempDataDir, Vec<u8>) {
    let dir = TempDataDir::new(name);
    let path = dir.file("store.redb");
    let store = Store::open(&path).unwrap();
    store.commit(&rows_of_a_new_group()).unwrap();
    MembershipBackup::new(dir.file("groups.kept")).update(&store).unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[8192..len].fill(0x5a);
    fs::write(&path, &bytes).unwrap();
    (dir, bytes)
}

/// Every file of a directory with exactly these contents.
fn files_with_content(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| fs::read(path).is_ok_and(|found| found == bytes)).collect()
}

fn replacing_a_damaged_store_survives_a_crash_at_any_step() {
    let (dir, bytes) = damaged_data_dir("whole");
    let (expected, loss) = dir.recover_and_open();
    assert_eq!(loss.unwrap().groups.len(), 1);
    let made = fs::read(dir.file("store.redb")).unwrap();
    assert_eq!(files_with_content(&dir.0, &bytes), [dir.file("store.redb.damaged-1")]);
    // The files that each step leaves on the disk: the copy that is read, a part of the new store, the new
    // store, and the second name of the damaged store. After the rename, which is the last step, nothing is
    // left to do.
    type Left<'a> = (&'a str, &'a dyn Fn(&TempDataDir));
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
        let (dir, bytes) = damaged_data_dir(name);
        leave(&dir);
        let (found, loss) = dir.recover_and_open();
        assert!(loss.is_some() && found == expected, "{name}");
        assert!(
            !files_with_content(&dir.0, &bytes).is_empty(),
            "{name}: the damaged store is kept as it was"
        );
        let (again, loss) = dir.recover_and_open();
        assert!(loss.is_none() && again == expected, "{name}: once is enough");
    }
}

/// The store is missing, because its directory entry never reached the disk. The membership backup exists.
fn a_missing_store_is_recreated_from_the_membership_backup() {
    let (dir, _) = damaged_data_dir("gone");
    fs::remove_file(dir.file("store.redb")).unwrap();
    let (found, loss) = dir.recover_and_open();
    assert_eq!(loss.unwrap().moved_to, None);
    assert_eq!(found.read_rows(Table::Groups, &[]).unwrap().len(), 1, "its group is not forgotten");
}

fn creating_a_store_survives_a_crash_at_any_step() {
    let made = {
        let dir = TempDataDir::new("made");
        dir.recover_and_open();
        fs::read(dir.file("store.redb")).unwrap()
    };
    for (name, file, left) in [
        ("nothing", "other", &made[..0]),
        ("begun", "store.new", &made[..0]),
        ("half-made", "store.new", &made[..made.len() / 2]),
        ("not-named", "store.new", &made[..]),
        ("empty", "store.redb", &made[..0]),
    ] {
        let dir = TempDataDir::new(name);
        fs::write(dir.file(file), left).unwrap();
        let (found, loss) = dir.recover_and_open();
        assert!(found.is_empty() && loss.is_none(), "{name}");
        assert!(dir.file("store.redb").exists());
    }
}
