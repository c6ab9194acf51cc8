//! `diff --nodes`: what each node has applied against what it should have.

use std::fmt::Write as _;

use crate::cli::context::{CommandContext, CommandResult, print_stderr};
use crate::cli::diff_text::render_edits;
use crate::dto::{NodeDiffReport, NodeDrift, NodeResourceState};
use crate::output::{Style, Styler, escape, node_name, short_id};

pub(super) fn diff_nodes(context: &CommandContext, resource: Option<&str>) -> CommandResult {
    let query = [("resource", resource)];
    let diff: NodeDiffReport = context.client.get(&context.group_path(&["drift"]), &query)?;
    context.print_paged(&diff, |diff| render_node_diff(context.styler, diff))?;
    if !context.json && diff.resources.is_empty() {
        print_stderr("Every node has applied its desired state.");
    }
    Ok(None)
}

pub(in crate::cli) fn render_node_diff(styler: Styler, diff: &NodeDiffReport) -> String {
    let mut out = String::new();
    for row in &diff.resources {
        for drift in &row.nodes {
            if !out.is_empty() {
                out.push('\n');
            }
            let resource = styler.paint(Style::Bold, &escape(&row.resource));
            let is_bad = matches!(drift.state, NodeResourceState::Failed | NodeResourceState::Drifted);
            let style = if is_bad { Style::Bad } else { Style::Warning };
            let state = styler.paint(style, &escape(drift.state.as_str()));
            let reason =
                if drift.reason.is_empty() { String::new() } else { format!(": {}", escape(&drift.reason)) };
            let _ = writeln!(
                out,
                "{resource} on {}  {state}{reason}",
                node_name(&drift.id, drift.alias.as_deref())
            );
            let _ = writeln!(out, "  {}", describe_drift(styler, row.newest_change.as_deref(), drift));
            // The first line repeats the resource.
            for line in render_edits(styler, &drift.edits, true).lines().skip(1) {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

fn describe_drift(styler: Styler, wanted: Option<&str>, drift: &NodeDrift) -> String {
    let paint_id = |id: &str| styler.paint(Style::Id, &short_id(id));
    let wanted = wanted.map_or_else(|| "(nothing)".to_owned(), paint_id);
    match &drift.applied {
        None => format!("never applied; desired {wanted}"),
        Some(applied) if drift.exact => format!("applied {}, desired {wanted}", paint_id(applied)),
        Some(applied) if drift.edits.is_empty() => {
            format!("applied {}, which this node does not have; desired {wanted}", paint_id(applied))
        }
        Some(applied) => {
            format!("applied {} and concurrent changes, desired {wanted}", paint_id(applied))
        }
    }
}
