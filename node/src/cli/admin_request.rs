//! Sends an admin operation. Used by every command that changes the membership.

use std::path::Path;

use hyper::Method;
use serde::Serialize;

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::data_dir::read_text_file;
use crate::dto::WriteResult;
use crate::error::CliError;

/// The roles that a node can have.
pub(super) const ROLES: [&str; 4] = ["admin", "operator", "node", "reader"];

/// Sends one administrative request about something in the group, and prints `message` once it is done.
pub(super) fn send_admin_request(
    context: &CommandContext,
    (method, segments): (Method, &[&str]),
    body: &impl Serialize,
    message: &str,
) -> CommandResult {
    let written: WriteResult = context.client.send(method, &context.group_path(segments), body)?;
    context.print(&written, |_| String::new())?;
    if !context.json {
        print_stderr(message);
    }
    Ok(None)
}

pub(super) fn read_recovery_key(path: &Path) -> Result<String, CliError> {
    read_text_file(path).map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))
}
