//! `set`: sets fields of a resource.

use clap::Args;
use larder_core::resource::ResourceName;
use larder_core::resource::edit::FieldEdit;
use larder_core::resource::literal::Literal;
use larder_core::resource::name::ResourceNameError;

use super::context::{CommandContext, CommandResult};
use super::write_request::{MessageArgs, send_write, set_edit};
use crate::api::writes::WriteBody;
use crate::error::CliError;

/// Arguments of `set`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder set config/ntp path=ntp.properties keys.server=ntp1.example.net
  larder set config/ntp keys.port:=123 --select role=gateway
  larder set file/motd content=@motd.txt -m \"new opening hours\"")]
pub(super) struct SetArgs {
    /// The resource, as KIND/NAME
    resource: String,
    /// F=TEXT, F:=TOML, F+=ITEM or F-=ITEM; @FILE as the value reads it from a file
    #[arg(required_unless_present = "select", value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Nodes that the resource applies to, such as role=plc
    #[arg(long, value_name = "EXPR")]
    select: Option<String>,
    /// Set the value for this node only
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Accept kinds and fields that this version does not know
    #[arg(long)]
    allow_unknown: bool,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn set(context: &CommandContext, args: SetArgs) -> CommandResult {
    let mut field_edits = args
        .fields
        .iter()
        .map(|field| super::assignment::parse_assignment(field))
        .collect::<Result<Vec<_>, _>>()?;
    let mut command = format!("set {}", args.resource);
    for field in &args.fields {
        command.push_str(&format!(" {}", super::assignment::redact_value(field)));
    }
    let resource: ResourceName =
        args.resource.parse().map_err(|error: ResourceNameError| CliError::usage(error.to_string()))?;
    let mut edits = Vec::new();
    if let Some(select) = &args.select {
        let value = FieldEdit::Assign(Literal::Scalar(select.as_str().into()));
        let field = (super::assignment::parse_field("select")?, value);
        command.push_str(&format!(" --select {select}"));
        if args.node.is_none() {
            field_edits.push(field);
        } else {
            edits.push(set_edit(resource.clone(), vec![field], None));
        }
    }
    if let Some(node) = &args.node {
        command.push_str(&format!(" --node {node}"));
    }
    edits.push(set_edit(resource, field_edits, args.node));
    send_write(
        context,
        &WriteBody {
            edits,
            message: args.message_args.into_text(),
            command,
            allow_unknown: args.allow_unknown,
            ..WriteBody::default()
        },
    )
}
