//! `backup` and `restore-backup`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::{Context, Outcome, talk};
use crate::backup::{self, restore};
use crate::failure::Failure;
use crate::limits;
use crate::place::Place;
use crate::render::{clean, count, short};
use crate::time;
use crate::view::{Backup as Made, Paths, Restored};

/// Flags of `backup`.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// A directory that is empty or not there
    dir: PathBuf,
}

/// Flags of `restore-backup`.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// What `backup` wrote
    dir: PathBuf,
    /// Move what is in the data directory aside, if there is anything
    #[arg(long)]
    force: bool,
}

/// How far it is, on a terminal only.
struct Progress {
    doing: &'static str,
    of: u64,
    attended: bool,
    /// When it was last said, or else when it began: what is done in a moment needs no progress.
    last: Instant,
    shown: bool,
}

impl Progress {
    fn new(context: &Context, doing: &'static str, of: u64) -> Self {
        let attended = !context.json && std::io::stderr().is_terminal();
        Self { doing, of, attended, last: Instant::now(), shown: false }
    }

    fn at(&mut self, bytes: u64) {
        if !self.attended || self.last.elapsed() < limits::PROGRESS {
            return;
        }
        (self.last, self.shown) = (Instant::now(), true);
        let of = size(self.of.max(bytes));
        let mut err = std::io::stderr().lock();
        drop(
            write!(err, "\r{} {} of about {of} ...\u{1b}[K", self.doing, size(bytes))
                .and_then(|()| err.flush()),
        );
    }

    fn end(&self) {
        if self.shown {
            drop(write!(std::io::stderr(), "\r\u{1b}[K"));
        }
    }
}

/// A number of bytes, for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

pub(super) fn backup(context: &Context, args: &Backup) -> Outcome {
    context.only_now("backup")?;
    let paths: Paths = context.client.get("/v1/paths", &[])?;
    let place = Place::new(Some(paths.data.into()), Some(context.place.socket.clone()));
    let of = std::fs::metadata(place.store()).map_or(0, |meta| meta.len());
    let mut progress = Progress::new(context, "Copying the store:", of);
    let mut fill = |into: &mut dyn Write| context.client.download("/v1/backup", &[], into).map(drop);
    let made = backup::make(&place, &args.dir, &mut fill, &mut |bytes| progress.at(bytes));
    progress.end();
    let made: Made = made.map_err(|failure| unfinished(args, failure))?;
    if context.json {
        return context.print(&made, |_| String::new()).map(|()| None);
    }
    let bytes = made.files.iter().map(|file| file.bytes).sum();
    talk(&format!(
        "Backed up node {} into {}: {}, {}.",
        short(&made.node),
        args.dir.display(),
        count(made.files.len(), "file"),
        size(bytes)
    ));
    talk(&groups(&made));
    talk("It holds the node's key: whoever has it is this node. Never run it beside this one.");
    Ok(None)
}

/// A line for each group.
fn groups(made: &Made) -> String {
    let group = |group: &crate::view::BackupGroup| {
        format!("  group {}: {} changes, digest {}", clean(&group.name), group.changes, short(&group.digest))
    };
    if made.groups.is_empty() {
        return "  It is in no group.".to_owned();
    }
    made.groups.iter().map(group).collect::<Vec<_>>().join("\n")
}

/// A backup that broke off has no manifest: that is said, and what is there is left to be looked at.
fn unfinished(args: &Backup, failure: Failure) -> Failure {
    let begun =
        failure.code != "exists" && std::fs::read_dir(&args.dir).is_ok_and(|mut dir| dir.next().is_some());
    match (begun, &failure.hint) {
        (false, _) => failure,
        (true, hint) => {
            let rest = format!("{} is not a whole backup: delete it", args.dir.display());
            let hint = hint.as_ref().map_or_else(|| rest.clone(), |hint| format!("{hint}; {rest}"));
            failure.hint(hint)
        }
    }
}

pub(super) fn restore_backup(context: &Context, args: &Restore) -> Outcome {
    context.only_now("restore-backup")?;
    if context.client.is_running() {
        return Err(restore::in_use(&context.place.data));
    }
    let of = backup::read(&args.dir)?.files.iter().map(|file| file.bytes).sum();
    let mut progress = Progress::new(context, "Copying:", of);
    let restored = restore::restore(&context.place, &args.dir, args.force, &mut |bytes| progress.at(bytes));
    progress.end();
    let restored: Restored = restored?;
    if context.json {
        return context.print(&restored, |_| String::new()).map(|()| None);
    }
    let made = &restored.backup;
    talk(&format!(
        "Node {} is in {} as it was on {}.",
        short(&made.node),
        restored.data,
        time::local(made.time.0)
    ));
    talk(&groups(made));
    if let Some(aside) = &restored.aside {
        talk(&format!("What was there is in {aside}; delete it when you no longer want it."));
    }
    talk(
        "Start the daemon: it fetches what it lacks, and writes under new chains. No other copy of it may run.",
    );
    Ok(None)
}
