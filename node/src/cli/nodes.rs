//! `nodes`: the members of the group, and nodes seen on the LAN.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::dto::{self, MemberRole, NodeState};
use crate::output::{Style, Table, escape, plain_cell, short_id, styled_cell};
use crate::time::{self, wall_clock_seconds};

/// Arguments of `nodes`.
#[derive(Debug, Args)]
pub(super) struct NodesArgs {
    /// Show full ids, all addresses and host names
    #[arg(long)]
    wide: bool,
}

pub(super) fn nodes(context: &CommandContext, args: &NodesArgs) -> CommandResult {
    let nodes: dto::NodeList = context.client.get(&context.group_path(&["members"]), &[])?;
    context.print(&nodes, |nodes| render_nodes(context, nodes, args.wide))?;
    if !context.json {
        for warning in &nodes.warnings {
            print_stderr(&format!("warning: {}", escape(warning)));
        }
    }
    Ok(None)
}

fn render_nodes(context: &CommandContext, nodes: &dto::NodeList, is_wide: bool) -> String {
    let header: &[&'static str] = if is_wide {
        &["ID", "ALIAS", "ROLE", "STATE", "HEARD", "BEHIND", "FAILED", "LABELS", "ADDRESS", "VERSION", "HOST"]
    } else {
        &["ID", "ALIAS", "ROLE", "STATE", "HEARD", "BEHIND", "FAILED", "LABELS", "ADDRESS", "VERSION"]
    };
    let (mut table, now) = (Table::new(header), wall_clock_seconds());
    for node in &nodes.nodes {
        let mut state = node.state.to_string();
        if node.is_self {
            state.push_str(" (this node)");
        }
        if node.forked {
            state.push_str(" (forked)");
        }
        let style = match node.state {
            NodeState::Up => Style::Good,
            NodeState::Away | NodeState::Pending => Style::Warning,
            NodeState::Left | NodeState::Removed | NodeState::Seen | NodeState::Unknown(_) => Style::Dim,
        };
        let alias =
            node.alias.clone().unwrap_or_default() + if node.alias_twice { " (duplicate)" } else { "" };
        let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let last_heard =
            node.last_heard.filter(|_| !node.is_self).map(|last_heard| time::format_ago(last_heard.0, now));
        let blank_if_zero = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        let address_count = if is_wide { node.addrs.len() } else { 1 };
        let id = if is_wide { node.id.clone() } else { short_id(&node.id) };
        table.push_row(vec![
            styled_cell(id, Style::Id),
            plain_cell(alias),
            plain_cell(node.role.as_ref().map_or("", MemberRole::as_str)),
            styled_cell(state, style),
            plain_cell(last_heard.unwrap_or_default()),
            styled_cell(blank_if_zero(node.behind.unwrap_or(0)), Style::Warning),
            styled_cell(blank_if_zero(node.failed), Style::Bad),
            plain_cell(labels.join(" ")),
            plain_cell(node.addrs.iter().take(address_count).cloned().collect::<Vec<_>>().join(" ")),
            plain_cell(&node.version),
            plain_cell(&node.host),
        ]);
    }
    table.render(context.styler)
}
