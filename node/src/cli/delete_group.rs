//! `delete-group`: ends a group for all members.

use std::path::PathBuf;

use clap::Args;
use hyper::Method;

use super::admin_request::read_recovery_key;
use super::context::{CommandContext, CommandResult, print_stderr};
use super::write_request::MessageArgs;
use crate::api::admin::RecoveryKeyBody;
use crate::client::group_path;
use crate::dto::WriteResult;
use crate::error::CliError;

/// Arguments of `delete-group`.
#[derive(Debug, Args)]
pub(super) struct DeleteGroupArgs {
    /// Name of the group, as a confirmation
    name: String,
    /// File with the recovery key; needed unless this node created the group
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn delete_group(context: &CommandContext, args: DeleteGroupArgs) -> CommandResult {
    if context.group.as_ref().is_some_and(|group| *group != args.name) {
        return Err(CliError::usage("--group and NAME are different groups"));
    }
    let key = args.key.as_deref().map(read_recovery_key).transpose()?;
    let message = "The group is deleted. Nodes that are away learn this when they reconnect.";
    let body = RecoveryKeyBody { recovery_key: key, message: args.message_args.into_text() };
    let path = group_path(Some(&args.name), &[]);
    let written: WriteResult = context.client.send(Method::DELETE, &path, &body)?;
    context.print(&written, |_| String::new())?;
    if !context.json {
        print_stderr(message);
    }
    Ok(None)
}
