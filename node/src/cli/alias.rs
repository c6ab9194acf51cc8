//! `alias`: the name of a node.

use clap::Args;

use super::context::{CommandContext, CommandResult};
use super::write_request::{MessageArgs, send_edits};
use crate::api::writes::EditSpec;

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
    send_edits(context, vec![EditSpec::Alias { node: args.node, name }], args.message_args, command)
}
