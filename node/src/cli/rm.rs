//! `rm`: removes resources.

use clap::Args;

use super::context::{CommandContext, CommandResult};
use super::write_request::{MessageArgs, send_edits};
use crate::api::writes::EditSpec;

/// Arguments of `rm`.
#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// The resources, as KIND/NAME
    #[arg(required = true, value_name = "RESOURCE")]
    resources: Vec<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn rm(context: &CommandContext, args: RmArgs) -> CommandResult {
    let command = format!("rm {}", args.resources.join(" "));
    send_edits(
        context,
        args.resources.into_iter().map(EditSpec::Remove).collect(),
        args.message_args,
        command,
    )
}
