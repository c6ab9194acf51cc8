//! `deny`: rejects a join request.

use clap::Args;

use super::context::{CommandContext, CommandResult};
use crate::api::join_requests::DenyBody as DenyOf;
use crate::dto::Acknowledged;

/// Arguments of `deny`.
#[derive(Debug, Args)]
pub(super) struct DenyArgs {
    /// Id of the node, or the alias that it requests
    node: String,
}

pub(super) fn deny(context: &CommandContext, args: DenyArgs) -> CommandResult {
    let request = DenyOf { group: context.group.clone(), node: args.node };
    let done: Acknowledged = context.client.post("/v1/deny", &request)?;
    context.print(&done, |_| String::new())?;
    Ok(None)
}
