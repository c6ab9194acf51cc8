//! `remove`: ends the membership of a node.

use clap::Args;
use hyper::Method;
use larder_core::typed_name::ChangeName;

use super::admin_request::send_admin_request;
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::RemoveMemberBody;
use crate::output::escape;

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Alias or id of the node
    node: String,
    /// Last change of the node that still counts [default: all that this node has]
    #[arg(long, value_name = "CHANGE")]
    keep_through: Option<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn remove(context: &CommandContext, args: RemoveArgs) -> CommandResult {
    let message = format!(
        "{} is no longer a member. Nodes that are away learn this when they reconnect.",
        escape(&args.node)
    );
    let keep_through = args.keep_through.map(ChangeName::from);
    let body = RemoveMemberBody { keep_through, message: args.message_args.into_text() };
    send_admin_request(context, (Method::DELETE, &["members", &args.node]), &body, &message)
}
