//! `quarantine`: what is valid, and yet not part of the document.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::govern::govern;
use super::write::Why;
use super::{Context, Outcome, talk};
use crate::api::govern::{Act, Govern};
use crate::failure::Failure;
use crate::render::{Style, Table, brief, cell, clean, count, name, plain, short};
use crate::time;
use crate::view::{self, Aside, Written};

/// Flags of `quarantine`.
#[derive(Debug, Args)]
pub(super) struct Quarantine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what is kept aside, and why
    List {
        /// With what nodes reported of themselves
        #[arg(long)]
        all: bool,
    },
    /// Show one change that is kept aside
    Show {
        /// Its id
        change: String,
    },
    /// Bring changes in, with all that they build on (admins)
    Readmit {
        /// Their ids, the newest of each author
        #[arg(required = true, value_name = "CHANGE")]
        changes: Vec<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Write what changes say once more, as a change of this node (operators)
    Rewrite {
        /// Their ids, in this order
        #[arg(required = true, value_name = "CHANGE")]
        changes: Vec<String>,
        #[command(flatten)]
        why: Why,
    },
}

pub(super) fn quarantine(context: &Context, args: Quarantine) -> Outcome {
    context.only_now("quarantine")?;
    match args.command {
        Command::List { all } => list(context, all),
        Command::Show { change } => show(context, &change),
        Command::Readmit { changes, why } => {
            govern(context, Act::Readmit { changes }, why, "They count again, with all that they build on.")
        }
        Command::Rewrite { changes, why } => {
            let command = format!("quarantine rewrite {}", changes.join(" "));
            let act = Act::Rewrite { changes, command };
            let govern = Govern { group: context.group.clone(), act, message: why.message };
            let written: Written = context.client.post("/v1/govern", &govern)?;
            context.print(&written, |written| match &written.change {
                Some(change) => format!("{}\n", short(change)),
                None => String::new(),
            })?;
            if !context.json && written.change.is_none() {
                talk("Nothing differs: the document says so already.");
            }
            Ok(None)
        }
    }
}

fn list(context: &Context, all: bool) -> Outcome {
    let mut found: view::Quarantine = context.client.get("/v1/quarantine", &[context.group()])?;
    found.changes.retain(|change| all || change.shard == "desired");
    context.print(&found, |found| draw(context, found))?;
    if !context.json {
        match found.changes.len() {
            0 => talk("Nothing is kept aside."),
            many => talk(&format!(
                "{} without effect. Look with `larder quarantine show CHANGE`; bring in with `readmit`, or write again with `rewrite`.",
                count(many, "change")
            )),
        }
    }
    Ok(None)
}

fn draw(context: &Context, found: &view::Quarantine) -> String {
    if found.changes.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["CHANGE", "NODE", "USER", "TIME", "STATE", "WHY"]);
    for change in &found.changes {
        table.row(vec![
            cell(short(&change.id), Style::Id),
            plain(name(&change.node.id, change.node.alias.as_deref())),
            plain(&change.user),
            plain(time::local(change.time.0)),
            cell(&change.state, Style::Care),
            plain(&change.why),
        ]);
    }
    table.draw(context.pen)
}

fn show(context: &Context, text: &str) -> Outcome {
    let found: view::Quarantine = context.client.get("/v1/quarantine", &[context.group()])?;
    let prefix = text.trim().to_ascii_lowercase();
    let fits: Vec<&Aside> =
        found.changes.iter().filter(|one| !prefix.is_empty() && one.id.starts_with(&prefix)).collect();
    match fits.as_slice() {
        [one] => {
            let only = view::Quarantine { changes: vec![(*one).clone()] };
            context.print(&only, |_| describe(context, one))?;
            Ok(None)
        }
        [] => Err(Failure::not_found(format!("no change `{text}` is kept aside"))
            .hint("see `larder quarantine list`")),
        several => {
            let ids: Vec<String> = several.iter().map(|one| one.id.clone()).collect();
            Err(Failure::ambiguous("change", text, &ids))
        }
    }
}

fn describe(context: &Context, one: &Aside) -> String {
    let pen = context.pen;
    let mut out = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "{key:8} {}", clean(value));
    };
    line("change", &one.id);
    line("node", &name(&one.node.id, one.node.alias.as_deref()));
    line("user", &one.user);
    line("time", &time::local(one.time.0));
    line("shard", &one.shard);
    line("state", &one.state);
    line("why", &one.why);
    line("vouch", &one.vouch);
    if !one.message.is_empty() {
        let _ = writeln!(out, "\n    {}", clean(&one.message));
    }
    out.push('\n');
    for (key, value) in &one.puts {
        let _ = writeln!(out, "    {} = {}", pen.paint(Style::Bold, &clean(key)), brief(value.as_ref()));
    }
    out
}
