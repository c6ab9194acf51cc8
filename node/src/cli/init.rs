//! `init`: creates a group.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::api::groups::CreateGroupBody;
use crate::dto::CreatedGroup;
use crate::output::escape;

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Name of the group
    name: String,
}

pub(super) fn init(context: &CommandContext, args: InitArgs) -> CommandResult {
    let created: CreatedGroup = context.client.post("/v1/groups", &CreateGroupBody { name: args.name })?;
    context.print(&created, |created| format!("{}\n", created.id))?;
    if !context.json {
        print_stderr(&format!(
            "Created group `{}`. Its recovery key is in {}. Move it to another host.",
            escape(&created.name),
            escape(&created.recovery_key)
        ));
    }
    Ok(None)
}
