//! `nodes`, `ping`, `alias`, `label`, `replace`.

use clap::Args;

use super::write::{Why, send};
use super::{Context, Outcome, say, talk};
use crate::api::members::PingOf;
use crate::api::replace;
use crate::api::writes::Say;
use crate::daemon::wall;
use crate::failure::Failure;
use crate::render::{Style, Table, cell, clean, name, plain, short};
use crate::time;
use crate::view;

/// Flags of `nodes`.
#[derive(Debug, Args)]
pub(super) struct Nodes {
    /// With everything that is known of them
    #[arg(long)]
    wide: bool,
}

/// Flags of `ping`.
#[derive(Debug, Args)]
pub(super) struct Ping {
    /// Alias or id
    node: String,
    /// How often
    #[arg(short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

/// Flags of `alias`.
#[derive(Debug, Args)]
pub(super) struct Alias {
    /// Alias or id
    node: String,
    /// What to call it; empty for nothing
    name: String,
    #[command(flatten)]
    why: Why,
}

/// Flags of `label`.
#[derive(Debug, Args)]
pub(super) struct Label {
    /// Alias or id
    node: String,
    /// K=V sets a label, K- takes it off
    #[arg(required = true, value_name = "K=V|K-", allow_hyphen_values = false)]
    labels: Vec<String>,
    #[command(flatten)]
    why: Why,
}

/// Flags of `replace`.
#[derive(Debug, Args)]
pub(super) struct Replace {
    /// Alias or id of the node whose place this one takes
    old: String,
    #[command(flatten)]
    why: Why,
}

pub(super) fn nodes(context: &Context, args: &Nodes) -> Outcome {
    context.only_now("nodes")?;
    let nodes: view::Nodes = context.client.get("/v1/nodes", &[context.group()])?;
    context.print(&nodes, |nodes| draw(context, nodes, args.wide))?;
    if !context.json {
        for warning in &nodes.warnings {
            talk(&format!("warning: {}", clean(warning)));
        }
    }
    Ok(None)
}

fn draw(context: &Context, nodes: &view::Nodes, wide: bool) -> String {
    let header: &[&'static str] = if wide {
        &["ID", "ALIAS", "ROLE", "STATE", "HEARD", "BEHIND", "FAILED", "LABELS", "ADDRESS", "VERSION", "HOST"]
    } else {
        &["ID", "ALIAS", "ROLE", "STATE", "HEARD", "BEHIND", "FAILED", "LABELS", "ADDRESS", "VERSION"]
    };
    let (mut table, now) = (Table::new(header), wall());
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
            "away" | "pending" => Style::Care,
            "removed" | "left" => Style::Dim,
            _ => Style::Dim,
        };
        let alias = node.alias.clone().unwrap_or_default() + if node.alias_twice { " (twice!)" } else { "" };
        let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let heard = node.heard.filter(|_| !node.is_self).map(|heard| time::ago(heard.0, now));
        let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        let shown = if wide { node.addrs.len() } else { 1 };
        let id = if wide { node.id.clone() } else { short(&node.id) };
        table.row(vec![
            cell(id, Style::Id),
            plain(alias),
            plain(node.role.as_deref().unwrap_or_default()),
            cell(state, style),
            plain(heard.unwrap_or_default()),
            cell(number(node.behind.unwrap_or(0)), Style::Care),
            cell(number(node.failed), Style::Bad),
            plain(labels.join(" ")),
            plain(node.addrs.iter().take(shown).cloned().collect::<Vec<_>>().join(" ")),
            plain(&node.version),
            plain(&node.host),
        ]);
    }
    table.draw(context.pen)
}

pub(super) fn ping(context: &Context, args: &Ping) -> Outcome {
    context.only_now("ping")?;
    let ask = PingOf { group: context.group.clone(), node: args.node.clone() };
    for nth in 1..=args.count {
        let answer: view::Ping = context.client.post("/v1/ping", &ask)?;
        if context.json {
            let line = serde_json::to_string(&view::Tagged::new(&answer));
            say(&(line.map_err(|error| Failure::failed(error.to_string()))? + "\n"))?;
        } else {
            let who = name(&answer.id, answer.alias.as_deref());
            say(&format!("{nth}  {who}  {:.2} ms\n", answer.ms))?;
        }
    }
    Ok(None)
}

pub(super) fn alias(context: &Context, args: Alias) -> Outcome {
    let command = format!("alias {} {}", args.node, args.name);
    let name = (!args.name.is_empty()).then_some(args.name);
    send(context, vec![Say::Alias { node: args.node, name }], args.why, command)
}

pub(super) fn label(context: &Context, args: Label) -> Outcome {
    let read = |text: &String| match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => Err(Failure::usage(format!(
            "`{text}` is not a label: expected KEY=VALUE, or KEY- to take it off"
        ))),
    };
    let labels = args.labels.iter().map(read).collect::<Result<_, _>>()?;
    let command = format!("label {} {}", args.node, args.labels.join(" "));
    send(context, vec![Say::Label { node: args.node, labels }], args.why, command)
}

pub(super) fn replace(context: &Context, args: Replace) -> Outcome {
    context.only_now("replace")?;
    let command = format!("replace {}", args.old);
    let (group, message) = (context.group.clone(), args.why.message);
    let ask = replace::Replace { group, old: args.old, message, command };
    let replaced: view::Replaced = context.client.post("/v1/replace", &ask)?;
    context.print(&replaced, |replaced| match &replaced.change {
        Some(change) => format!("{}\n", context.pen.paint(Style::Id, &short(change))),
        None => String::new(),
    })?;
    if !context.json {
        tell(&replaced);
    }
    Ok(None)
}

fn tell(replaced: &view::Replaced) {
    let old = short(&replaced.old);
    match &replaced.change {
        Some(_) => talk(&format!("This node stands in the place of {old} now.")),
        None => talk(&format!("This node stands in the place of {old} already; nothing was written.")),
    }
    if let Some(alias) = &replaced.alias {
        talk(&format!("  alias: {}", clean(alias)));
    }
    let labels = replaced.labels.iter().map(|(key, value)| clean(&format!("{key}={value}")));
    let resources = replaced.resources.iter().map(|resource| clean(resource));
    for (what, of) in [
        ("labels", labels.collect::<Vec<_>>()),
        ("named it by its id, and now this node", resources.collect()),
    ] {
        if !of.is_empty() {
            talk(&format!("  {what}: {}", of.join(" ")));
        }
    }
    if replaced.is_member {
        talk(&format!("{old} is a member still: `larder remove {old}` ends that, on a node that is admin."));
    }
}
