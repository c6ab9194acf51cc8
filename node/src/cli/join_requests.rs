//! `pending`, `approve`, `deny`, and `join` without a code.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::{Duration, Instant};

use clap::Args;

use super::admin::send_admin_op;
use super::write_request::MessageArgs;
use super::{CommandContext, CommandResult, print_stderr};
use crate::api::admin::AdminAction;
use crate::api::join_requests::{ConfirmPairingBody, DenyBody as DenyOf, PairingBody};
use crate::dto::{Acknowledged, PairingStatus, PendingList};
use crate::error::{CliError, ExitKind};
use crate::output::{Style, Table, escape, plain_cell, short_id, styled_cell};
use crate::time;

/// Flags of `approve`.
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// Id of the machine, or the alias that it asks for
    node: String,
    /// What it may do: admin, operator, node or reader
    #[arg(long)]
    role: String,
    /// The six digits that its screen shows [default: asked for on a terminal]
    #[arg(long, value_name = "N")]
    digits: Option<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `deny`.
#[derive(Debug, Args)]
pub(super) struct DenyArgs {
    /// Id of the machine, or the alias that it asks for
    node: String,
}

pub(super) fn pending(context: &CommandContext) -> CommandResult {
    context.require_present("pending")?;
    let pending: PendingList = context.client.get("/v1/pending", &[context.group_param()])?;
    context.print(&pending, |pending| render_pending(context, pending))?;
    if !context.json {
        match pending.pending.is_empty() {
            true => print_stderr("No machine asks to be let in."),
            false => print_stderr(
                "Compare the digits with those on its screen, then: larder approve ID --role ROLE. Or: larder deny ID",
            ),
        }
    }
    Ok(None)
}

fn render_pending(context: &CommandContext, pending: &PendingList) -> String {
    if pending.pending.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "ALIAS", "DIGITS", "SINCE", "LABELS", "ADDRESS", "STATE"]);
    for row in &pending.pending {
        let labels: Vec<String> = row.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let state = match &row.waiting_for {
            Some(issuer) => format!("came with a code of {issuer}, who is away"),
            None => "asks without a code".to_owned(),
        };
        table.push_row(vec![
            styled_cell(short_id(&row.id), Style::Id),
            plain_cell(&row.alias),
            styled_cell(row.digits.as_deref().unwrap_or_default(), Style::Bold),
            plain_cell(row.since.map(|since| time::local(since.0)).unwrap_or_default()),
            plain_cell(labels.join(" ")),
            plain_cell(row.addrs.first().map(String::as_str).unwrap_or_default()),
            styled_cell(state, Style::Dim),
        ]);
    }
    table.render(context.styler)
}

pub(super) fn approve(context: &CommandContext, args: ApproveArgs) -> CommandResult {
    context.require_present("approve")?;
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

fn prompt_line(prompt: &str) -> Result<String, CliError> {
    use std::io::Write as _;
    let mut err = std::io::stderr().lock();
    drop(write!(err, "{prompt}").and_then(|()| err.flush()));
    let mut line = String::new();
    let read_result = std::io::stdin().lock().read_line(&mut line);
    read_result.map_err(|error| CliError::failed(format!("cannot read the digits: {error}")))?;
    Ok(line.trim().to_owned())
}

pub(super) fn deny(context: &CommandContext, args: DenyArgs) -> CommandResult {
    context.require_present("deny")?;
    let request = DenyOf { group: context.group.clone(), node: args.node };
    let done: Acknowledged = context.client.post("/v1/deny", &request)?;
    context.print(&done, |_| String::new())?;
    Ok(None)
}

/// What `join` without a code was asked for.
pub(super) struct PairingOptions {
    pub(super) request: PairingBody,
    pub(super) digits: Option<String>,
    pub(super) timeout: Duration,
}

/// Asks every node on the network to be let in.
pub(super) fn join_by_pairing(context: &CommandContext, options: PairingOptions) -> CommandResult {
    let started_at = Instant::now();
    let _: Acknowledged = context.client.post("/v1/ask", &options.request)?;
    let (mut printed, mut is_confirmed, mut cursor) = (Vec::new(), false, None::<String>);
    loop {
        let pairing: PairingStatus = context.client.get("/v1/ask", &[("seen", cursor.as_deref())])?;
        if let Some(joined) = pairing.joined {
            context.print(&joined, |joined| format!("{}\n", joined.id))?;
            if !context.json {
                print_stderr(&format!(
                    "This node is in group `{}` as {}.",
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
            let _: Acknowledged = context.client.post("/v1/agree", &ConfirmPairingBody { digits })?;
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
        true => format!("{} said no.", short_id(&peer.id)),
        false => format!(
            "{} heard this node. Digits: {}   There: larder pending, larder approve",
            short_id(&peer.id),
            peer.digits
        ),
    };
    print_stderr(&text);
}

/// The digits of the other screen, once a member has heard: given with the command, or asked for on a terminal. What this
/// screen shows is never offered as the answer.
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
    prompt_line("Digits on the screen where this node is let in: ").map(Some)
}

/// Why nobody let it in within its time.
fn pairing_timeout(pairing: &PairingStatus, given: Option<&str>, is_confirmed: bool) -> CliError {
    let hint = "this node goes on asking for ten minutes; see `larder pending` on a member that is an admin";
    if pairing.peers.is_empty() {
        return CliError::new(ExitKind::Partial, "waiting", "no admin was heard on this network")
            .with_hint(hint);
    }
    if pairing.peers.iter().all(|peer| peer.denied) {
        return CliError::new(ExitKind::Refused, "denied", "whoever heard this node said no");
    }
    match (given, is_confirmed) {
        (Some(_), false) => {
            CliError::new(ExitKind::Refused, "digits", "no member shows the digits that were given")
                .with_hint("compare both screens again: if both were read right, somebody is in between")
        }
        _ => CliError::new(ExitKind::Partial, "waiting", "nobody let it in yet").with_hint(hint),
    }
}
