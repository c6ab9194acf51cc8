//! Old and new values, as `show`, `diff`, `log -p` and `plan` print them.

use std::fmt::Write as _;

use larder_core::resource::literal::Literal;
use larder_core::value::Value;

use crate::render::hunk::{has_lines, hunks};
use crate::render::{Pen, Style, brief, clean, short};
use crate::view::{EditRow, Plain};

/// Old and new values, by resource. `changes`: with the change that wrote each.
pub(super) fn draw_edits(pen: Pen, edits: &[EditRow], changes: bool) -> String {
    let mut out = String::new();
    let mut last = "";
    for edit in edits {
        if edit.resource != last {
            let _ = writeln!(out, "{}", pen.paint(Style::Bold, &clean(&edit.resource)));
            last = &edit.resource;
        }
        let by = match &edit.change {
            Some(change) if changes => format!("  {}", pen.paint(Style::Id, &short(change))),
            _ => String::new(),
        };
        match texts(edit) {
            Some((old, new)) if old != new => draw_text(&mut out, pen, edit, &by, (old, new)),
            _ => draw_values(&mut out, pen, edit, &by),
        }
    }
    out
}

/// Both sides, if they are texts of which one has several lines.
fn texts(edit: &EditRow) -> Option<(&str, &str)> {
    let (old, new) = (text(edit.old.as_ref())?, text(edit.new.as_ref())?);
    (has_lines(old) || has_lines(new)).then_some((old, new))
}

/// The text of a value, an empty one if it is unset; `None` of what is no text.
fn text(value: Option<&Plain>) -> Option<&str> {
    match value.map(|plain| &plain.0) {
        None => Some(""),
        Some(Literal::Scalar(Value::Str(text))) => Some(text),
        Some(_) => None,
    }
}

fn draw_text(out: &mut String, pen: Pen, edit: &EditRow, by: &str, (old, new): (&str, &str)) {
    let field = clean(&edit.field);
    let _ = match (&edit.old, &edit.new) {
        (None, _) => writeln!(out, "{}{by}", pen.paint(Style::Good, &format!("  + {field}"))),
        (_, None) => writeln!(out, "{}{by}", pen.paint(Style::Bad, &format!("  - {field}"))),
        _ => writeln!(out, "    {field}{by}"),
    };
    for line in hunks(pen, old, new) {
        let _ = writeln!(out, "    {line}");
    }
}

fn draw_values(out: &mut String, pen: Pen, edit: &EditRow, by: &str) {
    let field = clean(&edit.field);
    if let Some(old) = &edit.old {
        let line = pen.paint(Style::Bad, &format!("  - {field} = {}", brief(Some(old))));
        let _ = writeln!(out, "{line}{}", if edit.new.is_none() { by } else { "" });
    }
    if let Some(new) = &edit.new {
        let line = pen.paint(Style::Good, &format!("  + {field} = {}", brief(Some(new))));
        let _ = writeln!(out, "{line}{by}");
    }
    if edit.old.is_none() && edit.new.is_none() {
        let _ = writeln!(out, "  ~ {field} settled as (unset){by}");
    }
}
