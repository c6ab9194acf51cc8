//! `leave`: this node leaves the group.

use clap::Args;

use super::admin_request::send_admin_op;
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::AdminAction;

/// Arguments of `leave`.
#[derive(Debug, Args)]
pub(super) struct LeaveArgs {
    /// Leave even if this is the last admin
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn leave(context: &CommandContext, args: LeaveArgs) -> CommandResult {
    let message =
        "This node has left the group. Applied files stay, and the group's data stays readable here.";
    send_admin_op(context, AdminAction::Leave { force: args.force }, args.message_args, message)
}
