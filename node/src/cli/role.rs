//! `role`: changes the role of a node.

use clap::Args;
use hyper::Method;

use super::admin_request::{ROLES, send_admin_request};
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::RoleBody;
use crate::output::escape;

/// Arguments of `role`.
#[derive(Debug, Args)]
pub(super) struct RoleArgs {
    /// Alias or id of the node
    node: String,
    /// The new role
    #[arg(value_parser = ROLES)]
    role: String,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn role(context: &CommandContext, args: RoleArgs) -> CommandResult {
    let message = format!("{} now has the role {}.", escape(&args.node), escape(&args.role));
    let body = RoleBody { role: args.role, message: args.message_args.into_text() };
    send_admin_request(context, (Method::PUT, &["members", &args.node, "role"]), &body, &message)
}
