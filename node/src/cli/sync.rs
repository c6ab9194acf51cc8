//! `sync`: shows and controls synchronisation.

use clap::{Args, Subcommand};
use hyper::Method;

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::api::status::SyncBody;
use crate::dto::{self, PeerSyncState};
use crate::output::{Style, Table, plain_cell, short_id, styled_cell};
use crate::time::{self, wall_clock_seconds};

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    #[command(subcommand)]
    command: Option<SyncSubcommand>,
}

#[derive(Debug, Subcommand)]
enum SyncSubcommand {
    /// Show what each member lacks (the default)
    Status,
    /// Synchronise with all linked members now
    Now,
    /// Stop synchronising this group; no change is lost
    Pause,
    /// Continue synchronising this group
    Resume,
}

pub(super) fn sync(context: &CommandContext, args: &SyncArgs) -> CommandResult {
    let path = context.group_path(&["sync"]);
    let put_paused = |paused| context.client.send(Method::PUT, &path, &SyncBody { paused });
    let sync: dto::SyncReport = match args.command {
        None | Some(SyncSubcommand::Status) => context.client.get(&path, &[])?,
        Some(SyncSubcommand::Now) => context.client.post(&path, &())?,
        Some(SyncSubcommand::Pause) => put_paused(true)?,
        Some(SyncSubcommand::Resume) => put_paused(false)?,
    };
    context.print(&sync, |sync| render_sync(context, sync))?;
    if !context.json {
        if sync.paused {
            print_stderr("Synchronisation is paused on this node. Continue with `larder sync resume`.");
        } else if sync.peers.is_empty() {
            print_stderr("There is no other member.");
        }
    }
    Ok(None)
}

fn render_sync(context: &CommandContext, sync: &dto::SyncReport) -> String {
    if sync.peers.is_empty() {
        return String::new();
    }
    let (mut table, now) =
        (Table::new(&["ID", "ALIAS", "STATE", "LACKS", "HAS MORE", "HEARD"]), wall_clock_seconds());
    for peer in &sync.peers {
        let style = match peer.state {
            PeerSyncState::InSync => Style::Good,
            PeerSyncState::Away => Style::Dim,
            PeerSyncState::Syncing | PeerSyncState::Indirect | PeerSyncState::Unknown(_) => Style::Warning,
        };
        let format_lag =
            |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        table.push_row(vec![
            styled_cell(short_id(&peer.id), Style::Id),
            plain_cell(peer.alias.as_deref().unwrap_or_default()),
            styled_cell(peer.state.as_str(), style),
            plain_cell(format_lag(peer.ahead)),
            plain_cell(format_lag(peer.behind)),
            plain_cell(peer.contact.map(|time| time::format_ago(time.0, now)).unwrap_or_default()),
        ]);
    }
    table.render(context.styler)
}
