//! `approve`: admits a node.

use std::io::IsTerminal as _;

use clap::Args;

use super::admin_request::{ROLES, send_admin_op};
use super::context::{CommandContext, CommandResult};
use super::prompt::prompt_line;
use super::write_request::MessageArgs;
use crate::api::admin::AdminAction;
use crate::dto::PendingList;
use crate::error::CliError;
use crate::output::escape;

/// Flags of `approve`.
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// Id of the machine, or the alias that it asks for
    node: String,
    /// What it may do: admin, operator, node or reader
    #[arg(long, value_parser = ROLES)]
    role: String,
    /// The six digits that its screen shows [default: asked for on a terminal]
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
    let message = format!("{} is let in as {}.", escape(&args.node), escape(&args.role));
    send_admin_op(
        context,
        AdminAction::Approve { node: args.node, role: args.role, digits },
        args.message_args,
        &message,
    )
}

/// On a terminal, what the other screen shows. A machine that came with a code is known by its id alone.
fn prompt_for_digits(context: &CommandContext, node: &str) -> Result<Option<String>, CliError> {
    let pending: PendingList = context.client.get("/v1/pending", &[context.group_param()])?;
    let matches_node = |id: &str, alias: &str| id.starts_with(&node.to_ascii_lowercase()) || alias == node;
    let has_code =
        pending.pending.iter().any(|row| matches_node(&row.id, &row.alias) && row.waiting_for.is_some());
    if has_code {
        return Ok(None);
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage("a machine that asks without a code is let in by --digits N")
            .with_hint("N is what `larder join` shows on its screen"));
    }
    prompt_line("Digits on the screen of the machine that asks: ").map(Some)
}
