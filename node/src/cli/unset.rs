//! `unset`: removes fields of a resource.

use clap::Args;

use super::context::{CommandContext, CommandResult};
use super::write_request::{MessageArgs, send_write, set_edit};
use crate::api::writes::{FieldEditSpec, FieldSpec, WriteBody};

/// Flags of `unset`.
#[derive(Debug, Args)]
pub(super) struct UnsetArgs {
    /// KIND/NAME
    resource: String,
    /// The fields
    #[arg(required = true, value_name = "FIELD")]
    fields: Vec<String>,
    /// For this node only
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn unset(context: &CommandContext, args: UnsetArgs) -> CommandResult {
    let unset_field = |field: &String| FieldSpec { path: field.clone(), edit: FieldEditSpec::Unset(()) };
    let command = format!("unset {} {}", args.resource, args.fields.join(" "));
    let fields = args.fields.iter().map(unset_field).collect();
    let edits = vec![set_edit(args.resource, fields, args.node, true)];
    // A field that a newer version wrote may be unset by this one.
    send_write(
        context,
        WriteBody {
            specs: edits,
            message: args.message_args.into_text(),
            command,
            allow_unknown: true,
            ..WriteBody::default()
        },
    )
}
