//! `blame`.

use std::fmt::Write as _;

use clap::Args;

use super::{Context, Outcome, talk};
use crate::render::{Pen, Style, brief, by, clean, short};
use crate::time;
use crate::view::{self, BlameRow, Origin};

/// Flags of `blame`.
#[derive(Debug, Args)]
pub(super) struct Blame {
    /// KIND/NAME
    resource: String,
    /// One field, or all below it
    field: Option<String>,
}

pub(super) fn blame(context: &Context, args: &Blame) -> Outcome {
    let query = [
        context.group(),
        context.at(),
        ("resource", Some(args.resource.as_str())),
        ("field", args.field.as_deref()),
    ];
    let blame: view::Blame = context.client.get("/v1/blame", &query)?;
    context.tell_at(blame.at.as_deref());
    context.print_long(&blame, |blame| draw(context.pen, blame))?;
    if !context.json && blame.fields.iter().flat_map(|field| &field.lines).any(|line| line.older) {
        talk("^ marks lines that may be older than the change beside them: nobody looked further back.");
    }
    Ok(None)
}

pub(super) fn draw(pen: Pen, blame: &view::Blame) -> String {
    let lines = |field: &BlameRow| field.lines.iter().map(|line| line.origin.clone()).collect::<Vec<_>>();
    let origins = blame.fields.iter().flat_map(|field| [vec![field.origin.clone()], lines(field)]).flatten();
    let width = origins.map(|origin| author(&origin).chars().count()).max().unwrap_or(0);
    let start = |origin: &Origin, mark: &str| {
        let author = author(origin);
        let pad = " ".repeat(width - author.chars().count());
        let time = pen.paint(Style::Dim, &time::local(origin.time.0));
        format!("{}{mark} {time}  {author}{pad}  ", pen.paint(Style::Id, &short(&origin.change)))
    };
    let mut out = String::new();
    for field in &blame.fields {
        let path = pen.paint(Style::Bold, &clean(&field.field));
        let begun = start(&field.origin, " ");
        if field.lines.is_empty() {
            let _ = writeln!(out, "{begun}{path} = {}", brief(Some(&field.value)));
            continue;
        }
        let _ = writeln!(out, "{begun}{path}:");
        let digits = field.lines.len().to_string().len();
        for (nth, line) in (1..).zip(&field.lines) {
            let begun = start(&line.origin, if line.older { "^" } else { " " });
            let number = pen.paint(Style::Dim, &format!("{nth:digits$}"));
            let line = format!("{begun}  {number}  {}", crate::render::line(&line.text));
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    out
}

fn author(origin: &Origin) -> String {
    by(&origin.user, origin.node.as_ref())
}
