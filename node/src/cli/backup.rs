//! `backup` and `restore-backup`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::{CommandContext, CommandResult, print_stderr};
use crate::backup::{self, restore};
use crate::data_dir::DataDir;
use crate::dto::{BackupManifest as Made, NodePaths, RestoreResult};
use crate::error::CliError;
use crate::limits;
use crate::output::{escape, pluralize, short_id};
use crate::time;

/// Flags of `backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// A directory that is empty or not there
    dir: PathBuf,
}

/// Flags of `restore-backup`.
#[derive(Debug, Args)]
pub(super) struct RestoreBackupArgs {
    /// What `backup` wrote
    dir: PathBuf,
    /// Move what is in the data directory aside, if there is anything
    #[arg(long)]
    force: bool,
}

/// How far it is, on a terminal only.
struct CopyProgress {
    label: &'static str,
    total_bytes: u64,
    is_interactive: bool,
    /// When it was last said, or else when it began: what is done in a moment needs no progress.
    last_update: Instant,
    is_shown: bool,
}

impl CopyProgress {
    fn new(context: &CommandContext, label: &'static str, total_bytes: u64) -> Self {
        let is_interactive = !context.json && std::io::stderr().is_terminal();
        Self { label, total_bytes, is_interactive, last_update: Instant::now(), is_shown: false }
    }

    fn update(&mut self, bytes: u64) {
        if !self.is_interactive || self.last_update.elapsed() < limits::PROGRESS_INTERVAL {
            return;
        }
        (self.last_update, self.is_shown) = (Instant::now(), true);
        let total = format_bytes(self.total_bytes.max(bytes));
        let mut err = std::io::stderr().lock();
        drop(
            write!(err, "\r{} {} of about {total} ...\u{1b}[K", self.label, format_bytes(bytes))
                .and_then(|()| err.flush()),
        );
    }

    fn clear(&self) {
        if self.is_shown {
            drop(write!(std::io::stderr(), "\r\u{1b}[K"));
        }
    }
}

/// A number of bytes, for people.
fn format_bytes(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

pub(super) fn backup(context: &CommandContext, args: &BackupArgs) -> CommandResult {
    context.require_present("backup")?;
    let paths: NodePaths = context.client.get("/v1/paths", &[])?;
    let data_dir = DataDir::new(Some(paths.data.into()), Some(context.data_dir.socket.clone()));
    let total_bytes = std::fs::metadata(data_dir.store_file()).map_or(0, |meta| meta.len());
    let mut progress = CopyProgress::new(context, "Copying the store:", total_bytes);
    let mut write_store = |out: &mut dyn Write| context.client.download("/v1/backup", &[], out).map(drop);
    let manifest =
        backup::create_backup(&data_dir, &args.dir, &mut write_store, &mut |bytes| progress.update(bytes));
    progress.clear();
    let manifest: Made = manifest.map_err(|failure| with_unfinished_hint(args, failure))?;
    if context.json {
        return context.print(&manifest, |_| String::new()).map(|()| None);
    }
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    print_stderr(&format!(
        "Backed up node {} into {}: {}, {}.",
        short_id(&manifest.node),
        args.dir.display(),
        pluralize(manifest.files.len(), "file"),
        format_bytes(bytes)
    ));
    print_stderr(&describe_groups(&manifest));
    print_stderr("It holds the node's key: whoever has it is this node. Never run it beside this one.");
    Ok(None)
}

/// A line for each group.
fn describe_groups(manifest: &Made) -> String {
    let describe_group = |group: &crate::dto::BackupGroup| {
        format!(
            "  group {}: {} changes, digest {}",
            escape(&group.name),
            group.changes,
            short_id(&group.digest)
        )
    };
    if manifest.groups.is_empty() {
        return "  It is in no group.".to_owned();
    }
    manifest.groups.iter().map(describe_group).collect::<Vec<_>>().join("\n")
}

/// A backup that broke off has no manifest: that is said, and what is there is left to be looked at.
fn with_unfinished_hint(args: &BackupArgs, failure: CliError) -> CliError {
    let has_files =
        failure.code != "exists" && std::fs::read_dir(&args.dir).is_ok_and(|mut dir| dir.next().is_some());
    match (has_files, &failure.hint) {
        (false, _) => failure,
        (true, hint) => {
            let advice = format!("{} is not a whole backup: delete it", args.dir.display());
            let hint = hint.as_ref().map_or_else(|| advice.clone(), |hint| format!("{hint}; {advice}"));
            failure.with_hint(hint)
        }
    }
}

pub(super) fn restore_backup(context: &CommandContext, args: &RestoreBackupArgs) -> CommandResult {
    context.require_present("restore-backup")?;
    if context.client.is_daemon_running() {
        return Err(restore::daemon_running_error(&context.data_dir.path));
    }
    let total_bytes = backup::read_manifest(&args.dir)?.files.iter().map(|file| file.bytes).sum();
    let mut progress = CopyProgress::new(context, "Copying:", total_bytes);
    let restored = restore::restore_backup(&context.data_dir, &args.dir, args.force, &mut |bytes| {
        progress.update(bytes)
    });
    progress.clear();
    let restored: RestoreResult = restored?;
    if context.json {
        return context.print(&restored, |_| String::new()).map(|()| None);
    }
    let manifest = &restored.backup;
    print_stderr(&format!(
        "Node {} is in {} as it was on {}.",
        short_id(&manifest.node),
        restored.data,
        time::local(manifest.time.0)
    ));
    print_stderr(&describe_groups(manifest));
    if let Some(moved_to) = &restored.moved_to {
        print_stderr(&format!("What was there is in {moved_to}; delete it when you no longer want it."));
    }
    print_stderr(
        "Start the daemon: it fetches what it lacks, and writes under new chains. No other copy of it may run.",
    );
    Ok(None)
}
