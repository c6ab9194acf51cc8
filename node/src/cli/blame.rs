//! `blame`: the author of each field and each line.

use std::fmt::Write as _;

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::history_point::AtArgs;
use crate::dto::{self, BlameField, ChangeOrigin};
use crate::output::{Style, Styler, author_name, escape, format_value_short, short_id};
use crate::time;

/// Arguments of `blame`.
#[derive(Debug, Args)]
pub(super) struct BlameArgs {
    /// The resource, as KIND/NAME
    resource: String,
    /// A field, or the beginning of the path of several fields, such as keys
    field: Option<String>,
    #[command(flatten)]
    at_args: AtArgs,
}

pub(super) fn blame(context: &CommandContext, args: &BlameArgs) -> CommandResult {
    let query = [args.at_args.query_param(), ("field", args.field.as_deref())];
    let blame: dto::BlameReport =
        context.client.get(&context.resource_path(&args.resource, &["blame"])?, &query)?;
    args.at_args.report(context, blame.at.as_deref());
    context.print_paged(&blame, |blame| render_blame(context.styler, blame))?;
    if !context.json && blame.fields.iter().flat_map(|field| &field.lines).any(|line| line.may_be_older) {
        print_stderr("^ marks a line that may be older than its change: the search stopped there.");
    }
    Ok(None)
}

pub(super) fn render_blame(styler: Styler, blame: &dto::BlameReport) -> String {
    let line_origins =
        |field: &BlameField| field.lines.iter().map(|line| line.origin.clone()).collect::<Vec<_>>();
    let origins =
        blame.fields.iter().flat_map(|field| [vec![field.origin.clone()], line_origins(field)]).flatten();
    let width = origins.map(|origin| origin_author(&origin).chars().count()).max().unwrap_or(0);
    let line_prefix = |origin: &ChangeOrigin, marker: &str| {
        let author = origin_author(origin);
        let pad = " ".repeat(width - author.chars().count());
        let time = styler.paint(Style::Dim, &time::local(origin.time.0));
        format!("{}{marker} {time}  {author}{pad}  ", styler.paint(Style::Id, &short_id(&origin.change)))
    };
    let mut out = String::new();
    for field in &blame.fields {
        let path = styler.paint(Style::Bold, &escape(&field.field));
        let prefix = line_prefix(&field.origin, " ");
        if field.lines.is_empty() {
            let _ = writeln!(out, "{prefix}{path} = {}", format_value_short(Some(&field.value)));
            continue;
        }
        let _ = writeln!(out, "{prefix}{path}:");
        let digits = field.lines.len().to_string().len();
        for (nth, line) in (1..).zip(&field.lines) {
            let prefix = line_prefix(&line.origin, if line.may_be_older { "^" } else { " " });
            let number = styler.paint(Style::Dim, &format!("{nth:digits$}"));
            let line = format!("{prefix}  {number}  {}", crate::output::escape_line(&line.text));
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    out
}

fn origin_author(origin: &ChangeOrigin) -> String {
    author_name(&origin.user, origin.node.as_ref())
}
