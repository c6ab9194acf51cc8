//! `diff --nodes`.

use std::fmt::Write as _;

use super::edits::draw_edits;
use super::{Context, Outcome, talk};
use crate::render::{Pen, Style, clean, name, short};
use crate::view::{Lag, NodeDiff};

pub(super) fn nodes(context: &Context, resource: Option<&str>) -> Outcome {
    context.only_now("diff --nodes")?;
    let query = [context.group(), ("resource", resource)];
    let diff: NodeDiff = context.client.get("/v1/diff/nodes", &query)?;
    context.print_long(&diff, |diff| draw(context.pen, diff))?;
    if !context.json && diff.resources.is_empty() {
        talk("Every node runs what is wanted.");
    }
    Ok(None)
}

pub(super) fn draw(pen: Pen, diff: &NodeDiff) -> String {
    let mut out = String::new();
    for row in &diff.resources {
        for lag in &row.nodes {
            if !out.is_empty() {
                out.push('\n');
            }
            let resource = pen.paint(Style::Bold, &clean(&row.resource));
            let style =
                if lag.state == "failed" || lag.state == "drifted" { Style::Bad } else { Style::Care };
            let state = pen.paint(style, &clean(&lag.state));
            let reason =
                if lag.reason.is_empty() { String::new() } else { format!(": {}", clean(&lag.reason)) };
            let _ = writeln!(out, "{resource} on {}  {state}{reason}", name(&lag.id, lag.alias.as_deref()));
            let _ = writeln!(out, "  {}", sentence(pen, row.wanted.as_deref(), lag));
            // The resource stands above already.
            for line in draw_edits(pen, &lag.edits, true).lines().skip(1) {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

fn sentence(pen: Pen, wanted: Option<&str>, lag: &Lag) -> String {
    let id = |id: &str| pen.paint(Style::Id, &short(id));
    let wanted = wanted.map_or_else(|| "(nothing)".to_owned(), id);
    match &lag.applied {
        None => format!("never applied it; wanted {wanted}"),
        Some(applied) if lag.exact => format!("runs {}, wanted {wanted}", id(applied)),
        Some(applied) if lag.edits.is_empty() => {
            format!("runs {}, which is not here; wanted {wanted}", id(applied))
        }
        Some(applied) => format!("runs {} and more that it saw beside it, wanted {wanted}", id(applied)),
    }
}
