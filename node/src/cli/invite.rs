//! `invite`: makes, lists and revokes invite codes.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::api::members;
use crate::dto::{Acknowledged, CreatedInvite, InviteList, InviteState};
use crate::output::{Style, Table, plain_cell, pluralize, short_id, styled_cell};
use crate::time;

/// Arguments of `invite`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct InviteArgs {
    #[command(subcommand)]
    command: Option<InviteSubcommand>,
    /// Role of the new members
    #[arg(long, default_value = "operator", value_parser = super::admin_request::ROLES)]
    role: String,
    /// Number of nodes that can join with the code
    #[arg(long, default_value_t = 1, value_name = "N")]
    uses: u32,
    /// Time until the code expires, such as 30m, 1h or 7d
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = time::parse_duration)]
    expires: Duration,
}

#[derive(Debug, Subcommand)]
enum InviteSubcommand {
    /// List the invites that this node made
    List,
    /// Revoke an invite
    Revoke {
        /// Id or code of the invite
        invite: String,
    },
}

pub(super) fn invite(context: &CommandContext, args: InviteArgs) -> CommandResult {
    match args.command {
        None => create_invite(context, args),
        Some(InviteSubcommand::List) => {
            let invites: InviteList = context.client.get(&context.group_path(&["invites"]), &[])?;
            context.print(&invites, |invites| render_invites(context, invites))?;
            Ok(None)
        }
        Some(InviteSubcommand::Revoke { invite }) => {
            let done: Acknowledged = context.client.delete(&context.group_path(&["invites", &invite]))?;
            context.print(&done, |_| String::new())?;
            Ok(None)
        }
    }
}

fn create_invite(context: &CommandContext, args: InviteArgs) -> CommandResult {
    let seconds = i64::try_from(args.expires.as_secs()).unwrap_or(i64::MAX);
    let request = members::InviteBody { role: args.role, uses: args.uses, valid_seconds: seconds };
    let invited: CreatedInvite = context.client.post(&context.group_path(&["invites"]), &request)?;
    context.print(&invited, |invited| format!("{}\n", invited.code))?;
    if !context.json {
        print_stderr(&format!(
            "Valid for {} with the role {} until {}. Run `larder join CODE` on the new node.",
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
        let style = if invite.state == InviteState::Open { Style::Good } else { Style::Dim };
        table.push_row(vec![
            styled_cell(short_id(&invite.id), Style::Id),
            plain_cell(invite.role.as_str()),
            plain_cell(format!("{}/{}", invite.used, invite.uses)),
            styled_cell(invite.state.as_str(), style),
            plain_cell(time::local(invite.created.0)),
            plain_cell(time::local(invite.expires.0)),
        ]);
    }
    table.render(context.styler)
}
