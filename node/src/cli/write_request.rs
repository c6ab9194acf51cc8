//! Sends one atomic change. Used by every command that writes to the document.

use clap::Args;
use larder_core::resource::edit::{Edit, FieldEdit};
use larder_core::resource::{FieldPath, ResourceName};

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::api::writes::WriteBody;
use crate::dto::WriteResult;
use crate::error::CliError;
use crate::output::{Style, short_id};

/// Arguments of every writing command.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct MessageArgs {
    /// Reason for the change, kept in the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

impl MessageArgs {
    /// The text for the request. It is empty if none was given.
    pub(super) fn into_text(self) -> String {
        self.message.unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        self.message.clone().unwrap_or_default()
    }
}

/// Sends one change, and prints its id.
pub(super) fn send_edits(
    context: &CommandContext,
    edits: Vec<Edit>,
    message_args: MessageArgs,
    command: String,
) -> CommandResult {
    let write = WriteBody { edits, message: message_args.into_text(), command, ..WriteBody::default() };
    send_write(context, &write)
}

pub(super) fn send_write(context: &CommandContext, write: &WriteBody) -> CommandResult {
    print_written(context, &post_change(context, write)?)
}

pub(super) fn post_change(context: &CommandContext, write: &WriteBody) -> Result<WriteResult, CliError> {
    context.client.post(&context.group_path(&["changes"]), write)
}

/// Prints the id of a written change.
pub(super) fn print_written(context: &CommandContext, written: &WriteResult) -> CommandResult {
    let styler = context.styler;
    context.print(written, |written| match &written.change {
        Some(change) => format!("{}\n", styler.paint(Style::Id, &short_id(change))),
        None => String::new(),
    })?;
    if !context.json && written.change.is_none() {
        print_stderr("Nothing differs; nothing was written.");
    }
    Ok(None)
}

/// The edit that changes fields of a resource, on all nodes or on one.
pub(super) fn set_edit(
    resource: ResourceName,
    fields: Vec<(FieldPath, FieldEdit)>,
    node: Option<String>,
) -> Edit {
    match node {
        Some(node) => Edit::SetOnNode { node: node.into(), resource, fields },
        None => Edit::Set { resource, fields, replace: false },
    }
}

/// The outcome of a command that runs an editor.
pub(super) enum EditorOutcome {
    /// The change was written.
    Written(WriteResult),
    /// Nothing was written, for this reason.
    NotWritten(String),
}

/// Prints the outcome of a command that runs an editor.
pub(super) fn print_edited(context: &CommandContext, outcome: EditorOutcome) -> CommandResult {
    match outcome {
        EditorOutcome::Written(written) => print_written(context, &written),
        EditorOutcome::NotWritten(_) if context.json => print_written(context, &WriteResult { change: None }),
        EditorOutcome::NotWritten(reason) => {
            print_stderr(&reason);
            Ok(None)
        }
    }
}
