//! `leave`: this node leaves the group.

use clap::Args;
use hyper::Method;

use super::admin_request::send_admin_request;
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::LeaveBody;

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
    let body = LeaveBody { force: args.force, message: args.message_args.into_text() };
    send_admin_request(context, (Method::DELETE, &["membership"]), &body, message)
}
