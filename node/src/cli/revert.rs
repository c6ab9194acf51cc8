//! `undo`, `revert`, `restore`, `tag`.

use clap::Args;

use super::diff_text::render_edits;
use super::write_request::{MessageArgs, send_edits};
use super::{CommandContext, CommandResult, print_stderr};
use crate::api::revert::{RevertBody, RevertTarget};
use crate::api::writes::EditSpec;
use crate::dto::{self, TagList};
use crate::error::CliError;
use crate::output::{Style, Table, escape, plain_cell, pluralize, short_id, styled_cell, who};
use crate::time;

/// Flags of `undo`.
#[derive(Debug, Args)]
pub(super) struct UndoArgs {
    #[command(flatten)]
    common: RevertCommonArgs,
}

/// Flags of `revert`.
#[derive(Debug, Args)]
pub(super) struct RevertArgs {
    /// The changes, by any node
    #[arg(required = true, value_name = "CHANGE")]
    changes: Vec<String>,
    #[command(flatten)]
    common: RevertCommonArgs,
}

/// Flags of `restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// KIND or KIND/NAME [default: everything]
    path: Option<String>,
    #[command(flatten)]
    common: RevertCommonArgs,
}

/// Flags of every command that puts something back.
#[derive(Debug, Args)]
struct RevertCommonArgs {
    /// Only show what would differ
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `tag`.
#[derive(Debug, Args)]
pub(super) struct TagArgs {
    /// The name [default: list all tags]
    name: Option<String>,
    /// A change, time or tag [default: the present]
    #[arg(requires = "name")]
    change: Option<String>,
    /// Take the tag away
    #[arg(short, long, requires = "name", conflicts_with = "change")]
    delete: bool,
    /// Move a tag that is there
    #[arg(short, long, requires = "name")]
    force: bool,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn undo(context: &CommandContext, args: UndoArgs) -> CommandResult {
    context.require_present("undo")?;
    send_revert(context, RevertTarget::Undo, args.common, "Undid")
}

pub(super) fn revert(context: &CommandContext, args: RevertArgs) -> CommandResult {
    context.require_present("revert")?;
    send_revert(context, RevertTarget::Revert(args.changes), args.common, "Reverted")
}

pub(super) fn restore(context: &CommandContext, args: RestoreArgs) -> CommandResult {
    let Some(point) = context.history_point.clone() else {
        return Err(CliError::usage(
            "`restore` takes --at TIME, CHANGE or TAG: how it was then is wanted again",
        )
        .with_hint(
            "see `larder log` and `larder tag`; `larder restore --at 2h ago -n` only shows what would differ",
        ));
    };
    send_revert(context, RevertTarget::Restore { at: point, path: args.path }, args.common, "Restored as at")
}

fn send_revert(
    context: &CommandContext,
    operation: RevertTarget,
    common: RevertCommonArgs,
    past_verb: &str,
) -> CommandResult {
    let group = context.group.clone();
    let request = RevertBody {
        group,
        target: operation,
        message: common.message_args.message,
        dry_run: common.dry_run,
    };
    let reverted: dto::RevertResult = context.client.post("/v1/back", &request)?;
    let source_ids = reverted.sources.iter().map(|id| short_id(id)).collect::<Vec<_>>().join(" ");
    context.print(&reverted, |reverted| match &reverted.change {
        Some(change) => format!("{}\n", context.styler.paint(Style::Id, &short_id(change))),
        None => render_edits(context.styler, &reverted.edits, false),
    })?;
    if context.json {
        return Ok(None);
    }
    match &reverted.change {
        Some(change) => print_stderr(&format!(
            "{past_verb} {source_ids}: {} put back. `larder show {}` tells, `larder revert {}` takes that back.",
            pluralize(reverted.edits.len(), "field"),
            short_id(change),
            short_id(change)
        )),
        None if reverted.edits.is_empty() => print_stderr("All is so already; nothing was written."),
        None => print_stderr(&format!("This would be put back of {source_ids}; nothing was written.")),
    }
    Ok(None)
}

pub(super) fn tag(context: &CommandContext, args: TagArgs) -> CommandResult {
    context.require_present("tag")?;
    let Some(name) = args.name else { return list_tags(context) };
    let mut command = format!("tag {name}");
    for (flag, word) in [(args.delete, " --delete"), (args.force, " --force")] {
        command.push_str(if flag { word } else { "" });
    }
    command.extend(args.change.iter().map(|change| format!(" {change}")));
    let edit = EditSpec::Tag { name, point: args.change, delete: args.delete, force: args.force };
    send_edits(context, vec![edit], args.message_args, command)
}

fn list_tags(context: &CommandContext) -> CommandResult {
    let tags: TagList = context.client.get("/v1/tags", &[context.group_param()])?;
    context.print(&tags, |tags| render_tags(context, tags))?;
    if !context.json && tags.tags.is_empty() {
        print_stderr(
            "No tags. Name the present with `larder tag NAME`, or a change with `larder tag NAME CHANGE`.",
        );
    }
    Ok(None)
}

fn render_tags(context: &CommandContext, tags: &TagList) -> String {
    if tags.tags.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["TAG", "CHANGES", "MADE", "BY", "WHY"]);
    for row in &tags.tags {
        let heads = row.heads.iter().map(|id| short_id(id)).collect::<Vec<_>>().join(" ");
        table.push_row(vec![
            styled_cell(escape(&row.name), Style::Bold),
            styled_cell(heads, Style::Id),
            plain_cell(time::local(row.time.0)),
            plain_cell(format!("{}@{}", escape(&row.user), who(row.node.as_ref()))),
            plain_cell(escape(row.message.lines().next().unwrap_or_default())),
        ]);
    }
    table.render(context.styler)
}
