//! `recover`: makes this node admin with the recovery key.

use std::path::PathBuf;

use clap::Args;

use super::admin_request::{read_recovery_key, send_admin_op};
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::AdminAction;

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// File with the recovery key, which `init` wrote
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn recover(context: &CommandContext, args: RecoverArgs) -> CommandResult {
    let key = read_recovery_key(&args.key)?;
    send_admin_op(context, AdminAction::Recover { key }, args.message_args, "This node is now an admin.")
}
