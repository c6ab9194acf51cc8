//! The document as a file: it opens in stock Automerge, of Rust and of npm, and says there what it says here.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use automerge::{Automerge, ObjType, ROOT, ReadDoc, ScalarValue, Value as Found};
use larder_tests::lab::until;
use larder_tests::node::{Node, PATIENCE, cluster, converge, settle};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::{LARDER, lab};

/// Magic and checksum of an Automerge file: the sum is that of everything after it.
const HEAD: usize = 8;

/// A document, as a tool that knows nothing of Larder reads it.
#[derive(Debug, PartialEq)]
struct Read {
    shards: Vec<String>,
    values: BTreeMap<String, Value>,
    conflicts: BTreeMap<String, Vec<Value>>,
    /// Actor and message of every change, by hash.
    changes: BTreeMap<String, (String, String)>,
}

fn plain(value: &Found<'_>) -> Value {
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

/// With stock Automerge of Rust.
fn open(file: &Path) -> Read {
    let document = Automerge::load(&std::fs::read(file).unwrap()).unwrap();
    let mut read = Read {
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
            read.values.insert(key.clone(), plain(&document.get(&bucket, key.as_str()).unwrap().unwrap().0));
            if all.len() > 1 {
                let mut all: Vec<Value> = all.iter().map(|(value, _)| plain(value)).collect();
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

/// With that of npm, if `LARDER_NPM` names a folder where it is installed.
fn open_in_npm(file: &Path) -> Option<Read> {
    let Some(folder) = std::env::var_os("LARDER_NPM") else {
        eprintln!("\nSKIPPED npm: LARDER_NPM names no folder with @automerge/automerge in it\n");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("npm/open.mjs");
    let output = Command::new("node").arg(script).arg(folder).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |change: &Value| (text(&change["id"]), (text(&change["actor"]), text(&change["message"])));
    Some(Read {
        shards: serde_json::from_value(found["shards"].clone()).unwrap(),
        values: serde_json::from_value(found["values"].clone()).unwrap(),
        conflicts: serde_json::from_value(found["conflicts"].clone()).unwrap(),
        changes: found["changes"].as_array().unwrap().iter().map(of).collect(),
    })
}

/// A history of two authors with a merge, a conflict, a removal and a list.
fn history(lab: &larder_tests::lab::Lab, nodes: &[Node<'_>]) {
    nodes[0].ok(&[
        "set",
        "config/a",
        "path=a",
        "keys.x=base",
        "keys.port:=80",
        "keys.on:=true",
        "-m",
        "the base",
    ]);
    nodes[0].ok(&["set", "config/a", "keys.l:=[1, 2]"]);
    converge(nodes);
    nodes[1].ok(&["set", "file/gone", "path=gone", "content=x"]);
    nodes[1].ok(&["rm", "file/gone", "-m", "no more"]);
    converge(nodes);
    lab.split(&[&[0], &[1]]);
    until(PATIENCE, "the cut to be noticed", || {
        nodes[0].json(&["sync"])["peers"].to_string().contains("\"away\"").then_some(())
    });
    nodes[0].ok(&["set", "config/a", "keys.x=left", "keys.l+=3", "-m", "from the left"]);
    nodes[1].ok(&["set", "config/a", "keys.x=right", "-m", "from the right"]);
    lab.heal();
    converge(nodes);
    nodes.iter().for_each(settle);
    converge(nodes);
}

#[test]
fn the_document_opens_in_stock_automerge_and_says_the_same_there() {
    let lab = lab!(2, "the_document_opens_in_stock_automerge_and_says_the_same_there");
    let nodes = cluster(&lab, LARDER);
    history(&lab, &nodes);
    let (node, file) = (&nodes[1], nodes[1].data.with_extension("automerge"));
    let name = file.to_str().unwrap();
    node.ok(&["doc", "export", name]);
    let read = open(&file);
    // Values and conflicts.
    for (field, value) in node.json(&["get", "config/a"])["fields"].as_object().unwrap() {
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
    // Changes: their hashes are Larder's ids, their actors are nodes, their messages hold the words.
    let authors = node.json(&["doc", "authors"]);
    let authors: BTreeMap<&str, &str> = authors["authors"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|author| Some((author["actor"].as_str()?, author["node"]["id"].as_str()?)))
        .collect();
    let log = node.json(&["log", "-n", "0"]);
    let log = log["changes"].as_array().unwrap();
    assert!(log.len() >= 6);
    for change in log {
        let (actor, message) = &read.changes[change["id"].as_str().unwrap()];
        assert_eq!(Some(authors[actor.as_str()]), change["node"]["id"].as_str());
        assert!(message.contains(change["message"].as_str().unwrap()), "{message}");
    }
    let nodes_named: std::collections::BTreeSet<&str> = authors.values().copied().collect();
    assert_eq!(nodes_named.len(), 2);
    if let Some(in_npm) = open_in_npm(&file) {
        assert_eq!(in_npm, read);
    }
    // Back here it says nothing new, on either node.
    for node in &nodes {
        let ran = node.larder(&["doc", "import", name, "--plan", "--exit-code"]);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    }
}

#[test]
fn a_foreign_document_is_looked_at_and_nothing_is_written() {
    use automerge::transaction::Transactable as _;
    let lab = lab!(1, "a_foreign_document_is_looked_at_and_nothing_is_written");
    let nodes = cluster(&lab, LARDER);
    let node = &nodes[0];
    node.ok(&["set", "config/a", "path=a", "keys.x=one", "keys.y=two"]);
    settle(node);
    let file = node.data.with_extension("automerge");
    let name = file.to_str().unwrap();
    node.ok(&["doc", "export", name]);
    let refused = node.larder(&["doc", "export", name]);
    assert!(refused.code == 5 && refused.err.contains("--force"), "{}", refused.err);
    node.ok(&["doc", "export", name, "--force"]);
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
    let plan = node.json(&["doc", "import", name, "--plan"]);
    let edit =
        |edit: &Value| format!("{} {} {} {}", edit["resource"], edit["field"], edit["old"], edit["new"]);
    let edits: Vec<String> = plan["edits"].as_array().unwrap().iter().map(edit).collect();
    assert_eq!(
        edits,
        ["\"config/a\" \"keys.x\" \"one\" \"three\"", "\"config/b\" \"path\" null \"b\""].map(str::to_owned)
    );
    let ran = node.larder(&["doc", "import", name, "--plan", "--exit-code"]);
    assert!(ran.code == 10 && ran.err.contains("1 key left out"), "{}", ran.err);
    assert_eq!(node.larder(&["doc", "import", name]).code, 2);
    // Whatever a file holds, it is refused or read, and the daemon never sees it.
    let mut codes = BTreeMap::new();
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    // Not compressed: else hardly any damage would get past the decompression.
    let plain = Automerge::load(&bytes).unwrap().save_nocompress();
    for round in 0..100 {
        let mut bad = plain.clone();
        for _ in 0..=round % 4 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = HEAD + usize::try_from(dice >> 33).unwrap() % (bad.len() - HEAD);
            bad[at] ^= u8::try_from(dice >> 20 & 0xff).unwrap() | 1;
        }
        // With its checksum right, what is wrong is found only where it is read.
        let sum = sha2::Sha256::digest(&bad[HEAD..]);
        bad[4..HEAD].copy_from_slice(&sum[..4]);
        std::fs::write(&file, &bad).unwrap();
        let ran = node.larder(&["doc", "import", name, "--plan"]);
        assert!(ran.code == 0 || ran.code == 2, "round {round}: {} {}", ran.code, ran.err);
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        *codes.entry(ran.code).or_insert(0) += 1;
    }
    assert!(codes[&2] > 10, "{codes:?}");
    let nothing = node.larder_with(&["doc", "import", "-", "--plan"], "");
    assert!(nothing.code == 2 && nothing.err.contains("no desired state"), "{}", nothing.err);
    assert_eq!(node.digest(), digest);
}
