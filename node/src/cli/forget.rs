//! `forget`: deletes the status reports of a former member.

use clap::Args;
use hyper::Method;

use super::admin_request::send_admin_request;
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::MessageBody;
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
    let body = MessageBody { message: args.message_args.into_text() };
    let target = ["members", &args.node, "observed"];
    send_admin_request(context, (Method::DELETE, &target), &body, &message)
}
