//! `restore-backup`: puts a backup into the data directory.

use std::path::PathBuf;

use clap::Args;

use super::backup::describe_groups;
use super::context::{CommandContext, CommandResult, print_stderr};
use super::progress::{ProgressLine, describe_copy};
use crate::backup::{self, restore};
use crate::dto::RestoreResult;
use crate::output::short_id;
use crate::time;

/// Arguments of `restore-backup`.
#[derive(Debug, Args)]
pub(super) struct RestoreBackupArgs {
    /// Directory that `larder backup` wrote
    dir: PathBuf,
    /// Move existing files of the data directory to a new directory first
    #[arg(long)]
    force: bool,
}

pub(super) fn restore_backup(context: &CommandContext, args: &RestoreBackupArgs) -> CommandResult {
    if context.client.is_daemon_running() {
        return Err(restore::daemon_running_error(&context.data_dir.path));
    }
    let total_bytes = backup::read_manifest(&args.dir)?.files.iter().map(|file| file.bytes).sum();
    let mut progress = ProgressLine::new(context);
    let restored = restore::restore_backup(&context.data_dir, &args.dir, args.force, &mut |bytes| {
        progress.update(|| describe_copy(bytes, total_bytes))
    });
    progress.clear();
    let restored: RestoreResult = restored?;
    if context.json {
        return context.print(&restored, |_| String::new()).map(|()| None);
    }
    let manifest = &restored.backup;
    print_stderr(&format!(
        "Restored node {} into {}, as of {}.",
        short_id(&manifest.node),
        restored.data,
        time::local(manifest.time.0)
    ));
    print_stderr(&describe_groups(manifest));
    if let Some(moved_to) = &restored.moved_to {
        print_stderr(&format!(
            "The previous files are in {moved_to}. Delete them when you no longer need them."
        ));
    }
    print_stderr(
        "Start the daemon. It fetches the changes that it lacks. Never run another copy of this node.",
    );
    Ok(None)
}
