//! `deny`: rejects a join request.

use clap::Args;

use super::context::{CommandContext, CommandResult};
use crate::dto::Acknowledged;

/// Arguments of `deny`.
#[derive(Debug, Args)]
pub(super) struct DenyArgs {
    /// Id of the node, or the alias that it requests
    node: String,
}

pub(super) fn deny(context: &CommandContext, args: DenyArgs) -> CommandResult {
    let path = context.group_path(&["join-requests", &args.node]);
    let done: Acknowledged = context.client.delete(&path)?;
    context.print(&done, |_| String::new())?;
    Ok(None)
}
