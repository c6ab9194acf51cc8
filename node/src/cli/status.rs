//! `status`: resources against nodes.

use std::fmt::Write as _;

use clap::Args;

use super::{Context, Outcome, talk};
use crate::failure::Exit;
use crate::render::{Cell, Style, Table, cell, clean, name, plain, short};
use crate::view;

/// Flags of `status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Only this resource: KIND/NAME
    resource: Option<String>,
    /// Exit with 10 unless everything is applied and nothing is in conflict
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn status(context: &Context, args: &Status) -> Outcome {
    context.only_now("status")?;
    let query = [context.group(), ("resource", args.resource.as_deref())];
    let status: view::Status = context.client.get("/v1/status", &query)?;
    context.print(&status, |status| draw(context, status))?;
    if !context.json && status.resources.is_empty() {
        talk("No resources. Make one with `larder set KIND/NAME FIELD=VALUE` or `larder apply FILE`.");
    }
    if !context.json {
        for warning in &status.warnings {
            talk(&format!("warning: {}", clean(warning)));
        }
    }
    let good = status.summary.counts().iter().all(|(state, _)| *state == "applied") && status.conflicts == 0;
    Ok((args.exit_code && !good).then_some(Exit::Differs))
}

fn draw(context: &Context, status: &view::Status) -> String {
    let pen = context.pen;
    let mut table = Table::new(&["RESOURCE", "NODE", "STATE", "CHANGE", "REASON"]);
    for row in &status.resources {
        let resource = row.resource.clone() + if row.removed { " (removed)" } else { "" };
        if row.nodes.is_empty() {
            table.row(vec![
                cell(&resource, Style::Bold),
                plain("(no node)"),
                plain(""),
                plain(""),
                plain(""),
            ]);
        }
        for (nth, node) in row.nodes.iter().enumerate() {
            let first = if nth == 0 { resource.as_str() } else { "" };
            table.row(vec![
                cell(first, Style::Bold),
                plain(name(&node.id, node.alias.as_deref())),
                state(&node.state),
                cell(short(node.change.as_deref().unwrap_or_default()), Style::Id),
                plain(&node.reason),
            ]);
        }
    }
    let mut out = if status.resources.is_empty() { String::new() } else { table.draw(pen) };
    let counts: Vec<String> =
        status.summary.counts().iter().map(|(state, count)| format!("{count} {state}")).collect();
    if !counts.is_empty() {
        let _ = write!(out, "\n{}: {}", clean(&status.group.name), counts.join(", "));
        if status.conflicts > 0 {
            let conflicts = crate::render::count(status.conflicts, "conflict");
            let _ = write!(out, ", {}", pen.paint(Style::Care, &conflicts));
        }
        out.push('\n');
    }
    out
}

fn state(word: &str) -> Cell {
    let style = match word {
        "applied" => Style::Good,
        "failed" | "drifted" => Style::Bad,
        "pending" | "released" => Style::Dim,
        _ => Style::Care,
    };
    cell(word, style)
}
