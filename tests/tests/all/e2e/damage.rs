//! Failing disks: damaged and lost stores, full disks, and read-only file systems.

use std::path::{Path, PathBuf};
use std::process::Command;

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};
use larder_tests::requirement::{MissingRequirement, require};

use super::LARDER;

tests! {
    a_damaged_store_is_reported_replaced_and_fetched_again,
    a_lost_store_is_not_taken_for_an_empty_group,
    an_unrecoverable_store_is_left_unchanged,
    a_full_disk_is_reported_and_writes_resume_once_space_is_freed,
    a_read_only_data_directory_fails_at_start,
}

fn store_path(node: &TestNode<'_>) -> PathBuf {
    node.data_dir.join("store.redb")
}

/// Overwrites most of a file with junk. Returns the new contents.
fn overwrite_with_junk(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    let (from, to) = (8192.min(bytes.len() / 2), bytes.len());
    bytes[from..to].fill(0x5a);
    std::fs::write(path, &bytes).unwrap();
    bytes
}

fn change_ids(node: &TestNode<'_>) -> Vec<String> {
    let log = node.run_json(&["log", "-n", "0"]);
    let changes = log["changes"].as_array().unwrap();
    changes.iter().map(|change| change["id"].as_str().unwrap().to_owned()).collect()
}

fn a_damaged_store_is_reported_replaced_and_fetched_again() {
    let lab = Lab::require(3);
    let mut nodes = start_cluster(&lab, LARDER);
    for nth in 0..5 {
        nodes[1].run_ok(&["set", "config/db", &format!("keys.k{nth}=v{nth}"), "path=db.properties"]);
    }
    wait_until_converged(&nodes);
    nodes.iter().for_each(wait_until_applied);
    let (before, rendered) = (change_ids(&nodes[1]), nodes[1].read_file("db.properties"));
    assert!(rendered.contains("v4"), "{rendered}");
    nodes[1].kill();
    let spoiled = overwrite_with_junk(&store_path(&nodes[1]));
    nodes[1].start(&["daemon"]);
    assert!(nodes[1].read_log().contains("the store is damaged"), "{}", nodes[1].read_log());
    assert_eq!(
        std::fs::read(nodes[1].data_dir.join("store.redb.damaged-1")).unwrap(),
        spoiled,
        "kept as it was"
    );
    wait_until(WAIT_LIMIT, "the copy is back", || {
        (nodes[1].run_larder(&["heads"]).exit_code == 0).then_some(())
    });
    wait_until_converged(&nodes);
    let after = change_ids(&nodes[1]);
    assert!(before.iter().all(|id| after.contains(id)), "what it wrote itself is back too");
    assert_eq!(nodes[1].read_file("db.properties"), rendered, "no file was touched");
    // The node writes on, and no node mistakes it for a second daemon with the same key.
    nodes[1].run_ok(&["set", "config/db", "keys.after=1"]);
    wait_until_converged(&nodes);
    assert!(!nodes[1].read_log().contains("another daemon uses this node's key"), "{}", nodes[1].read_log());
    nodes[1].kill();
    nodes[1].start(&["daemon"]);
    wait_until_converged(&nodes);
}

fn a_lost_store_is_not_taken_for_an_empty_group() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[1].run_ok(&["set", "config/db", "keys.url=here", "path=db.properties"]);
    wait_until_converged(&nodes);
    nodes.iter().for_each(wait_until_applied);
    nodes[0].stop();
    for lost in ["emptied", "removed"] {
        nodes[1].kill();
        match lost {
            "emptied" => drop(std::fs::File::create(store_path(&nodes[1])).unwrap()),
            _ => std::fs::remove_file(store_path(&nodes[1])).unwrap(),
        }
        nodes[1].start(&["daemon"]);
        for command in [["list", ""], ["get", "config/db"], ["heads", ""], ["conflicts", ""]] {
            let args: Vec<&str> = command.into_iter().filter(|word| !word.is_empty()).collect();
            let ran = nodes[1].run_larder(&args);
            assert_eq!(ran.exit_code, 1, "{lost}: {args:?} {}", ran.stdout);
            assert!(ran.stderr.contains("was damaged") && ran.stderr.contains("member"), "{}", ran.stderr);
        }
        assert_eq!(
            nodes[1].run_larder(&["set", "config/db", "keys.url=there"]).exit_code,
            1,
            "nor is it written to"
        );
        assert!(nodes[1].run_ok(&["groups"]).contains("shop"), "it is a member all the same");
        assert!(
            nodes[1].read_file("db.properties").contains("here"),
            "no file is removed for what is not known"
        );
    }
    nodes[0].start(&["daemon"]);
    wait_until(WAIT_LIMIT, "the copy is back", || {
        (nodes[1].run_larder(&["heads"]).exit_code == 0).then_some(())
    });
    wait_until_converged(&nodes);
    assert!(nodes[1].run_ok(&["get", "config/db", "keys.url"]).contains("here"));
    nodes[1].run_ok(&["set", "config/db", "keys.url=there"]);
    wait_until_converged(&nodes);
}

/// Without a readable group and without the membership backup, the daemon changes nothing and fails.
fn an_unrecoverable_store_is_left_unchanged() {
    let dir = std::env::temp_dir().join(format!("larder-unknown-{}", std::process::id()));
    let mut node = TestNode::without_host(&dir, "unknown", LARDER);
    node.start(&["up", "shop", "--no-mdns"]);
    node.kill();
    std::fs::remove_file(node.data_dir.join("groups.kept")).unwrap();
    let spoiled = overwrite_with_junk(&store_path(&node));
    let ran = node.run_larder(&["daemon", "--no-mdns"]);
    assert_eq!(ran.exit_code, 1);
    assert!(ran.stderr.contains("damaged") && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    assert_eq!(std::fs::read(store_path(&node)).unwrap(), spoiled);
    drop(std::fs::remove_dir_all(dir));
}

/// A small file system, unmounted when dropped.
struct SmallMount(PathBuf);

impl SmallMount {
    /// Mounts the file system. If this host allows no mounts, the test ends as not run.
    fn require(mount_point: &Path) -> Self {
        std::fs::create_dir_all(mount_point).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(mount_point).output();
        require(mount.is_ok_and(|ran| ran.status.success()).then(|| Self(mount_point.to_owned())).ok_or_else(
            || MissingRequirement {
                what: "a file system of 6 MiB",
                reason: "`mount -t tmpfs` does not work".into(),
                remedy: "Run as root.",
            },
        ))
    }
}

impl Drop for SmallMount {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l"]).arg(&self.0).output());
    }
}

fn a_full_disk_is_reported_and_writes_resume_once_space_is_freed() {
    let dir = std::env::temp_dir().join(format!("larder-full-{}", std::process::id()));
    let mut node = TestNode::without_host(&dir, "full", LARDER);
    let _small = SmallMount::require(&node.data_dir);
    node.start(&["up", "shop", "--no-mdns"]);
    let write = |node: &TestNode<'_>, nth: usize| {
        let value = format!("keys.k={nth}-{}", "x".repeat(20_000));
        node.run_larder(&["set", &format!("config/c{}", nth % 4), &value, "--json"])
    };
    let mut acknowledged = vec![];
    let id = |out: &str| {
        serde_json::from_str::<serde_json::Value>(out).unwrap()["change"].as_str().unwrap().to_owned()
    };
    acknowledged.push(id(&write(&node, 0).stdout));
    // Another file uses up the free space.
    let filler = node.data_dir.join("filler");
    std::fs::write(&filler, vec![1; 16 << 20]).unwrap_err();
    let mut failed = None;
    for nth in 1..400 {
        let ran = write(&node, nth);
        if ran.exit_code != 0 {
            failed = Some(ran);
            break;
        }
        acknowledged.push(id(&ran.stdout));
    }
    let failed = failed.expect("the disk is full");
    assert_eq!(failed.exit_code, 1);
    assert!(failed.stderr.contains("No space left") && failed.stderr.contains("free"), "{}", failed.stderr);
    // Reads still work, and `status` gives the reason why writes fail.
    assert!(node.run_ok(&["get", "config/c0", "keys.k"]).contains("xxx"));
    let status = node.run_larder(&["status"]);
    assert!(status.stderr.contains("No space left"), "{}", status.stderr);
    std::fs::remove_file(&filler).unwrap();
    let pid = node.daemon.as_ref().map(|daemon| daemon.pid());
    wait_until(WAIT_LIMIT, "a write after there is room", || {
        let ran = write(&node, 1000);
        (ran.exit_code == 0).then(|| acknowledged.push(id(&ran.stdout)))
    });
    assert_eq!(node.daemon.as_ref().map(|daemon| daemon.pid()), pid, "the same process");
    node.kill();
    node.start(&["daemon", "--no-mdns"]);
    let there = change_ids(&node);
    assert!(acknowledged.iter().all(|id| there.contains(id)), "every acknowledged write is in the log");
    node.stop();
    drop(std::fs::remove_dir_all(dir));
}

fn a_read_only_data_directory_fails_at_start() {
    let dir = std::env::temp_dir().join(format!("larder-readonly-{}", std::process::id()));
    let node = TestNode::without_host(&dir, "readonly", LARDER);
    let small = SmallMount::require(&node.data_dir);
    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(&node.data_dir).output().unwrap();
    assert!(remount.status.success());
    let ran = node.run_larder(&["daemon", "--no-mdns"]);
    assert_eq!(ran.exit_code, 1);
    assert!(
        ran.stderr.contains("Read-only file system") && ran.stderr.contains("readonly"),
        "{}",
        ran.stderr
    );
    drop(small);
    drop(std::fs::remove_dir_all(dir));
}
