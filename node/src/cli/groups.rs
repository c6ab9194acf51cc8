//! `init`, `groups`, `invite`, `join`.

use std::time::Duration;

use clap::{Args, Subcommand};
use larder_core::wire::code::Code;

use super::entry::{Seek, seek};
use super::{Context, Outcome, talk};
use crate::api::entry::Ask;
use crate::api::groups::Found;
use crate::api::members;
use crate::failure::{Exit, Failure};
use crate::limits;
use crate::render::{Style, Table, cell, clean, count, plain, short};
use crate::time;
use crate::view::{Done, Founded, Groups, Invited, Invites, Joined};

/// Flags of `init`.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// What to call the group
    name: String,
}

/// Flags of `invite`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Invite {
    #[command(subcommand)]
    command: Option<InviteCommand>,
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
enum InviteCommand {
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
pub(super) struct Join {
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
    #[arg(long, value_name = "S", default_value_t = limits::JOIN.as_secs())]
    timeout: u64,
}

pub(super) fn init(context: &Context, args: Init) -> Outcome {
    let founded: Founded = context.client.post("/v1/groups", &Found { name: args.name })?;
    context.print(&founded, |founded| format!("{}\n", founded.id))?;
    if !context.json {
        talk(&format!(
            "Group `{}` is founded. Its recovery key is in {}: move it off this machine.",
            clean(&founded.name),
            clean(&founded.recovery_key)
        ));
    }
    Ok(None)
}

pub(super) fn list(context: &Context) -> Outcome {
    context.only_now("groups")?;
    let groups: Groups = context.client.get("/v1/groups", &[])?;
    context.print(&groups, |groups| draw_groups(context, groups))?;
    if !context.json && groups.groups.is_empty() && groups.joining.is_empty() {
        talk(
            "This node is in no group. Found one with `larder init NAME`, or join one with `larder join CODE`.",
        );
    }
    Ok(None)
}

fn draw_groups(context: &Context, groups: &Groups) -> String {
    if groups.groups.is_empty() && groups.joining.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "NAME", "ROLE", "NODES", "CHANGES", "STATE"]);
    for group in &groups.groups {
        table.row(vec![
            cell(short(&group.id), Style::Id),
            plain(&group.name),
            plain(group.role.as_deref().unwrap_or_default()),
            plain(group.members.to_string()),
            plain(group.changes.to_string()),
            match group.standing.as_str() {
                "" | "member" if group.paused => cell("paused", Style::Care),
                "" | "member" => plain(""),
                standing => cell(standing, Style::Care),
            },
        ]);
    }
    for join in &groups.joining {
        let state = match &join.waiting_for {
            Some(issuer) => format!("joining: waiting for {issuer}"),
            None => "joining: looking for a member".to_owned(),
        };
        let id = cell(short(&join.id), Style::Id);
        table.row(vec![id, plain(""), plain(""), plain(""), plain(""), cell(state, Style::Care)]);
    }
    table.draw(context.pen)
}

pub(super) fn invite(context: &Context, args: Invite) -> Outcome {
    context.only_now("invite")?;
    match args.command {
        None => make_invite(context, args),
        Some(InviteCommand::List) => {
            let invites: Invites = context.client.get("/v1/invites", &[context.group()])?;
            context.print(&invites, |invites| draw_invites(context, invites))?;
            Ok(None)
        }
        Some(InviteCommand::Revoke { invite }) => {
            let mut path = "/v1/invites/".to_owned();
            crate::client::encode(&invite, &mut path);
            let done: Done = context.client.delete(&path, &[context.group()])?;
            context.print(&done, |_| String::new())?;
            Ok(None)
        }
    }
}

fn make_invite(context: &Context, args: Invite) -> Outcome {
    let seconds = time::parse_duration(&args.expires)?;
    let group = context.group.clone();
    let invite = members::Invite { group, role: args.role, uses: args.uses, seconds };
    let invited: Invited = context.client.post("/v1/invites", &invite)?;
    context.print(&invited, |invited| format!("{}\n", invited.code))?;
    if !context.json {
        talk(&format!(
            "Good for {} as {} until {}. On the other machine: larder join CODE",
            count(invited.uses as usize, "node"),
            invited.role,
            time::local(invited.expires.0)
        ));
    }
    Ok(None)
}

fn draw_invites(context: &Context, invites: &Invites) -> String {
    if invites.invites.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "ROLE", "USED", "STATE", "CREATED", "EXPIRES"]);
    for invite in &invites.invites {
        let style = if invite.state == "open" { Style::Good } else { Style::Dim };
        table.row(vec![
            cell(short(&invite.id), Style::Id),
            plain(&invite.role),
            plain(format!("{}/{}", invite.used, invite.uses)),
            cell(&invite.state, style),
            plain(time::local(invite.created.0)),
            plain(time::local(invite.expires.0)),
        ]);
    }
    table.draw(context.pen)
}

pub(super) fn join(context: &Context, args: Join) -> Outcome {
    context.only_now("join")?;
    let labels = args.label.iter().map(|label| split_label(label)).collect::<Result<_, _>>()?;
    if args.code.is_empty() {
        let ask = Ask { alias: args.alias, labels };
        return seek(context, Seek { ask, digits: args.digits, within: Duration::from_secs(args.timeout) });
    }
    // A code that was read aloud may have been typed with spaces.
    let code = args.code.join("-");
    let code: Code = code.parse().map_err(|error: larder_core::wire::code::CodeError| {
        Failure::new(Exit::Usage, "mistyped", error.to_string())
            .hint("compare it with the one that was given to you")
    })?;
    let wait = Duration::from_secs(args.timeout);
    let timeout_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let join = members::Join { code: code.to_string(), alias: args.alias, labels, timeout_ms };
    let joined: Joined =
        context.client.post_within("/v1/join", &join, wait.saturating_add(limits::ANSWER))?;
    context.print(&joined, |joined| format!("{}\n", joined.id))?;
    if !context.json {
        talk(&format!("This node is in group `{}` as {}.", clean(&joined.name), joined.role));
    }
    Ok(None)
}

fn split_label(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::usage(format!("`{text}` is not a label: expected KEY=VALUE"))),
    }
}
