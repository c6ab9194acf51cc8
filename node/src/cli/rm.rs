//! `rm`: removes resources.

use clap::Args;
use larder_core::resource::edit::Edit;

use super::context::{CommandContext, CommandResult};
use super::write_request::{MessageArgs, send_edits};
use crate::api::params::parse_resource;

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
    let remove = |resource: &String| parse_resource(resource).map(Edit::Remove);
    let edits = args.resources.iter().map(remove).collect::<Result<_, _>>()?;
    send_edits(context, edits, args.message_args, command)
}
