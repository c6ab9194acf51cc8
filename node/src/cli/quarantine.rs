//! `quarantine`: valid changes that do not count, because the membership of their author ended.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use hyper::Method;
use larder_core::node::{NameKind, name_lookup};

use super::admin_request::send_admin_request;
use super::context::{CommandContext, CommandResult, print_stderr};
use super::write_request::MessageArgs;
use crate::api::admin::QuarantineBody;
use crate::dto::{self, QuarantinedChange, WriteResult};
use crate::output::{
    Style, Table, escape, format_value_short, node_name, plain_cell, pluralize, short_id, styled_cell,
};
use crate::time;

/// Arguments of `quarantine`.
#[derive(Debug, Args)]
pub(super) struct QuarantineArgs {
    #[command(subcommand)]
    command: QuarantineSubcommand,
}

#[derive(Debug, Subcommand)]
enum QuarantineSubcommand {
    /// List the changes that do not count, with the reason
    List {
        /// Also list observed state
        #[arg(long)]
        all: bool,
    },
    /// Show one of these changes with its values
    Show {
        /// Id of the change
        change: String,
    },
    /// Accept changes with everything that they build on (needs the role admin)
    Readmit {
        /// Ids of the newest changes, one for each author
        #[arg(required = true, value_name = "CHANGE")]
        changes: Vec<String>,
        #[command(flatten)]
        message_args: MessageArgs,
    },
    /// Write the values of these changes again, as a change of this node (needs the role operator)
    Rewrite {
        /// Ids of the changes, in the order to write them
        #[arg(required = true, value_name = "CHANGE")]
        changes: Vec<String>,
        #[command(flatten)]
        message_args: MessageArgs,
    },
}

pub(super) fn quarantine(context: &CommandContext, args: QuarantineArgs) -> CommandResult {
    match args.command {
        QuarantineSubcommand::List { all } => list_changes(context, all),
        QuarantineSubcommand::Show { change } => show_change(context, &change),
        QuarantineSubcommand::Readmit { changes, message_args } => {
            let body = quarantine_body("readmit", &changes, message_args);
            let message = "The changes count again, with everything that they build on.";
            send_admin_request(context, (Method::POST, &["quarantine", "readmit"]), &body, message)
        }
        QuarantineSubcommand::Rewrite { changes, message_args } => {
            let body = quarantine_body("rewrite", &changes, message_args);
            let path = context.group_path(&["quarantine", "rewrite"]);
            let written: WriteResult = context.client.post(&path, &body)?;
            context.print(&written, |written| match &written.change {
                Some(change) => format!("{}\n", short_id(change)),
                None => String::new(),
            })?;
            if !context.json && written.change.is_none() {
                print_stderr("Nothing differs; nothing was written.");
            }
            Ok(None)
        }
    }
}

fn quarantine_body(subcommand: &str, changes: &[String], message_args: MessageArgs) -> QuarantineBody {
    QuarantineBody {
        changes: changes.iter().map(|change| change.as_str().into()).collect(),
        message: message_args.into_text(),
        command: format!("quarantine {subcommand} {}", changes.join(" ")),
    }
}

fn list_changes(context: &CommandContext, includes_observed: bool) -> CommandResult {
    let mut quarantine: dto::QuarantineList =
        context.client.get(&context.group_path(&["quarantine"]), &[])?;
    quarantine.changes.retain(|change| includes_observed || change.shard == "desired");
    context.print(&quarantine, |quarantine| render_quarantine(context, quarantine))?;
    if !context.json {
        match quarantine.changes.len() {
            0 => print_stderr("No changes are quarantined."),
            many => print_stderr(&format!(
                "{} quarantined. See `larder quarantine show CHANGE`. Accept it with `readmit`, or write it \
                 again with `rewrite`.",
                pluralize(many, "change")
            )),
        }
    }
    Ok(None)
}

fn render_quarantine(context: &CommandContext, quarantine: &dto::QuarantineList) -> String {
    if quarantine.changes.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["CHANGE", "NODE", "USER", "TIME", "STATE", "WHY"]);
    for change in &quarantine.changes {
        table.push_row(vec![
            styled_cell(short_id(&change.id), Style::Id),
            plain_cell(node_name(&change.node.id, change.node.alias.as_deref())),
            plain_cell(&change.user),
            plain_cell(time::local(change.time.0)),
            styled_cell(change.state.as_str(), Style::Warning),
            plain_cell(&change.reason),
        ]);
    }
    table.render(context.styler)
}

fn show_change(context: &CommandContext, text: &str) -> CommandResult {
    let quarantine: dto::QuarantineList = context.client.get(&context.group_path(&["quarantine"]), &[])?;
    let ids = quarantine.changes.iter().map(|change| (change.id.as_str(), None));
    let id = name_lookup::unique(NameKind::UnacceptedChange, text, ids)?.to_owned();
    let only = dto::QuarantineList {
        changes: quarantine.changes.into_iter().filter(|change| change.id == id).collect(),
    };
    context
        .print(&only, |only| only.changes.iter().map(|change| render_change(context, change)).collect())?;
    Ok(None)
}

fn render_change(context: &CommandContext, change: &QuarantinedChange) -> String {
    let styler = context.styler;
    let mut out = String::new();
    let mut push_line = |key: &str, value: &str| {
        let _ = writeln!(out, "{key:8} {}", escape(value));
    };
    push_line("change", &change.id);
    push_line("node", &node_name(&change.node.id, change.node.alias.as_deref()));
    push_line("user", &change.user);
    push_line("time", &time::local(change.time.0));
    push_line("shard", &change.shard);
    push_line("state", change.state.as_str());
    push_line("why", &change.reason);
    push_line("readmit", &change.readmit_hint);
    if !change.message.is_empty() {
        let _ = writeln!(out, "\n    {}", escape(&change.message));
    }
    out.push('\n');
    for (key, value) in &change.puts {
        let _ = writeln!(
            out,
            "    {} = {}",
            styler.paint(Style::Bold, &escape(key)),
            format_value_short(value.as_ref())
        );
    }
    out
}
