//! `nodes`, `ping`, `alias`, `label`, `replace`.

use clap::Args;

use super::write_request::{MessageArgs, send_edits};
use super::{CommandContext, CommandResult, print_stderr, print_stdout};
use crate::api::members::PingBody;
use crate::api::replace;
use crate::api::writes::EditSpec;
use crate::daemon::wall_clock_seconds;
use crate::dto;
use crate::error::CliError;
use crate::output::{Style, Table, escape, node_name, plain_cell, short_id, styled_cell};
use crate::time;

/// Flags of `nodes`.
#[derive(Debug, Args)]
pub(super) struct NodesArgs {
    /// With everything that is known of them
    #[arg(long)]
    wide: bool,
}

/// Flags of `ping`.
#[derive(Debug, Args)]
pub(super) struct PingArgs {
    /// Alias or id
    node: String,
    /// How often
    #[arg(short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

/// Flags of `alias`.
#[derive(Debug, Args)]
pub(super) struct AliasArgs {
    /// Alias or id
    node: String,
    /// What to call it; empty for nothing
    name: String,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `label`.
#[derive(Debug, Args)]
pub(super) struct LabelArgs {
    /// Alias or id
    node: String,
    /// K=V sets a label, K- takes it off
    #[arg(required = true, value_name = "K=V|K-", allow_hyphen_values = false)]
    labels: Vec<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `replace`.
#[derive(Debug, Args)]
pub(super) struct ReplaceArgs {
    /// Alias or id of the node whose place this one takes
    old: String,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn nodes(context: &CommandContext, args: &NodesArgs) -> CommandResult {
    context.require_present("nodes")?;
    let nodes: dto::NodeList = context.client.get("/v1/nodes", &[context.group_param()])?;
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
        let mut state = node.state.clone();
        if node.is_self {
            state.push_str(" (this node)");
        }
        if node.forked {
            state.push_str(" (forked)");
        }
        let style = match node.state.as_str() {
            "up" => Style::Good,
            "away" | "pending" => Style::Warning,
            "removed" | "left" => Style::Dim,
            _ => Style::Dim,
        };
        let alias = node.alias.clone().unwrap_or_default() + if node.alias_twice { " (twice!)" } else { "" };
        let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let last_heard =
            node.heard.filter(|_| !node.is_self).map(|last_heard| time::format_ago(last_heard.0, now));
        let blank_if_zero = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        let address_count = if is_wide { node.addrs.len() } else { 1 };
        let id = if is_wide { node.id.clone() } else { short_id(&node.id) };
        table.push_row(vec![
            styled_cell(id, Style::Id),
            plain_cell(alias),
            plain_cell(node.role.as_deref().unwrap_or_default()),
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

pub(super) fn ping(context: &CommandContext, args: &PingArgs) -> CommandResult {
    context.require_present("ping")?;
    let request = PingBody { group: context.group.clone(), node: args.node.clone() };
    for nth in 1..=args.count {
        let answer: dto::PingResult = context.client.post("/v1/ping", &request)?;
        if context.json {
            let line = serde_json::to_string(&dto::WithSchema::new(&answer));
            print_stdout(&(line.map_err(|error| CliError::failed(error.to_string()))? + "\n"))?;
        } else {
            let peer = node_name(&answer.id, answer.alias.as_deref());
            print_stdout(&format!("{nth}  {peer}  {:.2} ms\n", answer.ms))?;
        }
    }
    Ok(None)
}

pub(super) fn alias(context: &CommandContext, args: AliasArgs) -> CommandResult {
    let command = format!("alias {} {}", args.node, args.name);
    let name = (!args.name.is_empty()).then_some(args.name);
    send_edits(context, vec![EditSpec::Alias { node: args.node, name }], args.message_args, command)
}

pub(super) fn label(context: &CommandContext, args: LabelArgs) -> CommandResult {
    let parse_label = |text: &String| match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => Err(CliError::usage(format!(
            "`{text}` is not a label: expected KEY=VALUE, or KEY- to take it off"
        ))),
    };
    let labels = args.labels.iter().map(parse_label).collect::<Result<_, _>>()?;
    let command = format!("label {} {}", args.node, args.labels.join(" "));
    send_edits(context, vec![EditSpec::Label { node: args.node, labels }], args.message_args, command)
}

pub(super) fn replace(context: &CommandContext, args: ReplaceArgs) -> CommandResult {
    context.require_present("replace")?;
    let command = format!("replace {}", args.old);
    let (group, message) = (context.group.clone(), args.message_args.message);
    let request = replace::ReplaceBody { group, old_node: args.old, message, command };
    let replaced: dto::ReplaceResult = context.client.post("/v1/replace", &request)?;
    context.print(&replaced, |replaced| match &replaced.change {
        Some(change) => format!("{}\n", context.styler.paint(Style::Id, &short_id(change))),
        None => String::new(),
    })?;
    if !context.json {
        print_replaced(&replaced);
    }
    Ok(None)
}

fn print_replaced(replaced: &dto::ReplaceResult) {
    let old = short_id(&replaced.old);
    match &replaced.change {
        Some(_) => print_stderr(&format!("This node stands in the place of {old} now.")),
        None => {
            print_stderr(&format!("This node stands in the place of {old} already; nothing was written."))
        }
    }
    if let Some(alias) = &replaced.alias {
        print_stderr(&format!("  alias: {}", escape(alias)));
    }
    let labels = replaced.labels.iter().map(|(key, value)| escape(&format!("{key}={value}")));
    let resources = replaced.resources.iter().map(|resource| escape(resource));
    for (title, items) in [
        ("labels", labels.collect::<Vec<_>>()),
        ("named it by its id, and now this node", resources.collect()),
    ] {
        if !items.is_empty() {
            print_stderr(&format!("  {title}: {}", items.join(" ")));
        }
    }
    if replaced.is_member {
        print_stderr(&format!(
            "{old} is a member still: `larder remove {old}` ends that, on a node that is admin."
        ));
    }
}
