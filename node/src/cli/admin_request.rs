//! Sends an admin operation. Used by every command that changes the membership.

use std::path::Path;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::write_request::MessageArgs;
use crate::api::admin::{AdminAction, AdminBody};
use crate::data_dir::read_text_file;
use crate::dto::WriteResult;
use crate::error::CliError;

/// The roles that a node can have.
pub(super) const ROLES: [&str; 4] = ["admin", "operator", "node", "reader"];

/// Sends one admin operation, and prints `message` once it is written.
pub(super) fn send_admin_op(
    context: &CommandContext,
    op: AdminAction,
    message_args: MessageArgs,
    message: &str,
) -> CommandResult {
    let request = AdminBody { group: context.group.clone(), action: op, message: message_args.into_text() };
    let written: WriteResult = context.client.post("/v1/govern", &request)?;
    context.print(&written, |_| String::new())?;
    if !context.json {
        print_stderr(message);
    }
    Ok(None)
}

pub(super) fn read_recovery_key(path: &Path) -> Result<String, CliError> {
    read_text_file(path).map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))
}
