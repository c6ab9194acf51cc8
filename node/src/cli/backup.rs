//! `backup`: a copy of a running node.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::progress::{ProgressLine, describe_copy, format_bytes};
use crate::backup;
use crate::data_dir::DataDir;
use crate::dto::{BackupManifest as Made, NodePaths};
use crate::error::CliError;
use crate::output::{escape, pluralize, short_id};

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Target directory; it must be empty or missing
    dir: PathBuf,
}

pub(super) fn backup(context: &CommandContext, args: &BackupArgs) -> CommandResult {
    let paths: NodePaths = context.client.get("/v1/paths", &[])?;
    let data_dir = DataDir::new(Some(paths.data.into()), Some(context.data_dir.socket.clone()));
    let total_bytes = std::fs::metadata(data_dir.store_file()).map_or(0, |meta| meta.len());
    let mut progress = ProgressLine::new(context);
    let mut write_store = |out: &mut dyn Write| context.client.download("/v1/backup", &[], out).map(drop);
    let manifest = backup::create_backup(&data_dir, &args.dir, &mut write_store, &mut |bytes| {
        progress.update(|| describe_copy(bytes, total_bytes))
    });
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
    print_stderr("The backup contains the node's private key. Keep it secret, and never run both copies.");
    Ok(None)
}

/// One line for each group of a backup.
pub(super) fn describe_groups(manifest: &Made) -> String {
    let describe_group = |group: &crate::dto::BackupGroup| {
        format!(
            "  group {}: {} changes, digest {}",
            escape(&group.name),
            group.changes,
            short_id(&group.digest)
        )
    };
    if manifest.groups.is_empty() {
        return "  The node is in no group.".to_owned();
    }
    manifest.groups.iter().map(describe_group).collect::<Vec<_>>().join("\n")
}

/// Adds a hint that the files of a failed backup can be deleted. They stay for inspection.
fn with_unfinished_hint(args: &BackupArgs, failure: CliError) -> CliError {
    let has_files =
        failure.code != "exists" && std::fs::read_dir(&args.dir).is_ok_and(|mut dir| dir.next().is_some());
    match (has_files, &failure.hint) {
        (false, _) => failure,
        (true, hint) => {
            let advice = format!("{} is an incomplete backup: delete it", args.dir.display());
            let hint = hint.as_ref().map_or_else(|| advice.clone(), |hint| format!("{hint}; {advice}"));
            failure.with_hint(hint)
        }
    }
}
