//! `pending`: the nodes that ask to join.

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::dto::PendingList;
use crate::output::{Style, Table, plain_cell, short_id, styled_cell};
use crate::time;

pub(super) fn pending(context: &CommandContext) -> CommandResult {
    let pending: PendingList = context.client.get(&context.group_path(&["join-requests"]), &[])?;
    context.print(&pending, |pending| render_pending(context, pending))?;
    if !context.json {
        match pending.pending.is_empty() {
            true => print_stderr("There are no pending join requests."),
            false => print_stderr(
                "Compare the digits with those on the new node. \
                 Then run `larder approve ID --role ROLE` or `larder deny ID`.",
            ),
        }
    }
    Ok(None)
}

fn render_pending(context: &CommandContext, pending: &PendingList) -> String {
    if pending.pending.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "ALIAS", "DIGITS", "SINCE", "LABELS", "ADDRESS", "STATE"]);
    for row in &pending.pending {
        let labels: Vec<String> = row.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let state = match &row.waiting_for {
            Some(issuer) => format!("has an invite code of {issuer}, which is away"),
            None => "has no invite code".to_owned(),
        };
        table.push_row(vec![
            styled_cell(short_id(&row.id), Style::Id),
            plain_cell(&row.alias),
            styled_cell(row.digits.as_deref().unwrap_or_default(), Style::Bold),
            plain_cell(row.since.map(|since| time::local(since.0)).unwrap_or_default()),
            plain_cell(labels.join(" ")),
            plain_cell(row.addrs.first().map(String::as_str).unwrap_or_default()),
            styled_cell(state, Style::Dim),
        ]);
    }
    table.render(context.styler)
}
