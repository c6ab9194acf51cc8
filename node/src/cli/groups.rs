//! `init`, `groups`, `invite`, `join`.

use std::time::Duration;

use clap::{Args, Subcommand};
use larder_core::wire::invite_code::InviteCode;

use super::join_requests::{PairingOptions, join_by_pairing};
use super::{CommandContext, CommandResult, print_stderr};
use crate::api::groups::CreateGroupBody;
use crate::api::join_requests::PairingBody;
use crate::api::members;
use crate::dto::{Acknowledged, CreatedGroup, CreatedInvite, GroupList, InviteList, JoinedGroup};
use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::output::{Style, Table, escape, plain_cell, pluralize, short_id, styled_cell};
use crate::time;

/// Flags of `init`.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// What to call the group
    name: String,
}

/// Flags of `invite`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct InviteArgs {
    #[command(subcommand)]
    command: Option<InviteSubcommand>,
    /// What the invited may do: admin, operator, node or reader
    #[arg(long, default_value = "operator")]
    role: String,
    /// For how many nodes
    #[arg(long, default_value_t = 1, value_name = "N")]
    uses: u32,
    /// For how long, as 30m, 1h, 7d
    #[arg(long, default_value = "1h", value_name = "DUR")]
    expires: String,
}

#[derive(Debug, Subcommand)]
enum InviteSubcommand {
    /// List the invites made on this node
    List,
    /// End an invite
    Revoke {
        /// Its id, or the code itself
        invite: String,
    },
}

/// Flags of `join`.
#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// The code, as `larder invite` printed it; without one, every admin on the network is asked
    #[arg(num_args = 0.., value_name = "CODE")]
    code: Vec<String>,
    /// Without a code: the six digits that the screen shows where this node is let in
    #[arg(long, value_name = "N")]
    digits: Option<String>,
    /// What this node is to be called
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// A label of this node (repeatable)
    #[arg(long, value_name = "K=V")]
    label: Vec<String>,
    /// How long to wait, in seconds; the daemon keeps trying after that
    #[arg(long, value_name = "S", default_value_t = limits::JOIN_TIMEOUT.as_secs())]
    timeout: u64,
}

pub(super) fn init(context: &CommandContext, args: InitArgs) -> CommandResult {
    let created: CreatedGroup = context.client.post("/v1/groups", &CreateGroupBody { name: args.name })?;
    context.print(&created, |created| format!("{}\n", created.id))?;
    if !context.json {
        print_stderr(&format!(
            "Group `{}` is founded. Its recovery key is in {}: move it off this machine.",
            escape(&created.name),
            escape(&created.recovery_key)
        ));
    }
    Ok(None)
}

pub(super) fn list_groups(context: &CommandContext) -> CommandResult {
    context.require_present("groups")?;
    let groups: GroupList = context.client.get("/v1/groups", &[])?;
    context.print(&groups, |groups| render_groups(context, groups))?;
    if !context.json && groups.groups.is_empty() && groups.joining.is_empty() {
        print_stderr(
            "This node is in no group. Found one with `larder init NAME`, or join one with `larder join CODE`.",
        );
    }
    Ok(None)
}

fn render_groups(context: &CommandContext, groups: &GroupList) -> String {
    if groups.groups.is_empty() && groups.joining.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "NAME", "ROLE", "NODES", "CHANGES", "STATE"]);
    for group in &groups.groups {
        table.push_row(vec![
            styled_cell(short_id(&group.id), Style::Id),
            plain_cell(&group.name),
            plain_cell(group.role.as_deref().unwrap_or_default()),
            plain_cell(group.members.to_string()),
            plain_cell(group.changes.to_string()),
            match group.status.as_str() {
                "" | "member" if group.paused => styled_cell("paused", Style::Warning),
                "" | "member" => plain_cell(""),
                status => styled_cell(status, Style::Warning),
            },
        ]);
    }
    for joining in &groups.joining {
        let state = match &joining.waiting_for {
            Some(issuer) => format!("joining: waiting for {issuer}"),
            None => "joining: looking for a member".to_owned(),
        };
        let id = styled_cell(short_id(&joining.id), Style::Id);
        table.push_row(vec![
            id,
            plain_cell(""),
            plain_cell(""),
            plain_cell(""),
            plain_cell(""),
            styled_cell(state, Style::Warning),
        ]);
    }
    table.render(context.styler)
}

pub(super) fn invite(context: &CommandContext, args: InviteArgs) -> CommandResult {
    context.require_present("invite")?;
    match args.command {
        None => create_invite(context, args),
        Some(InviteSubcommand::List) => {
            let invites: InviteList = context.client.get("/v1/invites", &[context.group_param()])?;
            context.print(&invites, |invites| render_invites(context, invites))?;
            Ok(None)
        }
        Some(InviteSubcommand::Revoke { invite }) => {
            let mut path = "/v1/invites/".to_owned();
            crate::client::percent_encode(&invite, &mut path);
            let done: Acknowledged = context.client.delete(&path, &[context.group_param()])?;
            context.print(&done, |_| String::new())?;
            Ok(None)
        }
    }
}

fn create_invite(context: &CommandContext, args: InviteArgs) -> CommandResult {
    let seconds = time::parse_duration(&args.expires)?;
    let group = context.group.clone();
    let request = members::InviteBody { group, role: args.role, uses: args.uses, valid_seconds: seconds };
    let invited: CreatedInvite = context.client.post("/v1/invites", &request)?;
    context.print(&invited, |invited| format!("{}\n", invited.code))?;
    if !context.json {
        print_stderr(&format!(
            "Good for {} as {} until {}. On the other machine: larder join CODE",
            pluralize(invited.uses as usize, "node"),
            invited.role,
            time::local(invited.expires.0)
        ));
    }
    Ok(None)
}

fn render_invites(context: &CommandContext, invites: &InviteList) -> String {
    if invites.invites.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "ROLE", "USED", "STATE", "CREATED", "EXPIRES"]);
    for invite in &invites.invites {
        let style = if invite.state == "open" { Style::Good } else { Style::Dim };
        table.push_row(vec![
            styled_cell(short_id(&invite.id), Style::Id),
            plain_cell(&invite.role),
            plain_cell(format!("{}/{}", invite.used, invite.uses)),
            styled_cell(&invite.state, style),
            plain_cell(time::local(invite.created.0)),
            plain_cell(time::local(invite.expires.0)),
        ]);
    }
    table.render(context.styler)
}

pub(super) fn join(context: &CommandContext, args: JoinArgs) -> CommandResult {
    context.require_present("join")?;
    let labels = args.label.iter().map(|label| parse_label(label)).collect::<Result<_, _>>()?;
    if args.code.is_empty() {
        let request = PairingBody { alias: args.alias, labels };
        return join_by_pairing(
            context,
            PairingOptions { request, digits: args.digits, timeout: Duration::from_secs(args.timeout) },
        );
    }
    // A code that was read aloud may have been typed with spaces.
    let typed_code = args.code.join("-");
    let code: InviteCode =
        typed_code.parse().map_err(|error: larder_core::wire::invite_code::InviteCodeError| {
            CliError::new(ExitKind::Usage, "mistyped", error.to_string())
                .with_hint("compare it with the one that was given to you")
        })?;
    let timeout = Duration::from_secs(args.timeout);
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let request = members::JoinBody { code: code.to_string(), alias: args.alias, labels, timeout_ms };
    let joined: JoinedGroup = context.client.post_with_timeout(
        "/v1/join",
        &request,
        timeout.saturating_add(limits::RESPONSE_TIMEOUT),
    )?;
    context.print(&joined, |joined| format!("{}\n", joined.id))?;
    if !context.json {
        print_stderr(&format!("This node is in group `{}` as {}.", escape(&joined.name), joined.role));
    }
    Ok(None)
}

fn parse_label(text: &str) -> Result<(String, String), CliError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(CliError::usage(format!("`{text}` is not a label: expected KEY=VALUE"))),
    }
}
