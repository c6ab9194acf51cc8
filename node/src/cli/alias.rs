//! `alias`: the name of a node.

use clap::Args;
use larder_core::resource::edit::Edit;

use super::context::{CommandContext, CommandResult};
use super::write_request::{MessageArgs, send_edits};

/// Arguments of `alias`.
#[derive(Debug, Args)]
pub(super) struct AliasArgs {
    /// Alias or id of the node
    node: String,
    /// New alias; an empty one clears it
    name: String,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn alias(context: &CommandContext, args: AliasArgs) -> CommandResult {
    let command = format!("alias {} {}", args.node, args.name);
    let name = (!args.name.is_empty()).then_some(args.name);
    send_edits(context, vec![Edit::SetAlias(args.node.into(), name)], args.message_args, command)
}
