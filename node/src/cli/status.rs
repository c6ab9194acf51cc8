//! `status`: the state of each resource on each node.

use std::fmt::Write as _;

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::dto::{self, NodeResourceState};
use crate::error::ExitKind;
use crate::output::{Style, Table, TableCell, escape, node_name, plain_cell, short_id, styled_cell};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show only this resource, as KIND/NAME
    resource: Option<String>,
    /// Exit with 10 unless every resource is applied and none is in conflict
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn status(context: &CommandContext, args: &StatusArgs) -> CommandResult {
    let query = [("resource", args.resource.as_deref())];
    let status: dto::StatusReport = context.client.get(&context.group_path(&["status"]), &query)?;
    context.print(&status, |status| render_status(context, status))?;
    if !context.json && status.resources.is_empty() {
        print_stderr(
            "No resources. Create one with `larder set KIND/NAME FIELD=VALUE` or `larder apply FILE`.",
        );
    }
    if !context.json {
        for warning in &status.warnings {
            print_stderr(&format!("warning: {}", escape(warning)));
        }
    }
    let is_converged = status.summary.counts().iter().all(|(state, _)| *state == NodeResourceState::Applied)
        && status.conflicts == 0;
    Ok((args.exit_code && !is_converged).then_some(ExitKind::Differs))
}

fn render_status(context: &CommandContext, status: &dto::StatusReport) -> String {
    let styler = context.styler;
    let mut table = Table::new(&["RESOURCE", "NODE", "STATE", "CHANGE", "REASON"]);
    for row in &status.resources {
        let resource = row.resource.clone() + if row.removed { " (removed)" } else { "" };
        if row.nodes.is_empty() {
            table.push_row(vec![
                styled_cell(&resource, Style::Bold),
                plain_cell("(no node)"),
                plain_cell(""),
                plain_cell(""),
                plain_cell(""),
            ]);
        }
        for (nth, node) in row.nodes.iter().enumerate() {
            let shown_resource = if nth == 0 { resource.as_str() } else { "" };
            table.push_row(vec![
                styled_cell(shown_resource, Style::Bold),
                plain_cell(node_name(&node.id, node.alias.as_deref())),
                state_cell(&node.state),
                styled_cell(short_id(node.change.as_deref().unwrap_or_default()), Style::Id),
                plain_cell(&node.reason),
            ]);
        }
    }
    let mut out = if status.resources.is_empty() { String::new() } else { table.render(styler) };
    let counts: Vec<String> =
        status.summary.counts().iter().map(|(state, count)| format!("{count} {state}")).collect();
    if !counts.is_empty() {
        let _ = write!(out, "\n{}: {}", escape(&status.group.name), counts.join(", "));
        if status.conflicts > 0 {
            let conflicts = crate::output::pluralize(status.conflicts, "conflict");
            let _ = write!(out, ", {}", styler.paint(Style::Warning, &conflicts));
        }
        out.push('\n');
    }
    out
}

fn state_cell(state: &NodeResourceState) -> TableCell {
    let style = match state {
        NodeResourceState::Applied => Style::Good,
        NodeResourceState::Failed | NodeResourceState::Drifted => Style::Bad,
        NodeResourceState::Pending | NodeResourceState::Released => Style::Dim,
        NodeResourceState::Held
        | NodeResourceState::Blocked
        | NodeResourceState::Paused
        | NodeResourceState::Unsupported
        | NodeResourceState::Unknown(_) => Style::Warning,
    };
    styled_cell(state.as_str(), style)
}
