//! `unset`: removes fields of a resource.

use clap::Args;
use larder_core::resource::edit::FieldEdit;

use super::assignment::parse_field;
use super::context::{CommandContext, CommandResult};
use super::write_request::{MessageArgs, send_write, set_edit};
use crate::api::params::parse_resource;
use crate::api::writes::WriteBody;
use crate::error::CliError;

/// Arguments of `unset`.
#[derive(Debug, Args)]
pub(super) struct UnsetArgs {
    /// The resource, as KIND/NAME
    resource: String,
    /// Fields to remove
    #[arg(required = true, value_name = "FIELD")]
    fields: Vec<String>,
    /// Remove the value for this node only
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn unset(context: &CommandContext, args: UnsetArgs) -> CommandResult {
    let unset_field = |field: &String| Ok::<_, CliError>((parse_field(field)?, FieldEdit::Unset));
    let command = format!("unset {} {}", args.resource, args.fields.join(" "));
    let fields = args.fields.iter().map(unset_field).collect::<Result<_, _>>()?;
    let edits = vec![set_edit(parse_resource(&args.resource)?, fields, args.node)];
    // This version may remove a field that a newer version wrote.
    send_write(
        context,
        &WriteBody {
            edits,
            message: args.message_args.into_text(),
            command,
            allow_unknown: true,
            ..WriteBody::default()
        },
    )
}
