//! `label`: the labels of a node.

use clap::Args;
use larder_core::resource::edit::Edit;

use super::context::{CommandContext, CommandResult};
use super::write_request::{MessageArgs, send_edits};
use crate::error::CliError;

/// Arguments of `label`.
#[derive(Debug, Args)]
pub(super) struct LabelArgs {
    /// Alias or id of the node
    node: String,
    /// K=V sets a label, K- removes it
    #[arg(required = true, value_name = "K=V|K-", allow_hyphen_values = false)]
    labels: Vec<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn label(context: &CommandContext, args: LabelArgs) -> CommandResult {
    let parse_label = |text: &String| match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => Err(CliError::usage(format!("`{text}` is not a label: write KEY=VALUE, or KEY- to remove it"))),
    };
    let labels = args.labels.iter().map(parse_label).collect::<Result<_, _>>()?;
    let command = format!("label {} {}", args.node, args.labels.join(" "));
    send_edits(context, vec![Edit::SetLabels(args.node.into(), labels)], args.message_args, command)
}
