//! `restore`: resources as they were at an earlier point.

use clap::Args;

use super::context::{CommandContext, CommandResult};
use super::revert::{RevertCommonArgs, send_revert};
use crate::api::revert::RevertTarget;
use crate::error::CliError;

/// Flags of `restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// KIND or KIND/NAME [default: everything]
    path: Option<String>,
    #[command(flatten)]
    common: RevertCommonArgs,
}

pub(super) fn restore(context: &CommandContext, args: RestoreArgs) -> CommandResult {
    let Some(point) = context.history_point.clone() else {
        return Err(CliError::usage(
            "`restore` takes --at TIME, CHANGE or TAG: how it was then is wanted again",
        )
        .with_hint(
            "see `larder log` and `larder tag`; `larder restore --at 2h ago -n` only shows what would differ",
        ));
    };
    send_revert(context, RevertTarget::Restore { at: point, path: args.path }, args.common, "Restored as at")
}
