//! `restore`: resources as they were at an earlier point.

use clap::Args;

use super::context::{CommandContext, CommandResult};
use super::revert::{RevertCommonArgs, send_revert};
use crate::api::revert::RevertTarget;

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder restore --at \"2h ago\" --dry-run
  larder restore --at before-friday config/ntp")]
pub(super) struct RestoreArgs {
    /// KIND or KIND/NAME [default: all resources]
    path: Option<String>,
    /// Point of the history to restore
    #[arg(long, value_name = "TIME|CHANGE|TAG")]
    at: String,
    #[command(flatten)]
    common: RevertCommonArgs,
}

pub(super) fn restore(context: &CommandContext, args: RestoreArgs) -> CommandResult {
    send_revert(
        context,
        RevertTarget::Restore { at: args.at, path: args.path },
        args.common,
        "Restored the state at",
    )
}
