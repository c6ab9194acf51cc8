//! `sync` and `heads`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::{Context, Outcome, talk};
use crate::api::standing::{Act, Steer};
use crate::daemon::wall;
use crate::render::{Style, Table, cell, clean, name, plain, short};
use crate::time;
use crate::view::{self, Heads};

/// Flags of `sync`.
#[derive(Debug, Args)]
pub(super) struct Sync {
    #[command(subcommand)]
    command: Option<SyncCommand>,
}

#[derive(Debug, Subcommand)]
enum SyncCommand {
    /// Show what each other member still lacks
    Status,
    /// Compare with all neighbours now
    Now,
    /// Stop syncing this group; nothing is lost
    Pause,
    /// Go on syncing it
    Resume,
}

pub(super) fn sync(context: &Context, args: &Sync) -> Outcome {
    context.only_now("sync")?;
    let group = context.group.clone();
    let act = match args.command {
        None | Some(SyncCommand::Status) => None,
        Some(SyncCommand::Now) => Some(Act::Now),
        Some(SyncCommand::Pause) => Some(Act::Pause),
        Some(SyncCommand::Resume) => Some(Act::Resume),
    };
    let sync: view::Sync = match act {
        None => context.client.get("/v1/sync", &[context.group()])?,
        Some(act) => context.client.post("/v1/sync", &Steer { group, act })?,
    };
    context.print(&sync, |sync| draw(context, sync))?;
    if !context.json {
        if sync.paused {
            talk("Syncing is paused here; `larder sync resume` goes on.");
        } else if sync.peers.is_empty() {
            talk("There is no other member yet.");
        }
    }
    Ok(None)
}

fn draw(context: &Context, sync: &view::Sync) -> String {
    if sync.peers.is_empty() {
        return String::new();
    }
    let (mut table, now) = (Table::new(&["ID", "ALIAS", "STATE", "LACKS", "HAS MORE", "HEARD"]), wall());
    for peer in &sync.peers {
        let style = match peer.state.as_str() {
            "in-sync" => Style::Good,
            "away" => Style::Dim,
            _ => Style::Care,
        };
        let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        table.row(vec![
            cell(short(&peer.id), Style::Id),
            plain(peer.alias.as_deref().unwrap_or_default()),
            cell(&peer.state, style),
            plain(number(peer.ahead)),
            plain(number(peer.behind)),
            plain(peer.contact.map(|time| time::ago(time.0, now)).unwrap_or_default()),
        ]);
    }
    table.draw(context.pen)
}

pub(super) fn heads(context: &Context) -> Outcome {
    let heads: Heads = context.client.get("/v1/heads", &[context.group(), context.at()])?;
    context.print(&heads, |heads| {
        let mut out = format!("digest   {}\n", clean(&heads.digest));
        for head in &heads.heads {
            let _ = writeln!(out, "desired  {}", clean(head));
        }
        for (node, heads) in &heads.observed {
            for head in heads {
                let _ = writeln!(out, "observed {}  by {}", clean(head), name(node, None));
            }
        }
        out
    })?;
    Ok(None)
}
