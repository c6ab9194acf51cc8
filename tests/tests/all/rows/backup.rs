//! Backups: made while the daemon runs, and put back without anything old coming back elsewhere.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge, settle};
use serde_json::Value;

use super::{LARDER, lab};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn value(node: &Node<'_>, field: &str) -> String {
    node.larder(&["get", "config/a", field]).out
}

/// No node's history forked, and nothing is kept aside anywhere.
fn assert_no_fork(nodes: &[Node<'_>]) {
    for node in nodes {
        let rows = node.json(&["nodes"])["nodes"].as_array().unwrap().clone();
        assert!(rows.iter().all(|row| row["forked"] == false), "{rows:?}");
        let aside = node.json(&["quarantine", "list"]);
        assert_eq!(aside["changes"].as_array().map(Vec::len), Some(0), "{aside}");
    }
}

/// E12: last week's backup is put back; the node catches up, writes on, and nothing old appears anywhere.
#[test]
fn a_backup_put_back_catches_up_and_brings_nothing_old_back() {
    let lab = lab!(2, "a_backup_put_back_catches_up_and_brings_nothing_old_back");
    let mut nodes = cluster(&lab, LARDER);
    nodes[1].ok(&["set", "config/a", "path=a", "keys.x=old", "keys.y=old"]);
    nodes[1].ok(&["set", "file/gone", "path=gone", "content=old"]);
    nodes.iter().for_each(settle);
    converge(&nodes);
    let dir = nodes[1].data.with_extension("backup");
    let name = dir.to_str().unwrap().to_owned();
    // It is made while the node goes on writing.
    let made = std::thread::scope(|scope| {
        let writer = nodes[1].twin();
        let writing = scope.spawn(move || {
            for nth in 0..20 {
                writer.ok(&["set", "config/b", "path=b", &format!("keys.n={nth}")]);
            }
        });
        let made = nodes[1].json(&["backup", &name]);
        writing.join().unwrap();
        made
    });
    assert_eq!((&made["node"], &made["groups"][0]["name"]), (&nodes[1].id().into(), &"shop".into()));
    assert_eq!(
        (mode(&dir), mode(&dir.join("node.key")), mode(&dir.join("store.redb"))),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(mode(&nodes[1].data.join("groups.kept")), 0o600, "who is a member is nobody else's business");
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("MANIFEST")).unwrap()).unwrap();
    assert_eq!(manifest, made);
    let again = nodes[1].larder(&["backup", &name]);
    assert!(again.code == 5 && again.err.contains("not empty"), "{}", again.err);
    // A week passes.
    nodes[1].ok(&["set", "config/a", "keys.x=new"]);
    nodes[1].ok(&["unset", "config/a", "keys.y"]);
    nodes[0].ok(&["rm", "file/gone"]);
    nodes.iter().for_each(settle);
    converge(&nodes);
    // It is put back only where no daemon runs, and not over anything without a word.
    let running = nodes[1].larder(&["restore-backup", &name, "--force"]);
    assert!(running.code == 5 && running.err.contains("a daemon runs"), "{}", running.err);
    let elsewhere = nodes[1].larder(&["restore-backup", &name, "--force", "--socket", "no.sock"]);
    assert!(elsewhere.code == 5 && elsewhere.err.contains("a daemon runs"), "{}", elsewhere.err);
    nodes[1].stop();
    let refused = nodes[1].larder(&["restore-backup", &name]);
    assert!(refused.code == 5 && refused.err.contains("--force"), "{}", refused.err);
    let before = std::fs::read(nodes[1].data.join("store.redb")).unwrap();
    let restored = nodes[1].json(&["restore-backup", &name, "--force"]);
    let aside = Path::new(restored["aside"].as_str().unwrap());
    assert!(std::fs::read(aside.join("store.redb")).unwrap() == before && aside.join("files/a").exists());
    // Cut off, it is as it was, and writes before it meets anybody: that is no fork, for its chains are new.
    lab.split(&[&[0], &[1]]);
    nodes[1].start(&["daemon"]);
    assert_eq!((value(&nodes[1], "keys.x"), value(&nodes[1], "keys.y")), ("old\n".into(), "old\n".into()));
    nodes[1].ok(&["set", "config/a", "keys.z=written after"]);
    lab.heal();
    converge(&nodes);
    nodes.iter().for_each(settle);
    converge(&nodes);
    for node in &nodes {
        assert_eq!(
            (value(node, "keys.x"), value(node, "keys.z")),
            ("new\n".into(), "written after\n".into())
        );
        assert_eq!((value(node, "keys.y"), node.larder(&["get", "file/gone"]).code), (String::new(), 4));
        assert_eq!(node.ok(&["get", "config/b", "keys.n"]), "19\n");
        assert!(node.json(&["conflicts"])["conflicts"].as_array().unwrap().is_empty());
        until(PATIENCE, "the files", || (node.file("a") == "x=new\nz=written after\n").then_some(()));
        assert!(!node.data.join("files/gone").exists());
    }
    assert_no_fork(&nodes);
    // That its own lost changes came back is no fault of a node that was put back.
    let doctor = nodes[1].larder(&["doctor"]);
    assert_eq!(doctor.code, 0, "{}", doctor.out);
    assert!(doctor.out.contains("was copied, moved or restored"), "{}", doctor.out);
}

#[test]
fn a_damaged_backup_is_refused_and_touches_nothing() {
    let lab = lab!(1, "a_damaged_backup_is_refused_and_touches_nothing");
    let mut nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["set", "config/a", "path=a", "keys.x=1"]);
    let digest = nodes[0].digest();
    let dir = nodes[0].data.with_extension("backup");
    let name = dir.to_str().unwrap().to_owned();
    let made = nodes[0].json(&["backup", &name]);
    assert_eq!(made["groups"][0]["digest"], digest.as_str());
    nodes[0].stop();
    let inside = || {
        let entries = std::fs::read_dir(&nodes[0].data).unwrap();
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
        let ran = nodes[0].larder(&["restore-backup", &name, "--force"]);
        assert!(
            ran.code == 1 && ran.err.contains(&format!("`{file}` of the backup is damaged")),
            "{}",
            ran.err
        );
        std::fs::write(dir.join(file), whole).unwrap();
    }
    let manifest = std::fs::read_to_string(dir.join("MANIFEST")).unwrap();
    for (bad, code, word) in [
        (manifest.replace("\"node.key\"", "\"../node.key\""), 1, "is no file of a node"),
        (manifest.replace("\"format\": 1", "\"format\": 2"), 1, "newer version"),
        (manifest[..manifest.len() / 2].to_owned(), 1, "damaged"),
    ] {
        std::fs::write(dir.join("MANIFEST"), bad).unwrap();
        let ran = nodes[0].larder(&["restore-backup", &name, "--force"]);
        assert!(ran.code == code && ran.err.contains(word), "{}", ran.err);
    }
    std::fs::remove_file(dir.join("MANIFEST")).unwrap();
    let ran = nodes[0].larder(&["restore-backup", &name, "--force"]);
    assert!(ran.code == 4 && ran.err.contains("is no backup"), "{}", ran.err);
    assert_eq!(inside(), there);
    std::fs::write(dir.join("MANIFEST"), manifest).unwrap();
    // Onto a machine that has nothing.
    std::fs::remove_dir_all(&nodes[0].data).unwrap();
    let ran = nodes[0].larder(&["restore-backup", &name]);
    assert!(ran.code == 0 && ran.err.contains("Start the daemon"), "{}", ran.err);
    nodes[0].start(&["daemon"]);
    assert_eq!(nodes[0].digest(), digest);
    assert_eq!(value(&nodes[0], "keys.x"), "1\n");
}
