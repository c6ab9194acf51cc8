//! `groups`: the groups of this node.

use super::context::{CommandContext, CommandResult, NO_GROUP_HINT, print_stderr};
use crate::dto::{GroupList, GroupStatus, MemberRole};
use crate::output::{Style, Table, plain_cell, short_id, styled_cell};

pub(super) fn groups(context: &CommandContext) -> CommandResult {
    let groups: GroupList = context.client.get("/v1/groups", &[])?;
    context.print(&groups, |groups| render_groups(context, groups))?;
    if !context.json && groups.groups.is_empty() && groups.joining.is_empty() {
        print_stderr(NO_GROUP_HINT);
    }
    Ok(None)
}

fn render_groups(context: &CommandContext, groups: &GroupList) -> String {
    if groups.groups.is_empty() && groups.joining.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "NAME", "ROLE", "NODES", "CHANGES", "STATE"]);
    for group in &groups.groups {
        table.push_row(vec![
            styled_cell(short_id(&group.id), Style::Id),
            plain_cell(&group.name),
            plain_cell(group.role.as_ref().map_or("", MemberRole::as_str)),
            plain_cell(group.members.to_string()),
            plain_cell(group.changes.to_string()),
            match &group.status {
                GroupStatus::Member if group.paused => styled_cell("paused", Style::Warning),
                GroupStatus::Member => plain_cell(""),
                status => styled_cell(status.as_str(), Style::Warning),
            },
        ]);
    }
    for joining in &groups.joining {
        let state = match &joining.waiting_for {
            Some(issuer) => format!("joining: waiting for {issuer}"),
            None => "joining: searching for a member".to_owned(),
        };
        let id = styled_cell(short_id(&joining.id), Style::Id);
        table.push_row(vec![
            id,
            plain_cell(""),
            plain_cell(""),
            plain_cell(""),
            plain_cell(""),
            styled_cell(state, Style::Warning),
        ]);
    }
    table.render(context.styler)
}
