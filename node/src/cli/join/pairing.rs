//! `join` without a code: both screens show the same six digits.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use hyper::Method;

use crate::api::join_requests::{ConfirmPairingBody, PairingBody};
use crate::cli::context::{CommandContext, CommandResult, print_stderr};
use crate::cli::prompt::prompt_line;
use crate::dto::{Acknowledged, PairingStatus};
use crate::error::{CliError, ExitKind};
use crate::output::{escape, short_id};

/// The arguments of `join` without an invite code.
pub(super) struct PairingOptions {
    pub(super) request: PairingBody,
    pub(super) digits: Option<String>,
    pub(super) timeout: Duration,
}

/// Sends a join request to every node on the LAN, and waits until an admin accepts it.
pub(super) fn join_by_pairing(context: &CommandContext, options: PairingOptions) -> CommandResult {
    let started_at = Instant::now();
    let _: Acknowledged = context.client.post("/v1/pairing", &options.request)?;
    let (mut printed, mut is_confirmed, mut cursor) = (Vec::new(), false, None::<String>);
    loop {
        let pairing: PairingStatus = context.client.get("/v1/pairing", &[("seen", cursor.as_deref())])?;
        if let Some(joined) = pairing.joined {
            context.print(&joined, |joined| format!("{}\n", joined.id))?;
            if !context.json {
                print_stderr(&format!(
                    "This node is now in group `{}` with the role {}.",
                    escape(&joined.name),
                    joined.role
                ));
            }
            return Ok(None);
        }
        for peer in &pairing.peers {
            let entry = (peer.id.clone(), peer.digits.clone(), peer.denied);
            if !printed.contains(&entry) {
                print_pairing_peer(peer);
                printed.push(entry);
            }
        }
        let undecided: Vec<_> = pairing.peers.iter().filter(|peer| !peer.denied).collect();
        if !is_confirmed && let Some(digits) = confirmed_digits(options.digits.as_deref(), &undecided)? {
            let _: Acknowledged =
                context.client.send(Method::PUT, "/v1/pairing/digits", &ConfirmPairingBody { digits })?;
            is_confirmed = true;
        }
        if started_at.elapsed() >= options.timeout {
            return Err(pairing_timeout(&pairing, options.digits.as_deref(), is_confirmed));
        }
        cursor = Some(pairing.version);
    }
}

fn print_pairing_peer(peer: &crate::dto::PairingPeerEntry) {
    let text = match peer.denied {
        true => format!("{} rejected the request.", short_id(&peer.id)),
        false => format!(
            "{} has the request. Digits: {}   Run `larder approve` there.",
            short_id(&peer.id),
            peer.digits
        ),
    };
    print_stderr(&text);
}

/// The digits of the other screen, from `--digits` or from a prompt. The operator must type them, so
/// that both screens are really compared.
fn confirmed_digits(
    given: Option<&str>,
    undecided: &[&crate::dto::PairingPeerEntry],
) -> Result<Option<String>, CliError> {
    if undecided.is_empty() {
        return Ok(None);
    }
    if let Some(given) = given {
        let typed_digits: String = given.chars().filter(char::is_ascii_digit).collect();
        return Ok(undecided.iter().any(|peer| peer.digits == typed_digits).then_some(typed_digits));
    }
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    prompt_line("Digits on the admin's screen: ").map(Some)
}

/// The error after the timeout.
fn pairing_timeout(pairing: &PairingStatus, given: Option<&str>, is_confirmed: bool) -> CliError {
    let hint = "the daemon repeats the request for ten minutes; run `larder pending` on an admin node";
    if pairing.peers.is_empty() {
        return CliError::new(ExitKind::Partial, "waiting", "no admin on this LAN has answered")
            .with_hint(hint);
    }
    if pairing.peers.iter().all(|peer| peer.denied) {
        return CliError::new(ExitKind::Refused, "denied", "every admin that answered rejected the request");
    }
    match (given, is_confirmed) {
        (Some(_), false) => {
            CliError::new(ExitKind::Refused, "digits", "the digits do not match those of any admin")
                .with_hint(
                    "compare both screens again; if they differ, someone may be intercepting the connection",
                )
        }
        _ => CliError::new(ExitKind::Partial, "waiting", "no admin has accepted the request yet")
            .with_hint(hint),
    }
}
