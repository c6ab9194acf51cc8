//! `leave`: this node leaves the group.

use clap::Args;

use super::admin_request::send_admin_op;
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::AdminAction;

/// Flags of `leave`.
#[derive(Debug, Args)]
pub(super) struct LeaveArgs {
    /// Though no other admin is left
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn leave(context: &CommandContext, args: LeaveArgs) -> CommandResult {
    let message = "This node left. What it applied stays as it is, and the group's data stays readable here.";
    send_admin_op(context, AdminAction::Leave { force: args.force }, args.message_args, message)
}
