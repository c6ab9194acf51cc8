//! A conflict as a page to be edited: what all sides want as remarks, a line that ends them, and below it the value.
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
//! Where two sides wrote texts of several lines, what is below the line is their merge, with marks as Git makes them
//! around what both changed.

use std::fmt::Write as _;

use diffy::{ConflictStyle, MergeOptions};
use larder_core::resource::literal::{self, Literal};
use larder_core::value::Value;

use crate::render::{clean, short, value, who};
use crate::time;
use crate::view::{Conflict, Plain, Side};

/// Ends the remarks.
const CUT: &str = "# ------------------------ >8 ------------------------\n";
/// How many characters a mark of a merge has, if the texts hold none that is as long.
const MARK: usize = 7;
/// What marks are made of.
const MARKS: [char; 4] = ['<', '|', '=', '>'];

/// A conflict, laid out.
#[derive(Debug)]
pub(super) struct Page {
    remarks: String,
    value: String,
    form: Form,
    /// True if every side's text ends with its last line's end, or none says otherwise.
    ends_line: bool,
}

/// What stands below the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A text as it is.
    Text,
    /// A value in TOML.
    Typed,
    /// Two texts merged, without a mark.
    Merged,
    /// Two texts merged, with marks of this length.
    Marked(usize),
}

impl Page {
    /// Lays a conflict out.
    pub(super) fn of(conflict: &Conflict) -> Self {
        let sides = &conflict.values;
        let texts: Option<Vec<&str>> = sides.iter().map(text_of).collect();
        let winner = sides.iter().find(|side| side.winner).or(sides.first());
        let winner = winner.and_then(|side| side.value.as_ref());
        let (form, text) = match &texts {
            None => (Form::Typed, winner.map(write).unwrap_or_default()),
            Some(texts) => match (texts.as_slice(), base_text(conflict)) {
                ([a, b], Some(base)) if is_long(a) || is_long(b) => {
                    merge(base, (a, &name(sides.first())), (b, &name(sides.get(1))))
                }
                _ => (Form::Text, winner.and_then(text_in).unwrap_or_default().to_owned()),
            },
        };
        let set = texts.iter().flatten().filter(|text| !text.is_empty());
        let ends_line =
            form != Form::Typed && set.clone().count() > 0 && set.clone().any(|text| text.ends_with('\n'));
        let remarks = remark(conflict, form);
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        Self { remarks, value: format!("{text}{end}"), form, ends_line }
    }

    /// All of it, as it is given to an editor.
    pub(super) fn text(&self) -> String {
        format!("{}{CUT}{}", self.remarks, self.value)
    }

    /// True if the value is written in TOML.
    pub(super) fn is_typed(&self) -> bool {
        self.form == Form::Typed
    }

    /// True if the value is a merge that nothing stood against: it may be meant as it is.
    pub(super) fn is_merged(&self) -> bool {
        self.form == Form::Merged
    }

    /// The value of a page that was saved, and the line that it begins at; `None` if the line that ends the remarks is
    /// gone.
    pub(super) fn value_in<'a>(&self, saved: &'a str) -> Option<(&'a str, usize)> {
        let lines: Vec<&str> = saved.split_inclusive('\n').collect();
        let above = lines.iter().position(|line| line.trim_end() == CUT.trim_end())? + 1;
        let at = lines.iter().take(above).map(|line| line.len()).sum();
        let text = saved.get(at..)?;
        let text = if self.ends_line { text } else { text.strip_suffix('\n').unwrap_or(text) };
        Some((text, above + 1))
    }

    /// The line, from 0, of the first mark that is left.
    pub(super) fn marker_in(&self, text: &str) -> Option<usize> {
        let Form::Marked(length) = self.form else { return None };
        text.lines().position(|line| MARKS.iter().any(|mark| run(line, *mark) == length))
    }
}

/// How often a line begins with `mark`.
fn run(line: &str, mark: char) -> usize {
    line.chars().take_while(|c| *c == mark).count()
}

fn text_in(plain: &Plain) -> Option<&str> {
    match &plain.0 {
        Literal::Scalar(Value::Str(text)) => Some(text),
        _ => None,
    }
}

/// The text of a side; empty where it unset the field; `None` where it wrote something else.
fn text_of(side: &Side) -> Option<&str> {
    side.value.as_ref().map_or(Some(""), text_in)
}

/// What the sides started from, as a text; `None` if it was something else.
fn base_text(conflict: &Conflict) -> Option<&str> {
    conflict.base.as_ref().map_or(Some(""), text_in)
}

fn is_long(text: &str) -> bool {
    text.lines().nth(1).is_some()
}

fn write(plain: &Plain) -> String {
    match &plain.0 {
        Literal::Scalar(value) => literal::write(value),
        Literal::List(values) => literal::write_list(values),
    }
}

/// A side as a mark names it.
fn name(side: Option<&Side>) -> String {
    side.map(|side| format!("{} ({})", side.tag, clean(&who(side.node.as_ref())))).unwrap_or_default()
}

/// Merges what two sides made of a text.
fn merge(base: &str, (a, a_name): (&str, &str), (b, b_name): (&str, &str)) -> (Form, String) {
    let whole = |text: &str| {
        if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
    };
    let (base, a, b) = (whole(base), whole(a), whole(b));
    let lines = || base.lines().chain(a.lines()).chain(b.lines());
    let longest = lines().flat_map(|line| MARKS.map(|mark| run(line, mark))).max().unwrap_or(0);
    let length = MARK.max(longest + 1);
    let mut options = MergeOptions::new();
    options.set_conflict_style(ConflictStyle::Diff3).set_conflict_marker_length(length);
    match options.merge(&base, &a, &b) {
        Ok(merged) => (Form::Merged, merged),
        Err(marked) => {
            let named = marked.lines().map(|line| relabel(line, length, a_name, b_name) + "\n").collect();
            (Form::Marked(length), named)
        }
    }
}

/// A line of a merge; its marks name the sides as `conflicts` does.
fn relabel(line: &str, length: usize, a: &str, b: &str) -> String {
    for (mark, label) in [('<', a), ('|', "base"), ('>', b)] {
        if run(line, mark) == length {
            return format!("{} {label}", mark.to_string().repeat(length));
        }
    }
    line.to_owned()
}

fn remark(conflict: &Conflict, form: Form) -> String {
    let mut out = String::new();
    let (resource, field) = (clean(&conflict.resource), clean(&conflict.field));
    let what = match form {
        Form::Text => "Below the line is the value that wins for now.",
        Form::Typed => "Below the line is the value that wins for now, in TOML.",
        Form::Merged => "Below the line both are merged; nothing in them stood against each other.",
        Form::Marked(_) => "Below the line both are merged; marks stand around what both changed.",
    };
    let _ = writeln!(out, "# {resource} {field} is in conflict. {what}");
    let _ = writeln!(
        out,
        "# What you make of it and save is what everybody gets. Leave it as it is, or empty it, to settle nothing.\n#"
    );
    if conflict.base.is_some() {
        let _ = writeln!(out, "# base");
        quote(&mut out, conflict.base.as_ref());
    }
    for side in &conflict.values {
        let wins = if side.winner { "  (wins)" } else { "" };
        let (node, user, time) = (who(side.node.as_ref()), clean(&side.user), time::local(side.time.0));
        let by = if user.is_empty() { node } else { format!("{node}, {user}") };
        let _ = writeln!(out, "# {}{wins}  {by}, {time}, change {}", side.tag, short(&side.change));
        quote(&mut out, side.value.as_ref());
    }
    out
}

/// A value among the remarks.
fn quote(out: &mut String, plain: Option<&Plain>) {
    match plain.and_then(text_in) {
        Some(text) if !text.is_empty() => {
            for line in text.lines() {
                let _ = writeln!(out, "{}", format!("#     {}", clean(line)).trim_end());
            }
        }
        _ => drop(writeln!(out, "#     {}", value(plain))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Time, Who};

    fn side(tag: &str, value: Option<Literal>, winner: bool) -> Side {
        let node = Some(Who { id: "abcdefghij".to_owned(), alias: Some(format!("n{tag}")) });
        let (change, user) = ("0123456789".to_owned(), "root".to_owned());
        Side { tag: tag.to_owned(), value: value.map(Plain), change, node, user, time: Time(0), winner }
    }

    fn text(text: &str) -> Option<Literal> {
        Some(Literal::Scalar(Value::from(text)))
    }

    fn conflict(base: Option<Literal>, values: Vec<Option<Literal>>) -> Conflict {
        let values = values.into_iter().zip(["A", "B", "C"]);
        Conflict {
            id: "00".to_owned(),
            kind: "value".to_owned(),
            resource: "config/a".to_owned(),
            field: "keys.x".to_owned(),
            base: base.map(Plain),
            held_on: Vec::new(),
            values: values.map(|(value, tag)| side(tag, value, tag == "A")).collect(),
        }
    }

    #[test]
    fn one_line_is_the_winner_below_the_remarks() {
        let page = Page::of(&conflict(text("base"), vec![text("left"), text("# right")]));
        let whole = page.text();
        assert!(whole.ends_with(&format!("{CUT}left\n")), "{whole}");
        for words in ["# base\n#     base\n", "# A  (wins)  nA, root, ", "#     # right\n", "change 0123456"]
        {
            assert!(whole.contains(words), "{words}: {whole}");
        }
        let (saved, line) = page.value_in(&whole).unwrap();
        assert_eq!((saved, whole.lines().nth(line - 1)), ("left", Some("left")));
        assert_eq!(page.value_in("left\n"), None);
        assert_eq!(
            page.value_in(&format!("# A\n#     {CUT}x\n")),
            None,
            "a value that looks like the line is none"
        );
        assert_eq!(page.value_in(&format!("{CUT}# right\n")).unwrap().0, "# right");
    }

    #[test]
    fn what_is_no_text_is_written_in_toml() {
        let page = Page::of(&conflict(None, vec![Some(Literal::List(vec![Value::Int(1)])), text("x")]));
        assert!(page.is_typed() && page.text().ends_with(&format!("{CUT}[1]\n")), "{}", page.text());
    }

    #[test]
    fn texts_are_merged_and_what_both_changed_is_marked() {
        let base = "one\ntwo\nthree\nfour\nfive\n";
        let left = "ONE\ntwo\nthree\nfour\nleft\n";
        let right = "one\ntwo\nthree\nfour\nright\n";
        let page = Page::of(&conflict(text(base), vec![text(left), text(right)]));
        let (merged, first) = page
            .text()
            .split_once(CUT)
            .map(|(above, below)| (below.to_owned(), above.lines().count() + 2))
            .unwrap();
        assert_eq!(
            merged,
            "ONE\ntwo\nthree\nfour\n<<<<<<< A (nA)\nleft\n||||||| base\nfive\n=======\nright\n>>>>>>> B (nB)\n"
        );
        let whole = page.text();
        let (value, line) = page.value_in(&whole).unwrap();
        assert_eq!((page.marker_in(value), line), (Some(4), first));
        assert_eq!(page.marker_in("ONE\ntwo\n"), None);
        let clean = Page::of(&conflict(text(base), vec![text("ONE\ntwo\nthree\nfour\nfive\n"), text(right)]));
        assert!(clean.is_merged() && clean.text().ends_with("ONE\ntwo\nthree\nfour\nright\n"));
    }

    #[test]
    fn marks_are_longer_than_any_line_that_looks_like_one() {
        let base = "title\n=======\nbody";
        let page = Page::of(&conflict(
            text(base),
            vec![text("title\n=======\nleft"), text("title\n=======\nright")],
        ));
        assert!(page.text().contains("\n<<<<<<<< A (nA)\nleft\n|||||||| base\nbody\n"), "{}", page.text());
        assert_eq!(page.marker_in("title\n=======\nboth"), None);
        assert_eq!(page.value_in(&format!("{CUT}title\n=======\nboth\n")).unwrap().0, "title\n=======\nboth");
    }
}
