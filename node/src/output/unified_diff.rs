//! Two versions of a text as unified hunks, like `diff -u`. On a terminal, changed words stand out.

use std::fmt::Write as _;

use similar::udiff::UnifiedHunkHeader;
use similar::{ChangeTag, DiffOp, TextDiff};

use super::escape::escape_line;
use super::style::{Style, Styler};
use crate::limits;

/// The number of unchanged lines around each hunk.
const CONTEXT_LINES: usize = 3;

/// True if the text has more than one line.
pub fn is_multiline(text: &str) -> bool {
    text.lines().nth(1).is_some()
}

/// The escaped lines of all hunks. Empty if the texts are equal.
pub fn render_unified_diff(styler: Styler, old: &str, new: &str) -> Vec<String> {
    // After the timeout the rest is shown as replaced.
    let diff = TextDiff::configure().timeout(limits::TEXT_DIFF_TIMEOUT).diff_lines(old, new);
    // Many values lack a final newline. It is mentioned only if that changed.
    let ends_differ = old.ends_with('\n') != new.ends_with('\n') && !old.is_empty() && !new.is_empty();
    let mut out = Vec::new();
    for group in diff.grouped_ops(CONTEXT_LINES) {
        out.push(styler.paint(Style::Id, &UnifiedHunkHeader::new(&group).to_string()));
        for op in &group {
            match styler.is_colored {
                true => push_highlighted_lines(&mut out, styler, &diff, op, ends_differ),
                false => push_plain_lines(&mut out, styler, &diff, op, ends_differ),
            }
        }
    }
    out
}

fn push_plain_lines(
    out: &mut Vec<String>,
    styler: Styler,
    diff: &TextDiff<'_, '_, str>,
    op: &DiffOp,
    ends_differ: bool,
) {
    for change in diff.iter_changes(op) {
        let (sign, style, _) = line_style(change.tag());
        out.push(styler.paint(style, &format!("{sign}{}", escape_line(strip_newline(change.value())))));
        push_missing_newline(out, styler, ends_differ && change.missing_newline());
    }
}

fn push_highlighted_lines(
    out: &mut Vec<String>,
    styler: Styler,
    diff: &TextDiff<'_, '_, str>,
    op: &DiffOp,
    ends_differ: bool,
) {
    for change in diff.iter_inline_changes(op) {
        let (sign, style, word_style) = line_style(change.tag());
        // A line that is new as a whole has no changed words.
        let is_whole_line =
            change.iter_strings_lossy().all(|(differs, part)| differs || part.trim().is_empty());
        let word_style = if is_whole_line { style } else { word_style };
        let mut text = styler.paint(style, sign);
        for (differs, part) in change.iter_strings_lossy() {
            let part = escape_line(strip_newline(&part));
            let _ = write!(text, "{}", styler.paint(if differs { word_style } else { style }, &part));
        }
        out.push(text);
        push_missing_newline(out, styler, ends_differ && change.missing_newline());
    }
}

/// The sign of a line, its style, and the style of changed words in it.
fn line_style(tag: ChangeTag) -> (&'static str, Style, Style) {
    match tag {
        ChangeTag::Equal => (" ", Style::Plain, Style::Plain),
        ChangeTag::Delete => ("-", Style::Bad, Style::DeletedWord),
        ChangeTag::Insert => ("+", Style::Good, Style::InsertedWord),
    }
}

/// The line without its newline.
fn strip_newline(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

fn push_missing_newline(out: &mut Vec<String>, styler: Styler, is_missing: bool) {
    if is_missing {
        out.push(styler.paint(Style::Dim, "\\ no newline at the end"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Styler = Styler::PLAIN;

    fn numbered_lines(count: u32) -> String {
        (1..=count).map(|nth| format!("line {nth}\n")).collect()
    }

    #[test]
    fn a_hunk_has_three_lines_around_what_differs() {
        let old = numbered_lines(20);
        let new = old.replace("line 9\n", "line nine\n").replace("line 20\n", "line 20");
        assert_eq!(
            render_unified_diff(PLAIN, &old, &new),
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
        assert!(render_unified_diff(PLAIN, &old, &old).is_empty());
        assert_eq!(render_unified_diff(PLAIN, "", "a\nb\n"), ["@@ -0,0 +1,2 @@", "+a", "+b"]);
    }

    #[test]
    fn changed_words_are_highlighted_in_colour() {
        let rendered =
            render_unified_diff(Styler { is_colored: true }, "url = one\nx\n", "url = two\nx\n").join("\n");
        assert!(
            rendered.contains("\u{1b}[7m\u{1b}[31mone\u{1b}[0m")
                && rendered.contains("\u{1b}[7m\u{1b}[32mtwo\u{1b}[0m"),
            "{rendered:?}"
        );
        assert!(rendered.contains("\u{1b}[31murl = \u{1b}[0m"), "{rendered:?}");
    }

    #[test]
    fn control_characters_in_a_text_are_escaped() {
        let rendered = render_unified_diff(PLAIN, "a\n", "\u{1b}[31m\r\n\tb\n").join("\n");
        assert_eq!(rendered, "@@ -1 +1,2 @@\n-a\n+\\u{1b}[31m\\r\n+\tb");
    }
}
