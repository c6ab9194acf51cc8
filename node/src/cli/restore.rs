//! `restore`: resources as they were at an earlier point.

use clap::Args;
use larder_core::node::RevertTarget;

use super::context::{CommandContext, CommandResult};
use super::revert::{RevertCommonArgs, send_revert_body};
use crate::api::params::{parse_point, parse_scope};
use crate::api::revert::RevertBody;

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
    let path = args.path.as_deref();
    let command = format!("restore --at {} {}", args.at, path.unwrap_or_default()).trim_end().to_owned();
    let mut message = args.common.message_args.into_text();
    if message.is_empty() {
        message = format!("restores what was wanted at {}", args.at);
    }
    let target = RevertTarget::Restore { point: parse_point(&args.at)?, scope: parse_scope(path)? };
    let request = RevertBody { target, message, command, dry_run: args.common.dry_run };
    send_revert_body(context, &request, "Restored the state at")
}
