//! `show`: one change.

use std::fmt::Write as _;

use clap::Args;

use super::context::{CommandContext, CommandResult};
use super::diff_text::render_edits;
use super::history_point::AtArgs;
use crate::dto::{self, ChangeEntry, ClockFault};
use crate::output::{Style, Styler, escape, node_ref_name, short_id};
use crate::time;

/// Arguments of `show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// A change, or KIND/NAME for the newest change of a resource
    #[arg(value_name = "CHANGE|RESOURCE")]
    target: String,
    #[command(flatten)]
    at_args: AtArgs,
}

pub(super) fn show(context: &CommandContext, args: &ShowArgs) -> CommandResult {
    let path = context.group_path(&["changes", &args.target]);
    let shown: dto::ChangeDetail = context.client.get(&path, &[args.at_args.query_param()])?;
    args.at_args.report(context, shown.at.as_deref());
    context.print_paged(&shown, |shown| render_change(context.styler, &shown.change))?;
    Ok(None)
}

pub(super) fn render_change(styler: Styler, row: &ChangeEntry) -> String {
    let mut out = String::new();
    let mut push_fact = |name: &str, text: String| {
        if !text.is_empty() {
            let _ = writeln!(out, "{} {text}", styler.paint(Style::Dim, &format!("{name:9}")));
        }
    };
    push_fact("change", styler.paint(Style::Id, &escape(&row.id)));
    push_fact("source", escape(row.source.as_str()));
    push_fact(
        "node",
        row.node
            .as_ref()
            .map(|node| format!("{} ({})", node_ref_name(Some(node)), escape(&node.id)))
            .unwrap_or_default(),
    );
    push_fact("user", escape(&row.user));
    let clock_remark = match &row.clock {
        Some(ClockFault::Behind) => "  (clock? earlier than the changes it builds on)",
        Some(ClockFault::Ahead) => "  (clock? in the future)",
        None | Some(ClockFault::Unknown(_)) => "",
    };
    push_fact("time", time::local(row.time.0) + &styler.paint(Style::Warning, clock_remark));
    push_fact("command", escape(&row.command));
    push_fact("builds on", row.deps.iter().map(|dep| short_id(dep)).collect::<Vec<_>>().join(" "));
    push_fact("signature", if row.verified { "verified".to_owned() } else { "NOT verified".to_owned() });
    if !row.message.is_empty() {
        out.push('\n');
    }
    for line in row.message.lines() {
        let _ = writeln!(out, "    {}", escape(line));
    }
    if !row.edits.is_empty() {
        out.push('\n');
        out.push_str(&render_edits(styler, &row.edits, false));
    }
    out
}
