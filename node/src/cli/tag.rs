//! `tag`: names for points of the history.

use clap::Args;
use larder_core::resource::edit::Edit;
use larder_core::typed_name::HistoryPoint;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::write_request::{MessageArgs, send_edits};
use crate::api::params::parse_point;
use crate::dto::TagList;
use crate::output::{Style, Table, escape, node_ref_name, plain_cell, short_id, styled_cell};
use crate::time;

/// Arguments of `tag`.
#[derive(Debug, Args)]
pub(super) struct TagArgs {
    /// Name of the tag [default: list all tags]
    name: Option<String>,
    /// Change, time or tag to name [default: now]
    #[arg(requires = "name")]
    change: Option<String>,
    /// Delete the tag
    #[arg(short, long, requires = "name", conflicts_with = "change")]
    delete: bool,
    /// Move an existing tag
    #[arg(short, long, requires = "name")]
    force: bool,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn tag(context: &CommandContext, args: TagArgs) -> CommandResult {
    let Some(name) = args.name else { return list_tags(context) };
    let mut command = format!("tag {name}");
    for (flag, word) in [(args.delete, " --delete"), (args.force, " --force")] {
        command.push_str(if flag { word } else { "" });
    }
    command.extend(args.change.iter().map(|change| format!(" {change}")));
    let point = args.change.as_deref().map_or(Ok(HistoryPoint::Present), parse_point)?;
    let edit = match args.delete {
        true => Edit::RemoveTag(name),
        false => Edit::SetTag { name, point, force: args.force },
    };
    send_edits(context, vec![edit], args.message_args, command)
}

fn list_tags(context: &CommandContext) -> CommandResult {
    let tags: TagList = context.client.get(&context.group_path(&["tags"]), &[])?;
    context.print(&tags, |tags| render_tags(context, tags))?;
    if !context.json && tags.tags.is_empty() {
        print_stderr(
            "No tags. Name the current state with `larder tag NAME`, or a change with \
             `larder tag NAME CHANGE`.",
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
            plain_cell(format!("{}@{}", escape(&row.user), node_ref_name(row.node.as_ref()))),
            plain_cell(escape(row.message.lines().next().unwrap_or_default())),
        ]);
    }
    table.render(context.styler)
}
