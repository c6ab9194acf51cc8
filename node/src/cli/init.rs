//! `init`: creates a group.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::api::groups::CreateGroupBody;
use crate::dto::CreatedGroup;
use crate::output::escape;

/// Flags of `init`.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// What to call the group
    name: String,
}

pub(super) fn init(context: &CommandContext, args: InitArgs) -> CommandResult {
    let created: CreatedGroup = context.client.post("/v1/groups", &CreateGroupBody { name: args.name })?;
    context.print(&created, |created| format!("{}\n", created.id))?;
    if !context.json {
        print_stderr(&format!(
            "Group `{}` is founded. Its recovery key is in {}: move it off this machine.",
            escape(&created.name),
            escape(&created.recovery_key)
        ));
    }
    Ok(None)
}
