//! Disks that fail: damaged and lost stores (E11), no room, no right to write.

use std::path::{Path, PathBuf};
use std::process::Command;

use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge, settle};

use super::{LARDER, lab};

fn store(node: &Node<'_>) -> PathBuf {
    node.data.join("store.redb")
}

/// Writes junk over most of a file, as a dying disk does.
fn spoil(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    let (from, to) = (8192.min(bytes.len() / 2), bytes.len());
    bytes[from..to].fill(0x5a);
    std::fs::write(path, &bytes).unwrap();
    bytes
}

fn ids(node: &Node<'_>) -> Vec<String> {
    let log = node.json(&["log", "-n", "0"]);
    let changes = log["changes"].as_array().unwrap();
    changes.iter().map(|change| change["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_damaged_store_is_told_of_set_aside_and_fetched_again() {
    let lab = lab!(3, "a_damaged_store_is_told_of_set_aside_and_fetched_again");
    let mut nodes = cluster(&lab, LARDER);
    for nth in 0..5 {
        nodes[1].ok(&["set", "config/db", &format!("keys.k{nth}=v{nth}"), "path=db.properties"]);
    }
    converge(&nodes);
    nodes.iter().for_each(settle);
    let (before, rendered) = (ids(&nodes[1]), nodes[1].file("db.properties"));
    assert!(rendered.contains("v4"), "{rendered}");
    nodes[1].kill();
    let spoiled = spoil(&store(&nodes[1]));
    nodes[1].start(&["daemon"]);
    assert!(nodes[1].log().contains("the store is damaged"), "{}", nodes[1].log());
    assert_eq!(std::fs::read(nodes[1].data.join("store.redb.damaged-1")).unwrap(), spoiled, "kept as it was");
    until(PATIENCE, "the copy is back", || (nodes[1].larder(&["heads"]).code == 0).then_some(()));
    converge(&nodes);
    let after = ids(&nodes[1]);
    assert!(before.iter().all(|id| after.contains(id)), "what it wrote itself is back too");
    assert_eq!(nodes[1].file("db.properties"), rendered, "no file was touched");
    // It goes on writing, and nobody takes it for two machines.
    nodes[1].ok(&["set", "config/db", "keys.after=1"]);
    converge(&nodes);
    assert!(!nodes[1].log().contains("another daemon runs with this node's key"), "{}", nodes[1].log());
    nodes[1].kill();
    nodes[1].start(&["daemon"]);
    converge(&nodes);
}

#[test]
fn a_lost_store_is_not_taken_for_an_empty_group() {
    let lab = lab!(2, "a_lost_store_is_not_taken_for_an_empty_group");
    let mut nodes = cluster(&lab, LARDER);
    nodes[1].ok(&["set", "config/db", "keys.url=here", "path=db.properties"]);
    converge(&nodes);
    nodes.iter().for_each(settle);
    nodes[0].stop();
    for lost in ["emptied", "removed"] {
        nodes[1].kill();
        match lost {
            "emptied" => drop(std::fs::File::create(store(&nodes[1])).unwrap()),
            _ => std::fs::remove_file(store(&nodes[1])).unwrap(),
        }
        nodes[1].start(&["daemon"]);
        for command in [["list", ""], ["get", "config/db"], ["heads", ""], ["conflicts", ""]] {
            let args: Vec<&str> = command.into_iter().filter(|word| !word.is_empty()).collect();
            let ran = nodes[1].larder(&args);
            assert_eq!(ran.code, 1, "{lost}: {args:?} {}", ran.out);
            assert!(ran.err.contains("was damaged") && ran.err.contains("member"), "{}", ran.err);
        }
        assert_eq!(nodes[1].larder(&["set", "config/db", "keys.url=there"]).code, 1, "nor is it written to");
        assert!(nodes[1].ok(&["groups"]).contains("shop"), "it is a member all the same");
        assert!(nodes[1].file("db.properties").contains("here"), "no file is removed for what is not known");
    }
    nodes[0].start(&["daemon"]);
    until(PATIENCE, "the copy is back", || (nodes[1].larder(&["heads"]).code == 0).then_some(()));
    converge(&nodes);
    assert!(nodes[1].ok(&["get", "config/db", "keys.url"]).contains("here"));
    nodes[1].ok(&["set", "config/db", "keys.url=there"]);
    converge(&nodes);
}

/// Of a store with no word of any group, and no roster beside it, nothing can be known: it is left alone.
#[test]
fn what_nothing_is_known_of_is_left_as_it_is() {
    let dir = std::env::temp_dir().join(format!("larder-unknown-{}", std::process::id()));
    let mut node = Node::here(&dir, "unknown", LARDER);
    node.start(&["up", "shop", "--no-mdns"]);
    node.kill();
    std::fs::remove_file(node.data.join("groups.kept")).unwrap();
    let spoiled = spoil(&store(&node));
    let ran = node.larder(&["daemon", "--no-mdns"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("damaged") && ran.err.contains("nothing was changed"), "{}", ran.err);
    assert_eq!(std::fs::read(store(&node)).unwrap(), spoiled);
    drop(std::fs::remove_dir_all(dir));
}

/// A small file system of its own, for as long as it is held.
struct Small(PathBuf);

impl Small {
    /// `None`, said loudly, where the system allows none.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(at).output();
        if mount.is_ok_and(|ran| ran.status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("SKIPPED: no small file system can be mounted here, so nothing is said of a full disk");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l"]).arg(&self.0).output());
    }
}

#[test]
fn a_full_disk_is_told_of_and_gone_on_from() {
    let dir = std::env::temp_dir().join(format!("larder-full-{}", std::process::id()));
    let mut node = Node::here(&dir, "full", LARDER);
    let Some(_small) = Small::mount(&node.data) else { return };
    node.start(&["up", "shop", "--no-mdns"]);
    let write = |node: &Node<'_>, nth: usize| {
        let value = format!("keys.k={nth}-{}", "x".repeat(20_000));
        node.larder(&["set", &format!("config/c{}", nth % 4), &value, "--json"])
    };
    let mut acknowledged = vec![];
    let id = |out: &str| {
        serde_json::from_str::<serde_json::Value>(out).unwrap()["change"].as_str().unwrap().to_owned()
    };
    acknowledged.push(id(&write(&node, 0).out));
    // Something else takes the room that is left.
    let filler = node.data.join("filler");
    std::fs::write(&filler, vec![1; 16 << 20]).unwrap_err();
    let mut failed = None;
    for nth in 1..400 {
        let ran = write(&node, nth);
        if ran.code != 0 {
            failed = Some(ran);
            break;
        }
        acknowledged.push(id(&ran.out));
    }
    let failed = failed.expect("the disk is full");
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains("No space left") && failed.err.contains("free"), "{}", failed.err);
    // It is read as ever, and says why nothing is written.
    assert!(node.ok(&["get", "config/c0", "keys.k"]).contains("xxx"));
    let status = node.larder(&["status"]);
    assert!(status.err.contains("No space left"), "{}", status.err);
    std::fs::remove_file(&filler).unwrap();
    let pid = node.daemon.as_ref().map(|daemon| daemon.pid());
    until(PATIENCE, "a write after there is room", || {
        let ran = write(&node, 1000);
        (ran.code == 0).then(|| acknowledged.push(id(&ran.out)))
    });
    assert_eq!(node.daemon.as_ref().map(|daemon| daemon.pid()), pid, "the same process");
    node.kill();
    node.start(&["daemon", "--no-mdns"]);
    let there = ids(&node);
    assert!(acknowledged.iter().all(|id| there.contains(id)), "every acknowledged write is in the log");
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_at_the_start() {
    let dir = std::env::temp_dir().join(format!("larder-readonly-{}", std::process::id()));
    let node = Node::here(&dir, "readonly", LARDER);
    let Some(small) = Small::mount(&node.data) else { return };
    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(&node.data).output().unwrap();
    assert!(remount.status.success());
    let ran = node.larder(&["daemon", "--no-mdns"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("Read-only file system") && ran.err.contains("readonly"), "{}", ran.err);
    drop(small);
    drop(std::fs::remove_dir_all(dir));
}
