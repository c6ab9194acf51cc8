//! `conflicts`: the unresolved conflicts.

use std::fmt::Write as _;

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::history_point::AtArgs;
use crate::dto::{self, ConflictKind};
use crate::error::ExitKind;
use crate::output::{
    Style, Table, escape, format_value_short, node_ref_name, plain_cell, pluralize, short_id, styled_cell,
};
use crate::time;

/// Arguments of `conflicts`.
#[derive(Debug, Args)]
pub(super) struct ConflictsArgs {
    /// Exit with 10 if there are conflicts
    #[arg(long)]
    exit_code: bool,
    /// Also list resources that two sides edited at the same time without a conflict
    #[arg(long)]
    review: bool,
    #[command(flatten)]
    at_args: AtArgs,
}

pub(super) fn conflicts(context: &CommandContext, args: &ConflictsArgs) -> CommandResult {
    let review = ("review", args.review.then_some("true"));
    let found: dto::ConflictList =
        context.client.get(&context.group_path(&["conflicts"]), &[args.at_args.query_param(), review])?;
    let conflict_count =
        found.conflicts.iter().filter(|conflict| conflict.kind != ConflictKind::Review).count();
    args.at_args.report(context, found.at.as_deref());
    context.print(&found, |found| {
        found.conflicts.iter().map(|conflict| render_conflict(context, conflict)).collect()
    })?;
    if !context.json {
        match conflict_count {
            0 => print_stderr("No conflicts."),
            many => print_stderr(&format!(
                "{}. Resolve each with `larder resolve RESOURCE FIELD --take TAG` or `--value VALUE`.",
                pluralize(many, "conflict")
            )),
        }
    }
    Ok((args.exit_code && conflict_count > 0).then_some(ExitKind::Differs))
}

fn render_conflict(context: &CommandContext, conflict: &dto::ConflictEntry) -> String {
    let styler = context.styler;
    let mut out = String::new();
    let title = format!("{} {}", escape(&conflict.resource), escape(&conflict.field));
    let _ = writeln!(
        out,
        "{}  {}  {}",
        styler.paint(Style::Bold, &title),
        styler.paint(Style::Warning, &escape(conflict.kind.as_str())),
        styler.paint(Style::Dim, &format!("id {}", short_id(&conflict.id)))
    );
    let mut table = Table::new(&["TAG", "VALUE", "NODE", "USER", "TIME", "CHANGE"]);
    for side in &conflict.values {
        table.push_row(vec![
            styled_cell(&side.tag, Style::Bold),
            plain_cell(format_value_short(side.value.as_ref())),
            plain_cell(node_ref_name(side.node.as_ref())),
            plain_cell(&side.user),
            plain_cell(time::local(side.time.0)),
            styled_cell(short_id(&side.change), Style::Id),
        ]);
    }
    for line in table.render(styler).lines() {
        let _ = writeln!(out, "  {line}");
    }
    match conflict.kind {
        ConflictKind::Claim => out.push_str(
            "  These resources claim the same path. Change `path` or `select`, or remove all but one.\n",
        ),
        ConflictKind::Review => {
            out.push_str("  Both edits count. The next change of the resource removes it from this list.\n")
        }
        ConflictKind::Value
        | ConflictKind::EditRemove
        | ConflictKind::RemovedAuthor
        | ConflictKind::Unknown(_) => {}
    }
    if conflict.base.is_some() {
        let _ = writeln!(out, "  before: {}", format_value_short(conflict.base.as_ref()));
    }
    if !conflict.held_on.is_empty() {
        let nodes: Vec<String> = conflict.held_on.iter().map(|node| node_ref_name(Some(node))).collect();
        let _ = writeln!(out, "  held on: {}", nodes.join(", "));
    }
    out
}
