//! Old and new values, as `show`, `diff`, `log -p` and `plan` print them.

use std::fmt::Write as _;

use larder_core::resource::literal::Literal;
use larder_core::value::Value;

use crate::dto::{FieldDiff, JsonValue};
use crate::output::unified_diff::{is_multiline, render_unified_diff};
use crate::output::{Style, Styler, escape, format_value_short, short_id};

/// Formats old and new values by resource. `shows_changes` adds the change that wrote each value.
pub(super) fn render_edits(styler: Styler, edits: &[FieldDiff], shows_changes: bool) -> String {
    let mut out = String::new();
    let mut last_resource = "";
    for edit in edits {
        if edit.resource != last_resource {
            let _ = writeln!(out, "{}", styler.paint(Style::Bold, &escape(&edit.resource)));
            last_resource = &edit.resource;
        }
        let change_suffix = match &edit.change {
            Some(change) if shows_changes => format!("  {}", styler.paint(Style::Id, &short_id(change))),
            _ => String::new(),
        };
        match multiline_texts(edit) {
            Some((old, new)) if old != new => {
                render_text_edit(&mut out, styler, edit, &change_suffix, (old, new))
            }
            _ => render_value_edit(&mut out, styler, edit, &change_suffix),
        }
    }
    out
}

/// Both values, if they are texts and one has several lines.
fn multiline_texts(edit: &FieldDiff) -> Option<(&str, &str)> {
    let (old, new) = (text_or_empty(edit.old.as_ref())?, text_or_empty(edit.new.as_ref())?);
    (is_multiline(old) || is_multiline(new)).then_some((old, new))
}

/// The text of a value. It is empty if the value is unset, and `None` if the value is not a text.
fn text_or_empty(value: Option<&JsonValue>) -> Option<&str> {
    match value.map(|plain| &plain.0) {
        None => Some(""),
        Some(Literal::Scalar(Value::Str(text))) => Some(text),
        Some(_) => None,
    }
}

fn render_text_edit(
    out: &mut String,
    styler: Styler,
    edit: &FieldDiff,
    change_suffix: &str,
    (old, new): (&str, &str),
) {
    let field = escape(&edit.field);
    let _ = match (&edit.old, &edit.new) {
        (None, _) => writeln!(out, "{}{change_suffix}", styler.paint(Style::Good, &format!("  + {field}"))),
        (_, None) => writeln!(out, "{}{change_suffix}", styler.paint(Style::Bad, &format!("  - {field}"))),
        _ => writeln!(out, "    {field}{change_suffix}"),
    };
    for line in render_unified_diff(styler, old, new) {
        let _ = writeln!(out, "    {line}");
    }
}

fn render_value_edit(out: &mut String, styler: Styler, edit: &FieldDiff, change_suffix: &str) {
    let field = escape(&edit.field);
    if let Some(old) = &edit.old {
        let line = styler.paint(Style::Bad, &format!("  - {field} = {}", format_value_short(Some(old))));
        let _ = writeln!(out, "{line}{}", if edit.new.is_none() { change_suffix } else { "" });
    }
    if let Some(new) = &edit.new {
        let line = styler.paint(Style::Good, &format!("  + {field} = {}", format_value_short(Some(new))));
        let _ = writeln!(out, "{line}{change_suffix}");
    }
    if edit.old.is_none() && edit.new.is_none() {
        let _ = writeln!(out, "  ~ {field} resolved as (unset){change_suffix}");
    }
}
