//! `forget`: deletes the status reports of a former member.

use clap::Args;

use super::admin_request::send_admin_op;
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::AdminAction;
use crate::output::escape;

/// Arguments of `forget`.
#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// Alias or id of the former member
    node: String,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn forget(context: &CommandContext, args: ForgetArgs) -> CommandResult {
    let message = format!("Deleted the status reports of {}.", escape(&args.node));
    send_admin_op(context, AdminAction::Forget { node: args.node }, args.message_args, &message)
}
