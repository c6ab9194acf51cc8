//! The exported document, read by unmodified Automerge of Rust and of npm, shows what Larder shows.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use automerge::{Automerge, ObjType, ROOT, ReadDoc, ScalarValue, Value as Found};
use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{TestNode, WAIT_LIMIT, start_cluster, wait_until_applied, wait_until_converged};
use larder_tests::requirement::{MissingRequirement, require};
use larder_tests::rng::TestRng;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::LARDER;

tests! {
    the_exported_document_reads_the_same_in_stock_automerge,
    the_exported_document_reads_the_same_in_automerge_of_npm,
    importing_a_foreign_document_only_plans_and_writes_nothing,
}

/// The end of the magic number and the checksum of an Automerge file. The checksum covers everything after
/// it.
const CHECKSUM_END: usize = 8;

/// A document as a tool without knowledge of Larder reads it.
#[derive(Debug, PartialEq)]
struct ReadDocument {
    shards: Vec<String>,
    values: BTreeMap<String, Value>,
    conflicts: BTreeMap<String, Vec<Value>>,
    /// The actor and message of every change, by hash.
    changes: BTreeMap<String, (String, String)>,
}

fn scalar_to_json(value: &Found<'_>) -> Value {
    match value {
        Found::Scalar(scalar) => match scalar.as_ref() {
            ScalarValue::Str(text) => json!(text.as_str()),
            ScalarValue::Int(int) => json!(int),
            ScalarValue::Boolean(bool) => json!(bool),
            ScalarValue::Null => Value::Null,
            other => panic!("{other:?}"),
        },
        Found::Object(kind) => panic!("{kind:?}"),
    }
}

/// Reads `file` with the Automerge crate.
fn read_with_rust_automerge(file: &Path) -> ReadDocument {
    let document = Automerge::load(&std::fs::read(file).unwrap()).unwrap();
    let mut read = ReadDocument {
        shards: document.keys(ROOT).collect(),
        values: BTreeMap::new(),
        conflicts: BTreeMap::new(),
        changes: BTreeMap::new(),
    };
    let (_, desired) = document.get(ROOT, "desired").unwrap().unwrap();
    for bucket in document.keys(&desired) {
        let (kind, bucket) = document.get(&desired, bucket.as_str()).unwrap().unwrap();
        assert_eq!(kind, Found::Object(ObjType::Map));
        for key in document.keys(&bucket) {
            let all = document.get_all(&bucket, key.as_str()).unwrap();
            read.values.insert(
                key.clone(),
                scalar_to_json(&document.get(&bucket, key.as_str()).unwrap().unwrap().0),
            );
            if all.len() > 1 {
                let mut all: Vec<Value> = all.iter().map(|(value, _)| scalar_to_json(value)).collect();
                all.sort_by_key(Value::to_string);
                read.conflicts.insert(key, all);
            }
        }
    }
    for change in document.get_changes(&[]) {
        let message = change.message().map(str::to_owned).unwrap_or_default();
        read.changes.insert(change.hash().to_string(), (change.actor_id().to_hex_string(), message));
    }
    read
}

/// Finds the folder in which `npm` installed Automerge.
fn find_npm_folder() -> Result<OsString, MissingRequirement> {
    std::env::var_os("LARDER_NPM").ok_or_else(|| MissingRequirement {
        what: "Automerge of npm",
        reason: "LARDER_NPM is not set".into(),
        remedy: "Run `npm install --prefix DIR @automerge/automerge@3` and set LARDER_NPM=DIR.",
    })
}

/// Reads `file` with the Automerge that `npm` installed in `folder`.
fn read_with_npm_automerge(folder: &OsStr, file: &Path) -> ReadDocument {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("npm/open.mjs");
    let output = Command::new("node").arg(script).arg(folder).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let change_entry =
        |change: &Value| (text(&change["id"]), (text(&change["actor"]), text(&change["message"])));
    ReadDocument {
        shards: serde_json::from_value(found["shards"].clone()).unwrap(),
        values: serde_json::from_value(found["values"].clone()).unwrap(),
        conflicts: serde_json::from_value(found["conflicts"].clone()).unwrap(),
        changes: found["changes"].as_array().unwrap().iter().map(change_entry).collect(),
    }
}

/// Writes a history of two authors with a merge, a conflict, a removal and a list.
fn write_history(lab: &Lab, nodes: &[TestNode<'_>]) {
    nodes[0].run_ok(&[
        "set",
        "config/a",
        "path=a",
        "keys.x=base",
        "keys.port:=80",
        "keys.on:=true",
        "-m",
        "the base",
    ]);
    nodes[0].run_ok(&["set", "config/a", "keys.l:=[1, 2]"]);
    wait_until_converged(nodes);
    nodes[1].run_ok(&["set", "file/gone", "path=gone", "content=x"]);
    nodes[1].run_ok(&["rm", "file/gone", "-m", "no more"]);
    wait_until_converged(nodes);
    lab.partition(&[&[0], &[1]]);
    wait_until(WAIT_LIMIT, "the cut to be noticed", || {
        nodes[0].run_json(&["sync"])["peers"].to_string().contains("\"away\"").then_some(())
    });
    nodes[0].run_ok(&["set", "config/a", "keys.x=left", "keys.l+=3", "-m", "from the left"]);
    nodes[1].run_ok(&["set", "config/a", "keys.x=right", "-m", "from the right"]);
    lab.heal();
    wait_until_converged(nodes);
    nodes.iter().for_each(wait_until_applied);
    wait_until_converged(nodes);
}

fn the_exported_document_reads_the_same_in_stock_automerge() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    write_history(&lab, &nodes);
    let (node, file) = (&nodes[1], nodes[1].data_dir.with_extension("automerge"));
    let name = file.to_str().unwrap();
    node.run_ok(&["doc", "export", name]);
    let read = read_with_rust_automerge(&file);
    // The values and conflicts are the same.
    for (field, value) in node.run_json(&["get", "config/a"])["fields"].as_object().unwrap() {
        if !value.is_array() {
            assert_eq!(read.values.get(&format!("config/a {field}")), Some(value), "{field}");
        }
    }
    assert_eq!(read.values["file/gone ensure"], "absent");
    assert_eq!(
        read.conflicts,
        BTreeMap::from([("config/a keys.x".into(), vec![json!("left"), json!("right")])])
    );
    assert_eq!(read.shards.len(), 3, "desired, and what each node observed: {:?}", read.shards);
    // The hashes of changes are Larder's ids, the actors belong to nodes, and the messages contain the
    // operators' messages.
    let authors = node.run_json(&["doc", "authors"]);
    let authors: BTreeMap<&str, &str> = authors["authors"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|author| Some((author["actor"].as_str()?, author["node"]["id"].as_str()?)))
        .collect();
    let log = node.run_json(&["log", "-n", "0"]);
    let log = log["changes"].as_array().unwrap();
    assert!(log.len() >= 6);
    for change in log {
        let (actor, message) = &read.changes[change["id"].as_str().unwrap()];
        assert_eq!(Some(authors[actor.as_str()]), change["node"]["id"].as_str());
        assert!(message.contains(change["message"].as_str().unwrap()), "{message}");
    }
    let nodes_named: std::collections::BTreeSet<&str> = authors.values().copied().collect();
    assert_eq!(nodes_named.len(), 2);
    // Planning an import of the file finds no difference on either node.
    for node in &nodes {
        let ran = node.run_larder(&["doc", "plan", name, "--exit-code"]);
        assert_eq!((ran.exit_code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    }
}

fn the_exported_document_reads_the_same_in_automerge_of_npm() {
    let folder = require(find_npm_folder());
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    write_history(&lab, &nodes);
    let file = nodes[1].data_dir.with_extension("automerge");
    nodes[1].run_ok(&["doc", "export", file.to_str().unwrap()]);
    assert_eq!(read_with_npm_automerge(&folder, &file), read_with_rust_automerge(&file));
}

fn importing_a_foreign_document_only_plans_and_writes_nothing() {
    use automerge::transaction::Transactable as _;
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    node.run_ok(&["set", "config/a", "path=a", "keys.x=one", "keys.y=two"]);
    wait_until_applied(node);
    let file = node.data_dir.with_extension("automerge");
    let name = file.to_str().unwrap();
    node.run_ok(&["doc", "export", name]);
    let refused = node.run_larder(&["doc", "export", name]);
    assert!(refused.exit_code == 5 && refused.stderr.contains("--force"), "{}", refused.stderr);
    node.run_ok(&["doc", "export", name, "--force"]);
    let (digest, bytes) = (node.digest(), std::fs::read(&file).unwrap());
    let mut foreign = automerge::AutoCommit::load(&bytes).unwrap();
    let (_, desired) = foreign.get(ROOT, "desired").unwrap().unwrap();
    let buckets: Vec<String> = foreign.keys(&desired).collect();
    for bucket in buckets {
        let (_, bucket) = foreign.get(&desired, bucket).unwrap().unwrap();
        if foreign.get(&bucket, "config/a keys.x").unwrap().is_some() {
            foreign.put(&bucket, "config/a keys.x", "three").unwrap();
            foreign.put(&bucket, "config/b path", "b").unwrap();
            foreign.put(&bucket, "nonsense", "b").unwrap();
        }
    }
    std::fs::write(&file, foreign.save()).unwrap();
    let plan = node.run_json(&["doc", "plan", name]);
    let edit =
        |edit: &Value| format!("{} {} {} {}", edit["resource"], edit["field"], edit["old"], edit["new"]);
    let edits: Vec<String> = plan["edits"].as_array().unwrap().iter().map(edit).collect();
    assert_eq!(
        edits,
        ["\"config/a\" \"keys.x\" \"one\" \"three\"", "\"config/b\" \"path\" null \"b\""].map(str::to_owned)
    );
    let ran = node.run_larder(&["doc", "plan", name, "--exit-code"]);
    assert!(ran.exit_code == 10 && ran.stderr.contains("1 key left out"), "{}", ran.stderr);
    // Larder reads or refuses a damaged file, and the daemon never sees it.
    let mut codes = BTreeMap::new();
    let mut rng = TestRng::from_seed(0);
    // The file is not compressed. Otherwise decompression would find almost all damage.
    let plain = Automerge::load(&bytes).unwrap().save_nocompress();
    for round in 0..100 {
        let mut bad = plain.clone();
        for _ in 0..=round % 4 {
            let at = CHECKSUM_END + rng.index(bad.len() - CHECKSUM_END);
            bad[at] ^= u8::try_from(rng.below(256)).unwrap() | 1;
        }
        // With a correct checksum, only the decoder can find the damage.
        let sum = sha2::Sha256::digest(&bad[CHECKSUM_END..]);
        bad[4..CHECKSUM_END].copy_from_slice(&sum[..4]);
        std::fs::write(&file, &bad).unwrap();
        let ran = node.run_larder(&["doc", "plan", name]);
        assert!(ran.exit_code == 0 || ran.exit_code == 2, "round {round}: {} {}", ran.exit_code, ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        *codes.entry(ran.exit_code).or_insert(0) += 1;
    }
    assert!(codes[&2] > 10, "{codes:?}");
    let nothing = node.run_larder_with_stdin(&["doc", "plan", "-"], "");
    assert!(nothing.exit_code == 2 && nothing.stderr.contains("no desired state"), "{}", nothing.stderr);
    assert_eq!(node.digest(), digest);
}
