//! Snapshots of formatted answers about the history. Look at a changed snapshot before you accept it.

use larder_core::resource::literal::Literal;
use larder_core::value::Value;

use super::{blame, diff, diff_text, log, show};
use crate::dto::{
    BlameField, BlameLine, BlameReport, ChangeEntry, ChangeLog, ChangeOrigin, ChangeSource, ClockFault,
    FieldDiff, FieldOp, JsonTime, JsonValue, NodeDiffReport, NodeDrift, NodeRef, NodeResourceState,
    ResourceDrift, TouchedResource,
};
use crate::output::Styler;
use crate::output::history_graph::GraphCharset;
use crate::time;

/// The first time. The others are some seconds later.
const NOON: i64 = 1_800_000_000;
const PLAIN: Styler = Styler::PLAIN;

/// Compares a text with its snapshot, independent of the time zone.
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

fn padded_id(first: &str) -> String {
    format!("{first:0<64}")
}

fn node_ref(alias: &str) -> Option<NodeRef> {
    let (id, alias) = (format!("{alias}nodeid"), (alias != "stray").then(|| alias.to_owned()));
    Some(NodeRef { id, alias })
}

fn text_value(value: &str) -> Option<JsonValue> {
    Some(JsonValue(Literal::Scalar(Value::Str(value.to_owned()))))
}

fn edit_row(resource: &str, field: &str, old: Option<JsonValue>, new: Option<JsonValue>) -> FieldDiff {
    let op = if new.is_some() { FieldOp::Set } else { FieldOp::Unset };
    let (resource, field, change) = (resource.to_owned(), field.to_owned(), Some(padded_id("c4")));
    FieldDiff { resource, field, op, old, new, change }
}

fn sample_edits() -> Vec<FieldDiff> {
    let old = "Welcome.\nOpen from 9 to 17.\nAsk ann.\n";
    let new = "Welcome.\nOpen from 9 to 18.\nAsk ann.\n\u{1b}[31mNo dogs.\n";
    let list = Literal::List(vec![Value::Int(1), Value::Bool(true)]);
    vec![
        edit_row("config/db", "keys.gone", text_value("x"), None),
        edit_row("config/db", "keys.list", None, Some(JsonValue(list))),
        edit_row("config/db", "keys.url", text_value("http://a"), text_value("http://b")),
        edit_row("config/db", "path", None, None),
        edit_row("file/motd", "content", text_value(old), text_value(new)),
        edit_row("file/motd", "fresh", None, text_value("one\ntwo")),
        edit_row("file/motd", "mode", None, text_value("0644")),
    ]
}

fn log_row(first: &str, second: i64, deps: &[&str]) -> ChangeEntry {
    let deps: Vec<String> = deps.iter().map(|dep| padded_id(dep)).collect();
    ChangeEntry {
        id: padded_id(first),
        source: ChangeSource::Desired,
        node: node_ref("till"),
        user: "ann".to_owned(),
        time: JsonTime(NOON + second),
        message: String::new(),
        command: "set config/db keys.url=...".to_owned(),
        parents: deps.clone(),
        deps,
        verified: true,
        clock: None,
        touches: vec![touch_row("config/db", &["keys.url"], FieldOp::Set)],
        edits: Vec::new(),
    }
}

fn touch_row(resource: &str, fields: &[&str], op: FieldOp) -> TouchedResource {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    TouchedResource { resource: resource.to_owned(), fields, op }
}

/// A history that diverges and merges, with two wrong clocks and one invalid signature.
fn sample_log() -> ChangeLog {
    let joined = ChangeEntry { touches: Vec::new(), ..log_row("f6", 50, &["e5", "d4"]) };
    let removed = ChangeEntry {
        node: node_ref("stray"),
        user: String::new(),
        touches: vec![
            touch_row("file/motd", &["ensure"], FieldOp::Remove),
            touch_row("node/ac44eyabcdef", &["labels.role"], FieldOp::Unset),
        ],
        ..log_row("e5", 40, &["c3"])
    };
    let late = ChangeEntry {
        node: node_ref("lab"),
        user: "ben\u{7}".to_owned(),
        message: "longer hours\nas agreed".to_owned(),
        clock: Some(ClockFault::Behind),
        touches: vec![touch_row("config/db", &["a", "b", "c", "d", "e"], FieldOp::Set)],
        ..log_row("d4", 30, &["c3"])
    };
    let doubtful =
        ChangeEntry { verified: false, clock: Some(ClockFault::Ahead), ..log_row("c3", 20, &["b2"]) };
    let observed = ChangeEntry {
        source: ChangeSource::Observed,
        touches: vec![touch_row("config/db", &["state"], FieldOp::Set)],
        ..log_row("b2", 10, &[])
    };
    ChangeLog {
        heads: vec![padded_id("f6")],
        changes: vec![joined, removed, late, doubtful, observed],
        more: false,
        at: None,
    }
}

#[test]
fn log_and_show_match_their_snapshots() {
    looks!("log", log::render_log(PLAIN, &sample_log()));
    looks!("log_graph", log::render_graph(PLAIN, GraphCharset::Ascii, &sample_log()));
    let mut log = sample_log();
    log.changes.truncate(3);
    log.changes[2].edits = sample_edits();
    looks!("log_patch", log::render_log(PLAIN, &log));
    looks!("log_graph_patch", log::render_graph(PLAIN, GraphCharset::Ascii, &log));
    looks!("show", show::render_change(PLAIN, &log.changes[2]));
}

#[test]
fn diff_matches_its_snapshots() {
    looks!("diff", diff_text::render_edits(PLAIN, &sample_edits(), true));
    // The snapshot file shows escape characters as ^.
    let coloured =
        diff_text::render_edits(Styler { is_colored: true }, &sample_edits(), true).replace('\u{1b}', "^");
    looks!("diff_colours", coloured);
}

#[test]
fn blame_matches_its_snapshot() {
    let origin = |first: &str, alias: &str, user: &str, second: i64| ChangeOrigin {
        change: padded_id(first),
        node: node_ref(alias),
        user: user.to_owned(),
        time: JsonTime(NOON + second),
    };
    let line = |text: &str, first: &str, older: bool| BlameLine {
        text: text.to_owned(),
        origin: origin(first, if first == "a1" { "till" } else { "laboratory" }, "ann", 5),
        may_be_older: older,
    };
    let content = BlameField {
        field: "content".to_owned(),
        value: JsonValue(Literal::Scalar(Value::Str(String::new()))),
        origin: origin("c4", "laboratory", "ann", 9),
        lines: (1..=10)
            .map(|nth| line(&format!("\tline {nth}\u{1b}"), if nth % 4 == 0 { "c4" } else { "a1" }, nth == 1))
            .collect(),
    };
    let path = BlameField {
        field: "path".to_owned(),
        value: JsonValue(Literal::Scalar(Value::Str("etc/motd".to_owned()))),
        origin: origin("a1", "stray", "", 1),
        lines: Vec::new(),
    };
    let view = BlameReport { resource: "file/motd".to_owned(), fields: vec![content, path], at: None };
    looks!("blame", blame::render_blame(PLAIN, &view));
}

#[test]
fn node_diff_matches_its_snapshot() {
    let drift = |alias: &str, state: NodeResourceState, applied: Option<&str>, exact: bool| NodeDrift {
        id: format!("{alias}nodeid"),
        alias: Some(alias.to_owned()),
        reason: match state {
            NodeResourceState::Failed => "permission denied: etc/x\u{7}".to_owned(),
            _ => String::new(),
        },
        state,
        applied: applied.map(padded_id),
        exact,
        edits: if exact { sample_edits()[..3].to_vec() } else { Vec::new() },
    };
    let nodes = vec![
        drift("till", NodeResourceState::Failed, Some("a1"), true),
        drift("lab", NodeResourceState::Pending, None, true),
        drift("ship", NodeResourceState::Held, Some("b2"), false),
    ];
    let row = ResourceDrift { resource: "config/db".to_owned(), newest_change: Some(padded_id("c4")), nodes };
    looks!("diff_nodes", diff::nodes::render_node_diff(PLAIN, &NodeDiffReport { resources: vec![row] }));
}
