//! `list`: the resources of the group.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::history_point::AtArgs;
use crate::dto;
use crate::output::{Style, Table, plain_cell, styled_cell};

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// List only this kind
    kind: Option<String>,
    #[command(flatten)]
    at_args: AtArgs,
}

pub(super) fn list(context: &CommandContext, args: &ListArgs) -> CommandResult {
    let query = [args.at_args.query_param(), ("resource", args.kind.as_deref())];
    let list: dto::ResourceList = context.client.get(&context.group_path(&["resources"]), &query)?;
    args.at_args.report(context, list.at.as_deref());
    context.print(&list, |list| {
        if list.resources.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["RESOURCE", "PATH", "SELECT", "FIELDS", "CONFLICTS"]);
        for row in &list.resources {
            let conflicts = if row.conflicts == 0 { String::new() } else { row.conflicts.to_string() };
            table.push_row(vec![
                styled_cell(&row.resource, Style::Bold),
                plain_cell(row.path.as_deref().unwrap_or_default()),
                plain_cell(row.select.as_deref().unwrap_or_default()),
                plain_cell(row.fields.to_string()),
                styled_cell(conflicts, Style::Warning),
            ]);
        }
        table.render(context.styler)
    })?;
    if !context.json && list.resources.is_empty() {
        print_stderr(
            "No resources. Create one with `larder set KIND/NAME FIELD=VALUE` or `larder apply FILE`.",
        );
    }
    Ok(None)
}
