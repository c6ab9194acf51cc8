//! Two versions of a text as unified hunks, as `diff -u` prints them; on a terminal the words that differ stand out.

use std::fmt::Write as _;

use similar::udiff::UnifiedHunkHeader;
use similar::{ChangeTag, DiffOp, TextDiff};

use super::{Pen, Style, line};
use crate::limits;

/// Lines that stay the same, shown before and after those that do not.
const AROUND: usize = 3;

/// True of a text that reads better line by line.
pub fn has_lines(text: &str) -> bool {
    text.lines().nth(1).is_some()
}

/// The lines of all hunks, escaped; none if the texts are the same.
pub fn hunks(pen: Pen, old: &str, new: &str) -> Vec<String> {
    // What takes too long to compare is shown as replaced.
    let diff = TextDiff::configure().timeout(limits::COMPARE).diff_lines(old, new);
    // Many a value has no end of line at its end; that is worth a word only where it changed.
    let ends_differ = old.ends_with('\n') != new.ends_with('\n') && !old.is_empty() && !new.is_empty();
    let mut out = Vec::new();
    for group in diff.grouped_ops(AROUND) {
        out.push(pen.paint(Style::Id, &UnifiedHunkHeader::new(&group).to_string()));
        for op in &group {
            match pen.colors {
                true => words(&mut out, pen, &diff, op, ends_differ),
                false => plain(&mut out, pen, &diff, op, ends_differ),
            }
        }
    }
    out
}

fn plain(out: &mut Vec<String>, pen: Pen, diff: &TextDiff<'_, '_, str>, op: &DiffOp, ends: bool) {
    for change in diff.iter_changes(op) {
        let (sign, style, _) = look(change.tag());
        out.push(pen.paint(style, &format!("{sign}{}", line(content(change.value())))));
        end(out, pen, ends && change.missing_newline());
    }
}

fn words(out: &mut Vec<String>, pen: Pen, diff: &TextDiff<'_, '_, str>, op: &DiffOp, ends: bool) {
    for change in diff.iter_inline_changes(op) {
        let (sign, style, strong) = look(change.tag());
        // A line that is new as a whole has no words that stand out.
        let whole = change.iter_strings_lossy().all(|(differs, part)| differs || part.trim().is_empty());
        let strong = if whole { style } else { strong };
        let mut text = pen.paint(style, sign);
        for (differs, part) in change.iter_strings_lossy() {
            let part = line(content(&part));
            let _ = write!(text, "{}", pen.paint(if differs { strong } else { style }, &part));
        }
        out.push(text);
        end(out, pen, ends && change.missing_newline());
    }
}

/// The sign of a line, how it looks, and how the words in it look that differ.
fn look(tag: ChangeTag) -> (&'static str, Style, Style) {
    match tag {
        ChangeTag::Equal => (" ", Style::Plain, Style::Plain),
        ChangeTag::Delete => ("-", Style::Bad, Style::BadWord),
        ChangeTag::Insert => ("+", Style::Good, Style::GoodWord),
    }
}

/// A line without what ends it.
fn content(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

fn end(out: &mut Vec<String>, pen: Pen, missing: bool) {
    if missing {
        out.push(pen.paint(Style::Dim, "\\ no newline at the end"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Pen = Pen { colors: false };

    fn numbered(upto: u32) -> String {
        (1..=upto).map(|nth| format!("line {nth}\n")).collect()
    }

    #[test]
    fn a_hunk_has_three_lines_around_what_differs() {
        let old = numbered(20);
        let new = old.replace("line 9\n", "line nine\n").replace("line 20\n", "line 20");
        assert_eq!(
            hunks(PLAIN, &old, &new),
            [
                "@@ -6,7 +6,7 @@",
                " line 6",
                " line 7",
                " line 8",
                "-line 9",
                "+line nine",
                " line 10",
                " line 11",
                " line 12",
                "@@ -17,4 +17,4 @@",
                " line 17",
                " line 18",
                " line 19",
                "-line 20",
                "+line 20",
                "\\ no newline at the end"
            ]
        );
        assert!(hunks(PLAIN, &old, &old).is_empty());
        assert_eq!(hunks(PLAIN, "", "a\nb\n"), ["@@ -0,0 +1,2 @@", "+a", "+b"]);
    }

    #[test]
    fn words_that_differ_stand_out_in_colour() {
        let drawn = hunks(Pen { colors: true }, "url = one\nx\n", "url = two\nx\n").join("\n");
        assert!(
            drawn.contains("\u{1b}[7;31mone\u{1b}[0m") && drawn.contains("\u{1b}[7;32mtwo\u{1b}[0m"),
            "{drawn:?}"
        );
        assert!(drawn.contains("\u{1b}[31murl = \u{1b}[0m"), "{drawn:?}");
    }

    #[test]
    fn nothing_in_a_text_steers_the_terminal() {
        let drawn = hunks(PLAIN, "a\n", "\u{1b}[31m\r\n\tb\n").join("\n");
        assert_eq!(drawn, "@@ -1 +1,2 @@\n-a\n+\\u{1b}[31m\\r\n+\tb");
    }
}
