//! Data directories of earlier versions. Every later version must open them and show the same contents.
//!
//! ```text
//! tests/golden/<version>/<node>.<file>.zst    the data directory of a node, file by file
//! tests/golden/<version>/expected.json        what that node showed when it was stopped
//! ```
//!
//! `LARDER_BLESS=1 cargo test -p larder-tests golden` creates the directory of this version if it is missing.
//! Directories of released versions never change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};
use serde_json::{Value, json};

use super::e2e::LARDER;

tests! {
    data_directories_of_earlier_versions_open_and_accept_writes,
}

/// The versions whose directories are opened, oldest first. The newest is this version.
const VERSIONS: [&str; 1] = ["0.1"];
/// The files of a data directory that are stored.
const DATA_FILES: [&str; 3] = ["node.key", "store.redb", "groups.kept"];

fn golden_dir(version: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", version].iter().collect()
}

/// Everything that a node shows and that opening its store must not change.
fn snapshot(node: &TestNode<'_>) -> Value {
    let ids = |log: Value| -> Vec<Value> {
        log["changes"].as_array().into_iter().flatten().map(|change| change["id"].clone()).collect()
    };
    let fields = |name: &str| node.run_json(&["get", name])["fields"].clone();
    let conflicts = node.run_json(&["conflicts"])["conflicts"].clone();
    let conflicts = conflicts.as_array().cloned().unwrap_or_default();
    let sides = |conflict: &Value| -> Vec<Value> {
        conflict["values"].as_array().into_iter().flatten().map(|side| side["value"].clone()).collect()
    };
    let conflict = |one: &Value| json!([one["id"], one["field"], sides(one)]);
    json!({
        "id": node.id(),
        "digest": node.digest(),
        "log": ids(node.run_json(&["log", "-n", "0"])),
        "all": ids(node.run_json(&["log", "--all", "-n", "0"])),
        "config/db": fields("config/db"),
        "file/motd": fields("file/motd"),
        "list": node.run_json(&["list"])["resources"],
        "conflicts": conflicts.iter().map(conflict).collect::<Vec<_>>(),
        "aliases": node.run_json(&["nodes"])["nodes"].as_array().map(|all| {
            let node = |one: &Value| json!([one["id"], one["alias"], one["role"], one["labels"]]);
            all.iter().map(node).collect::<Vec<_>>()
        }),
        "invites": node.run_json(&["invite", "list"])["invites"],
        "export": node.run_ok(&["export"]),
    })
}

/// Creates two nodes with long chains, lists, a removal, a conflict, labels and invites.
fn create_golden_directory(version: &str) {
    let lab = Lab::new(2).expect("a lab, to make golden directories in");
    let mut nodes = start_cluster(&lab, LARDER);
    nodes[0].run_ok(&["label", "n1", "role=plc", "site=north"]);
    nodes[0].run_ok(&["set", "file/motd", "path=motd", "content=hello", "mode=0640"]);
    nodes[0].run_ok(&["set", "config/gone", "path=gone", "keys.x=1"]);
    nodes[0].run_ok(&["rm", "config/gone", "-m", "no longer used"]);
    nodes[0].run_ok(&["set", "config/db", "path=db", "keys.url=one", "keys.list:=[\"a\", 2, true]"]);
    for nth in 0..70 {
        nodes[1].run_ok(&["set", "config/db", &format!("keys.k{}={nth}", nth % 5)]);
    }
    nodes[0].run_ok(&["set", "novel/kind", "x.y=1", "--allow-unknown"]);
    nodes[0].run_ok(&["invite", "--role", "node", "--uses", "3", "--expires", "1h"]);
    let revoked = nodes[0].create_invite(1);
    nodes[0].run_ok(&["invite", "revoke", &revoked]);
    wait_until_converged(&nodes);
    nodes[1].run_ok(&["sync", "pause"]);
    nodes[0].run_ok(&["set", "config/db", "keys.url=left", "-m", "from the left"]);
    nodes[1].run_ok(&["set", "config/db", "keys.url=right", "keys.list+=b"]);
    nodes[1].run_ok(&["sync", "resume"]);
    wait_until_converged(&nodes);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(&nodes);
    let folder = golden_dir(version);
    std::fs::create_dir_all(&folder).unwrap();
    let mut expected = BTreeMap::new();
    for (index, node) in nodes.iter_mut().enumerate() {
        let name = format!("n{index}");
        expected.insert(name.clone(), snapshot(node));
        node.stop();
        for file in DATA_FILES {
            let bytes = std::fs::read(node.data_dir.join(file)).unwrap();
            let packed = zstd::bulk::compress(&bytes, 19).unwrap();
            std::fs::write(folder.join(format!("{name}.{file}.zst")), packed).unwrap();
        }
    }
    let text = serde_json::to_string_pretty(&expected).unwrap();
    std::fs::write(folder.join("expected.json"), text + "\n").unwrap();
}

/// Removes the states of invites, which depend on the current time.
fn without_invite_states(mut shown: Value) -> Value {
    let invites = shown["invites"].as_array_mut();
    invites.into_iter().flatten().for_each(|invite| invite["state"] = Value::Null);
    shown
}

fn unpack_data_dir(from: &Path, name: &str, to: &Path) {
    for file in DATA_FILES {
        let packed = std::fs::read(from.join(format!("{name}.{file}.zst"))).unwrap();
        let bytes = zstd::bulk::decompress(&packed, 64 << 20).unwrap();
        std::fs::write(to.join(file), bytes).unwrap();
    }
}

fn data_directories_of_earlier_versions_open_and_accept_writes() {
    let newest = VERSIONS[VERSIONS.len() - 1];
    if std::env::var_os("LARDER_BLESS").is_some() && !golden_dir(newest).exists() {
        create_golden_directory(newest);
    }
    for version in VERSIONS {
        let text = std::fs::read_to_string(golden_dir(version).join("expected.json")).unwrap();
        let expected: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        let dir = std::env::temp_dir().join(format!("larder-golden-{version}-{}", std::process::id()));
        for (name, expected) in &expected {
            let mut node = TestNode::without_host(&dir, name, LARDER);
            unpack_data_dir(&golden_dir(version), name, &node.data_dir);
            node.start(&["daemon", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
            assert_eq!(
                without_invite_states(snapshot(&node)),
                without_invite_states(expected.clone()),
                "{version} {name}"
            );
            node.run_ok(&["resolve", "config/db", "keys.url", "--take", "A"]);
            node.run_ok(&["set", "config/db", "keys.after=1"]);
            wait_until(WAIT_LIMIT, "the file", || node.read_file("db").contains("after=1").then_some(()));
            node.stop();
        }
        drop(std::fs::remove_dir_all(dir));
    }
}
