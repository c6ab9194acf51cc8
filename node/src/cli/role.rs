//! `role`: changes the role of a node.

use clap::Args;

use super::admin_request::{ROLES, send_admin_op};
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::AdminAction;
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
    send_admin_op(
        context,
        AdminAction::Role { node: args.node, role: args.role },
        args.message_args,
        &message,
    )
}
