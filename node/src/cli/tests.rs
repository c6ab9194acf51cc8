//! How answers about the past look: changes here are changes for people, and are looked at.

use larder_core::resource::literal::Literal;
use larder_core::value::Value;

use super::{blame, edits, history, nodediff};
use crate::render::Pen;
use crate::time;
use crate::view::{
    Blame, BlameLine, BlameRow, EditRow, Lag, Log, LogRow, NodeDiff, NodeDiffRow, Origin, Plain, Time,
    TouchRow, Who,
};

/// The first of the times; the others are seconds later.
const NOON: i64 = 1_800_000_000;
const PLAIN: Pen = Pen { colors: false };

/// The texts that stand in `snapshots`, whatever the time zone.
macro_rules! looks {
    ($name:expr, $text:expr) => {{
        let mut text = $text;
        for second in 0..60 {
            text = text.replace(&time::local(NOON + second), &format!("2027-01-15 08:00:{second:02}"));
        }
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!($name, text);
        });
    }};
}

fn id(first: &str) -> String {
    format!("{first:0<64}")
}

fn who(alias: &str) -> Option<Who> {
    let (id, alias) = (format!("{alias}nodeid"), (alias != "stray").then(|| alias.to_owned()));
    Some(Who { id, alias })
}

fn text(value: &str) -> Option<Plain> {
    Some(Plain(Literal::Scalar(Value::Str(value.to_owned()))))
}

fn edit(resource: &str, field: &str, old: Option<Plain>, new: Option<Plain>) -> EditRow {
    let op = if new.is_some() { "set" } else { "unset" }.to_owned();
    let (resource, field, change) = (resource.to_owned(), field.to_owned(), Some(id("c4")));
    EditRow { resource, field, op, old, new, change }
}

fn edits() -> Vec<EditRow> {
    let old = "Welcome.\nOpen from 9 to 17.\nAsk ann.\n";
    let new = "Welcome.\nOpen from 9 to 18.\nAsk ann.\n\u{1b}[31mNo dogs.\n";
    let list = Literal::List(vec![Value::Int(1), Value::Bool(true)]);
    vec![
        edit("config/db", "keys.gone", text("x"), None),
        edit("config/db", "keys.list", None, Some(Plain(list))),
        edit("config/db", "keys.url", text("http://a"), text("http://b")),
        edit("config/db", "path", None, None),
        edit("file/motd", "content", text(old), text(new)),
        edit("file/motd", "fresh", None, text("one\ntwo")),
        edit("file/motd", "mode", None, text("0644")),
    ]
}

fn row(first: &str, second: i64, deps: &[&str]) -> LogRow {
    let deps: Vec<String> = deps.iter().map(|dep| id(dep)).collect();
    LogRow {
        id: id(first),
        source: "desired".to_owned(),
        node: who("till"),
        user: "ann".to_owned(),
        time: Time(NOON + second),
        message: String::new(),
        command: "set config/db keys.url=...".to_owned(),
        parents: deps.clone(),
        deps,
        verified: true,
        clock: None,
        touches: vec![touch("config/db", &["keys.url"], "set")],
        edits: Vec::new(),
    }
}

fn touch(resource: &str, fields: &[&str], op: &str) -> TouchRow {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    TouchRow { resource: resource.to_owned(), fields, op: op.to_owned() }
}

/// Two sides part and meet; somebody's clock is wrong, and one signature.
fn log() -> Log {
    let joined = LogRow { touches: Vec::new(), ..row("f6", 50, &["e5", "d4"]) };
    let removed = LogRow {
        node: who("stray"),
        user: String::new(),
        touches: vec![
            touch("file/motd", &["ensure"], "remove"),
            touch("node/ac44eyabcdef", &["labels.role"], "unset"),
        ],
        ..row("e5", 40, &["c3"])
    };
    let late = LogRow {
        node: who("lab"),
        user: "ben\u{7}".to_owned(),
        message: "longer hours\nas agreed".to_owned(),
        clock: Some("behind".to_owned()),
        touches: vec![touch("config/db", &["a", "b", "c", "d", "e"], "set")],
        ..row("d4", 30, &["c3"])
    };
    let doubtful = LogRow { verified: false, clock: Some("ahead".to_owned()), ..row("c3", 20, &["b2"]) };
    let observed = LogRow {
        source: "observed".to_owned(),
        touches: vec![touch("config/db", &["state"], "set")],
        ..row("b2", 10, &[])
    };
    Log {
        heads: vec![id("f6")],
        changes: vec![joined, removed, late, doubtful, observed],
        more: false,
        at: None,
    }
}

#[test]
fn the_log() {
    looks!("log", history::draw_log(PLAIN, &log()));
    looks!("log_graph", history::draw_graph(PLAIN, &log()));
    let mut log = log();
    log.changes.truncate(3);
    log.changes[2].edits = edits();
    looks!("log_patch", history::draw_log(PLAIN, &log));
    looks!("log_graph_patch", history::draw_graph(PLAIN, &log));
    looks!("show", history::draw_show(PLAIN, &log.changes[2]));
}

#[test]
fn what_differs() {
    looks!("diff", edits::draw_edits(PLAIN, &edits(), true));
    // The terminal's own signs stay readable in the file.
    let coloured = edits::draw_edits(Pen { colors: true }, &edits(), true).replace('\u{1b}', "^");
    looks!("diff_colours", coloured);
}

#[test]
fn who_wrote_what() {
    let origin = |first: &str, alias: &str, user: &str, second: i64| Origin {
        change: id(first),
        node: who(alias),
        user: user.to_owned(),
        time: Time(NOON + second),
    };
    let line = |text: &str, first: &str, older: bool| BlameLine {
        text: text.to_owned(),
        origin: origin(first, if first == "a1" { "till" } else { "laboratory" }, "ann", 5),
        older,
    };
    let content = BlameRow {
        field: "content".to_owned(),
        value: Plain(Literal::Scalar(Value::Str(String::new()))),
        origin: origin("c4", "laboratory", "ann", 9),
        lines: (1..=10)
            .map(|nth| line(&format!("\tline {nth}\u{1b}"), if nth % 4 == 0 { "c4" } else { "a1" }, nth == 1))
            .collect(),
    };
    let path = BlameRow {
        field: "path".to_owned(),
        value: Plain(Literal::Scalar(Value::Str("etc/motd".to_owned()))),
        origin: origin("a1", "stray", "", 1),
        lines: Vec::new(),
    };
    let view = Blame { resource: "file/motd".to_owned(), fields: vec![content, path], at: None };
    looks!("blame", blame::draw(PLAIN, &view));
}

#[test]
fn what_nodes_run() {
    let lag = |alias: &str, state: &str, applied: Option<&str>, exact: bool| Lag {
        id: format!("{alias}nodeid"),
        alias: Some(alias.to_owned()),
        state: state.to_owned(),
        reason: if state == "failed" { "permission denied: etc/x\u{7}".to_owned() } else { String::new() },
        applied: applied.map(id),
        exact,
        edits: if exact { edits()[..3].to_vec() } else { Vec::new() },
    };
    let nodes = vec![
        lag("till", "failed", Some("a1"), true),
        lag("lab", "pending", None, true),
        lag("ship", "held", Some("b2"), false),
    ];
    let row = NodeDiffRow { resource: "config/db".to_owned(), wanted: Some(id("c4")), nodes };
    looks!("diff_nodes", nodediff::draw(PLAIN, &NodeDiff { resources: vec![row] }));
}
