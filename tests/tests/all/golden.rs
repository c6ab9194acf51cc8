//! Data directories as earlier versions left them: every later version opens them, and shows what they held.
//!
//! ```text
//! tests/golden/<version>/<node>.<file>.zst    the data directory of a node, file by file
//! tests/golden/<version>/expected.json        what that node showed when it was stopped
//! ```
//!
//! `LARDER_BLESS=1 cargo test -p larder-tests golden` makes those of this version; those of released ones stay as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use larder_tests::lab::{Lab, until};
use larder_tests::node::{Node, PATIENCE, cluster, converge, settle};
use serde_json::{Value, json};

use super::rows::LARDER;

/// The directories that are opened, oldest first. The newest is that of this version.
const VERSIONS: [&str; 1] = ["0.1"];
/// What a node keeps.
const FILES: [&str; 3] = ["node.key", "store.redb", "groups.kept"];

fn folder(version: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", version].iter().collect()
}

/// Everything that a node shows and that must not change by opening its store.
fn shown(node: &Node<'_>) -> Value {
    let ids = |log: Value| -> Vec<Value> {
        log["changes"].as_array().into_iter().flatten().map(|change| change["id"].clone()).collect()
    };
    let fields = |name: &str| node.json(&["get", name])["fields"].clone();
    let conflicts = node.json(&["conflicts"])["conflicts"].clone();
    let conflicts = conflicts.as_array().cloned().unwrap_or_default();
    let sides = |conflict: &Value| -> Vec<Value> {
        conflict["values"].as_array().into_iter().flatten().map(|side| side["value"].clone()).collect()
    };
    json!({
        "id": node.id(),
        "digest": node.digest(),
        "log": ids(node.json(&["log", "-n", "0"])),
        "all": ids(node.json(&["log", "--all", "-n", "0"])),
        "config/db": fields("config/db"),
        "file/motd": fields("file/motd"),
        "list": node.json(&["list"])["resources"],
        "conflicts": conflicts.iter().map(|one| json!([one["id"], one["field"], sides(one)])).collect::<Vec<_>>(),
        "aliases": node.json(&["nodes"])["nodes"].as_array().map(|all| {
            all.iter().map(|one| json!([one["id"], one["alias"], one["role"], one["labels"]])).collect::<Vec<_>>()
        }),
        "invites": node.json(&["invite", "list"])["invites"],
        "export": node.ok(&["export"]),
    })
}

/// Two nodes with something of everything: long chains, lists, a removal, a conflict, labels, invites.
fn make(version: &str) {
    let lab = Lab::new(2).expect("a lab, to make golden directories in");
    let mut nodes = cluster(&lab, LARDER);
    nodes[0].ok(&["label", "n1", "role=plc", "site=north"]);
    nodes[0].ok(&["set", "file/motd", "path=motd", "content=hello", "mode=0640"]);
    nodes[0].ok(&["set", "config/gone", "path=gone", "keys.x=1"]);
    nodes[0].ok(&["rm", "config/gone", "-m", "no longer used"]);
    nodes[0].ok(&["set", "config/db", "path=db", "keys.url=one", "keys.list:=[\"a\", 2, true]"]);
    for nth in 0..70 {
        nodes[1].ok(&["set", "config/db", &format!("keys.k{}={nth}", nth % 5)]);
    }
    nodes[0].ok(&["set", "novel/kind", "x.y=1", "--allow-unknown"]);
    nodes[0].ok(&["invite", "--role", "node", "--uses", "3", "--expires", "1h"]);
    let revoked = nodes[0].invite(1);
    nodes[0].ok(&["invite", "revoke", &revoked]);
    converge(&nodes);
    nodes[1].ok(&["sync", "pause"]);
    nodes[0].ok(&["set", "config/db", "keys.url=left", "-m", "from the left"]);
    nodes[1].ok(&["set", "config/db", "keys.url=right", "keys.list+=b"]);
    nodes[1].ok(&["sync", "resume"]);
    converge(&nodes);
    nodes.iter().for_each(settle);
    converge(&nodes);
    let folder = folder(version);
    std::fs::create_dir_all(&folder).unwrap();
    let mut expected = BTreeMap::new();
    for (index, node) in nodes.iter_mut().enumerate() {
        let name = format!("n{index}");
        expected.insert(name.clone(), shown(node));
        node.stop();
        for file in FILES {
            let bytes = std::fs::read(node.data.join(file)).unwrap();
            let packed = zstd::bulk::compress(&bytes, 19).unwrap();
            std::fs::write(folder.join(format!("{name}.{file}.zst")), packed).unwrap();
        }
    }
    let text = serde_json::to_string_pretty(&expected).unwrap();
    std::fs::write(folder.join("expected.json"), text + "\n").unwrap();
}

/// Without what depends on when it is looked at: whether an invite is still open.
fn timeless(mut shown: Value) -> Value {
    let invites = shown["invites"].as_array_mut();
    invites.into_iter().flatten().for_each(|invite| invite["state"] = Value::Null);
    shown
}

fn unpack(from: &Path, name: &str, to: &Path) {
    for file in FILES {
        let packed = std::fs::read(from.join(format!("{name}.{file}.zst"))).unwrap();
        let bytes = zstd::bulk::decompress(&packed, 64 << 20).unwrap();
        std::fs::write(to.join(file), bytes).unwrap();
    }
}

#[test]
fn what_an_earlier_version_left_is_opened_and_gone_on_with() {
    let newest = VERSIONS[VERSIONS.len() - 1];
    if std::env::var_os("LARDER_BLESS").is_some() && !folder(newest).exists() {
        make(newest);
    }
    for version in VERSIONS {
        let text = std::fs::read_to_string(folder(version).join("expected.json")).unwrap();
        let expected: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        let dir = std::env::temp_dir().join(format!("larder-golden-{version}-{}", std::process::id()));
        for (name, expected) in &expected {
            let mut node = Node::here(&dir, name, LARDER);
            unpack(&folder(version), name, &node.data);
            node.start(&["daemon", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
            assert_eq!(timeless(shown(&node)), timeless(expected.clone()), "{version} {name}");
            node.ok(&["resolve", "config/db", "keys.url", "--take", "A"]);
            node.ok(&["set", "config/db", "keys.after=1"]);
            until(PATIENCE, "the file", || node.file("db").contains("after=1").then_some(()));
            node.stop();
        }
        drop(std::fs::remove_dir_all(dir));
    }
}
