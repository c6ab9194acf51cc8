//! A conflict as a file to edit: all sides as remarks, a line that ends them, and below it the value.
//!
//! ```text
//! # config/db keys.url is in conflict. ...
//! # A  wins  n0, root, 2026-11-26 06:14:41, change 1a2b3c4
//! #     http://lab
//! # B        n1, root, 2026-11-26 06:14:52, change 9f8e7d6
//! #     http://shop
//! # ------------------------ >8 ------------------------
//! http://lab
//! ```
//!
//! If two sides wrote texts of several lines, the value is their merge. Git-style markers enclose the
//! lines that both changed.

use std::fmt::Write as _;

use diffy::{ConflictStyle, MergeOptions};
use larder_core::resource::literal::{self, Literal};
use larder_core::value::Value;

use crate::dto::{ConflictEntry, ConflictSide, JsonValue};
use crate::output::{escape, format_value, node_ref_name, short_id};
use crate::time;

/// The line that ends the remarks.
const REMARKS_END: &str = "# ------------------------ >8 ------------------------\n";
/// The length of a merge marker, unless the texts contain markers of that length.
const MIN_MARKER_CHARS: usize = 7;
/// The characters that merge markers consist of.
const MARKER_CHARS: [char; 4] = ['<', '|', '=', '>'];

/// The text of a conflict that the operator edits.
#[derive(Debug)]
pub(super) struct ConflictFile {
    remarks: String,
    value: String,
    form: ValueForm,
    /// True if the value ends with a newline: at least one side's text does.
    ends_with_newline: bool,
}

/// The form of the value below the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueForm {
    /// A plain text.
    Text,
    /// A value in TOML.
    Toml,
    /// Two texts that merge without a conflict.
    CleanMerge,
    /// Two merged texts with conflict markers of this length.
    MarkedMerge(usize),
}

impl ConflictFile {
    /// Formats a conflict.
    pub(super) fn new(conflict: &ConflictEntry) -> Self {
        let sides = &conflict.values;
        let texts: Option<Vec<&str>> = sides.iter().map(side_text).collect();
        let winner = sides.iter().find(|side| side.winner).or(sides.first());
        let winner = winner.and_then(|side| side.value.as_ref());
        let (form, text) = match &texts {
            None => (ValueForm::Toml, winner.map(format_toml).unwrap_or_default()),
            Some(texts) => match (texts.as_slice(), base_text(conflict)) {
                ([a, b], Some(base)) if is_multiline(a) || is_multiline(b) => {
                    merge_texts(base, (a, &side_label(sides.first())), (b, &side_label(sides.get(1))))
                }
                _ => (ValueForm::Text, winner.and_then(literal_text).unwrap_or_default().to_owned()),
            },
        };
        let set_texts = texts.iter().flatten().filter(|text| !text.is_empty());
        let ends_with_newline = form != ValueForm::Toml
            && set_texts.clone().count() > 0
            && set_texts.clone().any(|text| text.ends_with('\n'));
        let remarks = build_remarks(conflict, form);
        let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        Self { remarks, value: format!("{text}{newline}"), form, ends_with_newline }
    }

    /// The whole text, for an editor.
    pub(super) fn text(&self) -> String {
        format!("{}{REMARKS_END}{}", self.remarks, self.value)
    }

    /// True if the value is written in TOML.
    pub(super) fn is_toml(&self) -> bool {
        self.form == ValueForm::Toml
    }

    /// True if the value is a merge without conflict markers. The operator may accept it unchanged.
    pub(super) fn is_clean_merge(&self) -> bool {
        self.form == ValueForm::CleanMerge
    }

    /// The value of a saved file and the number of its first line. `None` if the line that ends the
    /// remarks is missing.
    pub(super) fn extract_value<'a>(&self, saved: &'a str) -> Option<(&'a str, usize)> {
        let lines: Vec<&str> = saved.split_inclusive('\n').collect();
        let remark_lines = lines.iter().position(|line| line.trim_end() == REMARKS_END.trim_end())? + 1;
        let value_start = lines.iter().take(remark_lines).map(|line| line.len()).sum();
        let text = saved.get(value_start..)?;
        let text = if self.ends_with_newline { text } else { text.strip_suffix('\n').unwrap_or(text) };
        Some((text, remark_lines + 1))
    }

    /// The line, counted from 0, of the first remaining conflict marker.
    pub(super) fn find_marker(&self, text: &str) -> Option<usize> {
        let ValueForm::MarkedMerge(length) = self.form else { return None };
        text.lines().position(|line| MARKER_CHARS.iter().any(|marker| count_leading(line, *marker) == length))
    }
}

/// The number of `marker` characters at the start of a line.
fn count_leading(line: &str, marker: char) -> usize {
    line.chars().take_while(|c| *c == marker).count()
}

fn literal_text(plain: &JsonValue) -> Option<&str> {
    match &plain.0 {
        Literal::Scalar(Value::Str(text)) => Some(text),
        _ => None,
    }
}

/// The text of a side. It is empty if the side removed the field, and `None` if its value is not a text.
fn side_text(side: &ConflictSide) -> Option<&str> {
    side.value.as_ref().map_or(Some(""), literal_text)
}

/// The text before the conflict. It is empty if the field was unset, and `None` if its value was not a text.
fn base_text(conflict: &ConflictEntry) -> Option<&str> {
    conflict.base.as_ref().map_or(Some(""), literal_text)
}

fn is_multiline(text: &str) -> bool {
    text.lines().nth(1).is_some()
}

fn format_toml(plain: &JsonValue) -> String {
    match &plain.0 {
        Literal::Scalar(value) => literal::format_scalar(value),
        Literal::List(values) => literal::format_list(values),
    }
}

/// The name of a side in a conflict marker.
fn side_label(side: Option<&ConflictSide>) -> String {
    side.map(|side| format!("{} ({})", side.tag, escape(&node_ref_name(side.node.as_ref()))))
        .unwrap_or_default()
}

/// Merges two texts with a common base.
fn merge_texts(base: &str, (a, a_label): (&str, &str), (b, b_label): (&str, &str)) -> (ValueForm, String) {
    let with_newline = |text: &str| {
        if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
    };
    let (base, a, b) = (with_newline(base), with_newline(a), with_newline(b));
    let lines = || base.lines().chain(a.lines()).chain(b.lines());
    let longest =
        lines().flat_map(|line| MARKER_CHARS.map(|mark| count_leading(line, mark))).max().unwrap_or(0);
    let length = MIN_MARKER_CHARS.max(longest + 1);
    let mut options = MergeOptions::new();
    options.set_conflict_style(ConflictStyle::Diff3).set_conflict_marker_length(length);
    match options.merge(&base, &a, &b) {
        Ok(merged) => (ValueForm::CleanMerge, merged),
        Err(marked) => {
            let relabeled =
                marked.lines().map(|line| relabel_marker(line, length, a_label, b_label) + "\n").collect();
            (ValueForm::MarkedMerge(length), relabeled)
        }
    }
}

/// Replaces the labels of a conflict marker by those that `conflicts` prints.
fn relabel_marker(line: &str, length: usize, a: &str, b: &str) -> String {
    for (marker, label) in [('<', a), ('|', "base"), ('>', b)] {
        if count_leading(line, marker) == length {
            return format!("{} {label}", marker.to_string().repeat(length));
        }
    }
    line.to_owned()
}

fn build_remarks(conflict: &ConflictEntry, form: ValueForm) -> String {
    let mut out = String::new();
    let (resource, field) = (escape(&conflict.resource), escape(&conflict.field));
    let explanation = match form {
        ValueForm::Text => "The text below the line is the winning value.",
        ValueForm::Toml => "The TOML value below the line is the winning value.",
        ValueForm::CleanMerge => "The text below the line merges both sides. They do not overlap.",
        ValueForm::MarkedMerge(_) => {
            "The text below the line merges both sides. Markers enclose the lines that both changed."
        }
    };
    let _ = writeln!(out, "# {resource} {field} is in conflict. {explanation}");
    let _ = writeln!(
        out,
        "# Edit the value and save the file to resolve the conflict on all nodes.\n\
         # An unchanged or empty value resolves nothing.\n#"
    );
    if conflict.base.is_some() {
        let _ = writeln!(out, "# base");
        push_quoted(&mut out, conflict.base.as_ref());
    }
    for side in &conflict.values {
        let winner_mark = if side.winner { "  (wins)" } else { "" };
        let (node, user, time) =
            (node_ref_name(side.node.as_ref()), escape(&side.user), time::local(side.time.0));
        let author = if user.is_empty() { node } else { format!("{node}, {user}") };
        let _ =
            writeln!(out, "# {}{winner_mark}  {author}, {time}, change {}", side.tag, short_id(&side.change));
        push_quoted(&mut out, side.value.as_ref());
    }
    out
}

/// Appends a value to the remarks.
fn push_quoted(out: &mut String, plain: Option<&JsonValue>) {
    match plain.and_then(literal_text) {
        Some(text) if !text.is_empty() => {
            for line in text.lines() {
                let _ = writeln!(out, "{}", format!("#     {}", escape(line)).trim_end());
            }
        }
        _ => drop(writeln!(out, "#     {}", format_value(plain))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dto::{ConflictKind, JsonTime, NodeRef};

    fn side(tag: &str, value: Option<Literal>, winner: bool) -> ConflictSide {
        let node = Some(NodeRef { id: "abcdefghij".to_owned(), alias: Some(format!("n{tag}")) });
        let (change, user) = ("0123456789".to_owned(), "root".to_owned());
        ConflictSide {
            tag: tag.to_owned(),
            value: value.map(JsonValue),
            change,
            node,
            user,
            time: JsonTime(0),
            winner,
        }
    }

    fn text_literal(text: &str) -> Option<Literal> {
        Some(Literal::Scalar(Value::from(text)))
    }

    fn conflict(base: Option<Literal>, values: Vec<Option<Literal>>) -> ConflictEntry {
        let values = values.into_iter().zip(["A", "B", "C"]);
        ConflictEntry {
            id: "00".to_owned(),
            kind: ConflictKind::Value,
            resource: "config/a".to_owned(),
            field: "keys.x".to_owned(),
            base: base.map(JsonValue),
            held_on: Vec::new(),
            values: values.map(|(value, tag)| side(tag, value, tag == "A")).collect(),
        }
    }

    #[test]
    fn a_one_line_conflict_shows_the_winning_value_below_the_remarks() {
        let file = ConflictFile::new(&conflict(
            text_literal("base"),
            vec![text_literal("left"), text_literal("# right")],
        ));
        let whole = file.text();
        assert!(whole.ends_with(&format!("{REMARKS_END}left\n")), "{whole}");
        for expected in
            ["# base\n#     base\n", "# A  (wins)  nA, root, ", "#     # right\n", "change 0123456"]
        {
            assert!(whole.contains(expected), "{expected}: {whole}");
        }
        let (saved, line) = file.extract_value(&whole).unwrap();
        assert_eq!((saved, whole.lines().nth(line - 1)), ("left", Some("left")));
        assert_eq!(file.extract_value("left\n"), None);
        assert_eq!(
            file.extract_value(&format!("# A\n#     {REMARKS_END}x\n")),
            None,
            "a quoted value that looks like the line does not end the remarks"
        );
        assert_eq!(file.extract_value(&format!("{REMARKS_END}# right\n")).unwrap().0, "# right");
    }

    #[test]
    fn a_value_that_is_no_text_is_written_in_toml() {
        let file = ConflictFile::new(&conflict(
            None,
            vec![Some(Literal::List(vec![Value::Int(1)])), text_literal("x")],
        ));
        assert!(file.is_toml() && file.text().ends_with(&format!("{REMARKS_END}[1]\n")), "{}", file.text());
    }

    #[test]
    fn long_texts_are_merged_and_conflicting_lines_are_marked() {
        let base = "one\ntwo\nthree\nfour\nfive\n";
        let left = "ONE\ntwo\nthree\nfour\nleft\n";
        let right = "one\ntwo\nthree\nfour\nright\n";
        let file =
            ConflictFile::new(&conflict(text_literal(base), vec![text_literal(left), text_literal(right)]));
        let (merged, first) = file
            .text()
            .split_once(REMARKS_END)
            .map(|(above, below)| (below.to_owned(), above.lines().count() + 2))
            .unwrap();
        assert_eq!(
            merged,
            "ONE\ntwo\nthree\nfour\n<<<<<<< A (nA)\nleft\n||||||| base\nfive\n=======\nright\n>>>>>>> B \
             (nB)\n"
        );
        let whole = file.text();
        let (value, line) = file.extract_value(&whole).unwrap();
        assert_eq!((file.find_marker(value), line), (Some(4), first));
        assert_eq!(file.find_marker("ONE\ntwo\n"), None);
        let clean_merge = ConflictFile::new(&conflict(
            text_literal(base),
            vec![text_literal("ONE\ntwo\nthree\nfour\nfive\n"), text_literal(right)],
        ));
        assert!(
            clean_merge.is_clean_merge() && clean_merge.text().ends_with("ONE\ntwo\nthree\nfour\nright\n")
        );
    }

    #[test]
    fn merge_markers_are_longer_than_lines_that_look_like_markers() {
        let base = "title\n=======\nbody";
        let file = ConflictFile::new(&conflict(
            text_literal(base),
            vec![text_literal("title\n=======\nleft"), text_literal("title\n=======\nright")],
        ));
        assert!(file.text().contains("\n<<<<<<<< A (nA)\nleft\n|||||||| base\nbody\n"), "{}", file.text());
        assert_eq!(file.find_marker("title\n=======\nboth"), None);
        assert_eq!(
            file.extract_value(&format!("{REMARKS_END}title\n=======\nboth\n")).unwrap().0,
            "title\n=======\nboth"
        );
    }
}
