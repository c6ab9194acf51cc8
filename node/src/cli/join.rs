//! `join`: enters a group with an invite code.

mod pairing;

use std::time::Duration;

use clap::Args;
use larder_core::wire::invite_code::InviteCode;
use pairing::{PairingOptions, join_by_pairing};

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::api::join_requests::PairingBody;
use crate::api::members;
use crate::dto::JoinedGroup;
use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::output::escape;
use crate::time;

/// Arguments of `join`.
#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// Invite code from `larder invite`; without one, the admins on the LAN get a request
    #[arg(num_args = 0.., value_name = "CODE")]
    code: Vec<String>,
    /// Without a code: the six digits that the admin's screen shows
    #[arg(long, value_name = "N")]
    digits: Option<String>,
    /// Alias of this node
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Label of this node (repeatable)
    #[arg(long, value_name = "K=V")]
    label: Vec<String>,
    /// Time to wait; the daemon keeps trying afterwards
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    #[arg(default_value = limits::JOIN_TIMEOUT)]
    timeout: Duration,
}

pub(super) fn join(context: &CommandContext, args: JoinArgs) -> CommandResult {
    let labels = args.label.iter().map(|label| parse_label(label)).collect::<Result<_, _>>()?;
    if args.code.is_empty() {
        let request = PairingBody { alias: args.alias, labels };
        return join_by_pairing(
            context,
            PairingOptions { request, digits: args.digits, timeout: args.timeout },
        );
    }
    // A code that was dictated may contain spaces.
    let typed_code = args.code.join("-");
    let code: InviteCode =
        typed_code.parse().map_err(|error: larder_core::wire::invite_code::InviteCodeError| {
            CliError::new(ExitKind::Usage, "mistyped", error.to_string())
                .with_hint("compare it with the code that you were given")
        })?;
    let timeout_ms = u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX);
    let request = members::JoinBody { code: code.to_string(), alias: args.alias, labels, timeout_ms };
    let joined: JoinedGroup = context.client.post_with_timeout(
        "/v1/joins",
        &request,
        args.timeout.saturating_add(limits::RESPONSE_TIMEOUT),
    )?;
    context.print(&joined, |joined| format!("{}\n", joined.id))?;
    if !context.json {
        print_stderr(&format!(
            "This node is now in group `{}` with the role {}.",
            escape(&joined.name),
            joined.role
        ));
    }
    Ok(None)
}

fn parse_label(text: &str) -> Result<(String, String), CliError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(CliError::usage(format!("`{text}` is not a label: expected KEY=VALUE"))),
    }
}
