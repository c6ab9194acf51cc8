//! `approve`: admits a node.

use std::io::IsTerminal as _;

use clap::Args;
use hyper::Method;
use larder_core::node::{NameKind, name_lookup};

use super::admin_request::{ROLES, send_admin_request};
use super::context::{CommandContext, CommandResult};
use super::prompt::prompt_line;
use super::write_request::MessageArgs;
use crate::api::admin::ApproveBody;
use crate::dto::PendingList;
use crate::error::CliError;
use crate::output::escape;

/// Arguments of `approve`.
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// Id of the node, or the alias that it requests
    node: String,
    /// Role of the new member
    #[arg(long, value_parser = ROLES)]
    role: String,
    /// The six digits that `larder join` shows on the new node [default: ask for them]
    #[arg(long, value_name = "N")]
    digits: Option<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn approve(context: &CommandContext, args: ApproveArgs) -> CommandResult {
    let digits = match args.digits {
        Some(digits) => Some(digits),
        None => prompt_for_digits(context, &args.node)?,
    };
    let message = format!("{} is now a member with the role {}.", escape(&args.node), escape(&args.role));
    let body = ApproveBody { role: args.role, digits, message: args.message_args.into_text() };
    let target = ["join-requests", &args.node, "approval"];
    send_admin_request(context, (Method::POST, &target), &body, &message)
}

/// Asks for the digits that the other screen shows. A node that joins with an invite code needs none.
fn prompt_for_digits(context: &CommandContext, node: &str) -> Result<Option<String>, CliError> {
    let pending: PendingList = context.client.get(&context.group_path(&["join-requests"]), &[])?;
    let rows = pending.pending.iter().map(|row| (row.id.as_str(), Some(row.alias.clone())));
    let id = name_lookup::unique(NameKind::JoinRequest, node, rows)?;
    let has_code = pending.pending.iter().any(|row| row.id == id && row.waiting_for.is_some());
    if has_code {
        return Ok(None);
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage(
            "this node joins without an invite code: give its digits with --digits N",
        )
        .with_hint("`larder join` shows the digits on the new node"));
    }
    prompt_line("Digits on the screen of the new node: ").map(Some)
}
