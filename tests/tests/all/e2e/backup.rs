//! Backups of a running node, and restoring them without bringing old values back on other nodes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    a_restored_backup_catches_up_and_brings_nothing_old_back,
    a_damaged_backup_is_refused_and_touches_nothing,
}

fn file_mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn field_value(node: &TestNode<'_>, field: &str) -> String {
    node.run_larder(&["get", "config/a", field]).stdout
}

/// Asserts that no history forked and that no node has an unaccepted change.
fn assert_no_fork(nodes: &[TestNode<'_>]) {
    for node in nodes {
        let rows = node.run_json(&["nodes"])["nodes"].as_array().unwrap().clone();
        assert!(rows.iter().all(|row| row["forked"] == false), "{rows:?}");
        let unaccepted = node.run_json(&["quarantine", "list"]);
        assert_eq!(unaccepted["changes"].as_array().map(Vec::len), Some(0), "{unaccepted}");
    }
}

/// Makes a backup in `dir` while the node writes.
fn back_up_while_writing(node: &TestNode<'_>, dir: &Path) {
    let name = dir.to_str().unwrap().to_owned();
    let made = std::thread::scope(|scope| {
        let writer = node.as_client();
        let writing = scope.spawn(move || {
            for nth in 0..20 {
                writer.run_ok(&["set", "config/b", "path=b", &format!("keys.n={nth}")]);
            }
        });
        let made = node.run_json(&["backup", &name]);
        writing.join().unwrap();
        made
    });
    assert_eq!((&made["node"], &made["groups"][0]["name"]), (&node.id().into(), &"shop".into()));
    assert_eq!(
        (file_mode(dir), file_mode(&dir.join("node.key")), file_mode(&dir.join("store.redb"))),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(
        file_mode(&node.data_dir.join("groups.kept")),
        0o600,
        "who is a member is nobody else's business"
    );
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("MANIFEST")).unwrap()).unwrap();
    assert_eq!(manifest, made);
    let again = node.run_larder(&["backup", &name]);
    assert!(again.exit_code == 5 && again.stderr.contains("not empty"), "{}", again.stderr);
}

/// Restores the backup `name`, after checking that this is refused while a daemon runs, and without `--force`
/// over existing data.
fn restore_with_force(node: &mut TestNode<'_>, name: &str) {
    let running = node.run_larder(&["restore-backup", name, "--force"]);
    assert!(running.exit_code == 5 && running.stderr.contains("a daemon uses"), "{}", running.stderr);
    let elsewhere = node.run_larder(&["restore-backup", name, "--force", "--socket", "no.sock"]);
    assert!(elsewhere.exit_code == 5 && elsewhere.stderr.contains("a daemon uses"), "{}", elsewhere.stderr);
    node.stop();
    let refused = node.run_larder(&["restore-backup", name]);
    assert!(refused.exit_code == 5 && refused.stderr.contains("--force"), "{}", refused.stderr);
    let before = std::fs::read(node.data_dir.join("store.redb")).unwrap();
    let restored = node.run_json(&["restore-backup", name, "--force"]);
    let previous_dir = Path::new(restored["moved_to"].as_str().unwrap());
    assert!(
        std::fs::read(previous_dir.join("store.redb")).unwrap() == before
            && previous_dir.join("files/a").exists()
    );
}

/// An old backup is restored. The node catches up and writes, and no old value appears on any node.
fn a_restored_backup_catches_up_and_brings_nothing_old_back() {
    let lab = Lab::require(2);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[1].run_ok(&["set", "config/a", "path=a", "keys.x=old", "keys.y=old"]);
    nodes[1].run_ok(&["set", "file/gone", "path=gone", "content=old"]);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    let dir = nodes[1].data_dir.with_extension("backup");
    let name = dir.to_str().unwrap().to_owned();
    back_up_while_writing(&nodes[1], &dir);
    // These writes are newer than the backup.
    nodes[1].run_ok(&["set", "config/a", "keys.x=new"]);
    nodes[1].run_ok(&["unset", "config/a", "keys.y"]);
    nodes[0].run_ok(&["rm", "file/gone"]);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    restore_with_force(&mut nodes[1], &name);
    // The disconnected node has the old values and writes before it meets a member. This makes no fork,
    // because its chains are new.
    lab.partition(&[&[0], &[1]]);
    nodes[1].start(&["daemon"]);
    assert_eq!(
        (field_value(&nodes[1], "keys.x"), field_value(&nodes[1], "keys.y")),
        ("old\n".into(), "old\n".into())
    );
    nodes[1].run_ok(&["set", "config/a", "keys.z=written after"]);
    lab.heal();
    wait_until_converged(&nodes);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    for node in &nodes {
        assert_eq!(
            (field_value(node, "keys.x"), field_value(node, "keys.z")),
            ("new\n".into(), "written after\n".into())
        );
        assert_eq!(
            (field_value(node, "keys.y"), node.run_larder(&["get", "file/gone"]).exit_code),
            (String::new(), 4)
        );
        assert_eq!(node.run_ok(&["get", "config/b", "keys.n"]), "19\n");
        assert!(node.run_json(&["conflicts"])["conflicts"].as_array().unwrap().is_empty());
        wait_until(WAIT_LIMIT, "the files", || {
            (node.read_file("a") == "x=new\nz=written after\n").then_some(())
        });
        assert!(!node.data_dir.join("files/gone").exists());
    }
    assert_no_fork(&nodes);
    // A restored node receives its own lost changes back. `doctor` does not report this as a fault.
    let doctor = nodes[1].run_larder(&["doctor"]);
    assert_eq!(doctor.exit_code, 0, "{}", doctor.stdout);
    assert!(doctor.stdout.contains("was copied, moved or restored"), "{}", doctor.stdout);
}

fn a_damaged_backup_is_refused_and_touches_nothing() {
    let lab = Lab::require(1);
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=1"]);
    let digest = nodes[0].digest();
    let dir = nodes[0].data_dir.with_extension("backup");
    let name = dir.to_str().unwrap().to_owned();
    let made = nodes[0].run_json(&["backup", &name]);
    assert_eq!(made["groups"][0]["digest"], digest.as_str());
    nodes[0].stop();
    let inside = || {
        let entries = std::fs::read_dir(&nodes[0].data_dir).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let there = inside();
    for file in ["store.redb", "node.key"] {
        let whole = std::fs::read(dir.join(file)).unwrap();
        let mut bad = whole.clone();
        bad[20] ^= 1;
        std::fs::write(dir.join(file), bad).unwrap();
        let ran = nodes[0].run_larder(&["restore-backup", &name, "--force"]);
        assert!(
            ran.exit_code == 1 && ran.stderr.contains(&format!("`{file}` of the backup is damaged")),
            "{}",
            ran.stderr
        );
        std::fs::write(dir.join(file), whole).unwrap();
    }
    let manifest = std::fs::read_to_string(dir.join("MANIFEST")).unwrap();
    for (bad, code, word) in [
        (manifest.replace("\"node.key\"", "\"../node.key\""), 1, "is not a file of a data directory"),
        (manifest.replace("\"format\": 1", "\"format\": 2"), 1, "newer version"),
        (manifest[..manifest.len() / 2].to_owned(), 1, "damaged"),
    ] {
        std::fs::write(dir.join("MANIFEST"), bad).unwrap();
        let ran = nodes[0].run_larder(&["restore-backup", &name, "--force"]);
        assert!(ran.exit_code == code && ran.stderr.contains(word), "{}", ran.stderr);
    }
    std::fs::remove_file(dir.join("MANIFEST")).unwrap();
    let ran = nodes[0].run_larder(&["restore-backup", &name, "--force"]);
    assert!(ran.exit_code == 4 && ran.stderr.contains("MANIFEST"), "{}", ran.stderr);
    assert_eq!(inside(), there);
    std::fs::write(dir.join("MANIFEST"), manifest).unwrap();
    // Restore onto a host without any data.
    std::fs::remove_dir_all(&nodes[0].data_dir).unwrap();
    let ran = nodes[0].run_larder(&["restore-backup", &name]);
    assert!(ran.exit_code == 0 && ran.stderr.contains("Start the daemon"), "{}", ran.stderr);
    nodes[0].start(&["daemon"]);
    assert_eq!(nodes[0].digest(), digest);
    assert_eq!(field_value(&nodes[0], "keys.x"), "1\n");
}
