//! Members: who there is, and how others get in.

use std::time::Duration;

use axum::extract::{Path, State};
use larder_core::id::{GroupId, InviteId};
use larder_core::machine::{Answer, Machine, Membership, Request};
use larder_core::record::Role;
use larder_core::wire::code::Code;
use serde::{Deserialize, Serialize};

use super::names::{self, Which};
use super::{Api, Body, Query, Reply, Shown};
use crate::daemon::{Handle, wall};
use crate::failure::{Exit, Failure};
use crate::limits;
use crate::view::{Done, InviteRow, Invited, Invites, Joined, NodeRow, Nodes, Ping, Time};

/// What `invite` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invite {
    /// Into which group.
    pub group: Option<String>,
    /// With which role.
    pub role: String,
    /// For how many.
    pub uses: u32,
    /// For how long, in seconds from now.
    pub seconds: i64,
}

/// What `join` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Join {
    /// The code.
    pub code: String,
    /// What to be called.
    pub alias: Option<String>,
    /// The labels to ask for.
    pub labels: Vec<(String, String)>,
    /// How long to wait, in milliseconds.
    pub timeout_ms: u64,
}

/// What `ping` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PingOf {
    /// In which group.
    pub group: Option<String>,
    /// Whom.
    pub node: String,
}

pub(super) async fn nodes(State(api): State<Api>, Query(which): Query<Which>) -> Reply<Nodes> {
    api.handle.look(move |machine| read(machine, &which)).await?.map(Shown)
}

fn read(machine: &Machine, which: &Which) -> Result<Nodes, Failure> {
    let mut warnings = Vec::new();
    let mut nodes: Vec<NodeRow> = match names::group(machine, which.group.as_deref()) {
        Ok(group) => {
            let of = machine.group(&group).ok_or_else(|| Failure::failed("the group is gone"))?;
            warnings = super::warnings::warnings(machine, of);
            machine.members(of).into_iter().map(NodeRow::from).collect()
        }
        Err(failure) if failure.exit == Exit::Unreachable && which.group.is_none() => {
            vec![machine.myself().into()]
        }
        Err(failure) => return Err(failure),
    };
    let twice = nodes.iter().filter(|node| node.alias_twice).filter_map(|node| node.alias.clone());
    for alias in twice.collect::<std::collections::BTreeSet<_>>() {
        warnings.push(format!("more than one node is called `{alias}`: name them by id, or rename one"));
    }
    let mut strangers: Vec<NodeRow> = machine.strangers().into_iter().map(NodeRow::from).collect();
    strangers.retain(|stranger| nodes.iter().all(|node| node.id != stranger.id));
    nodes.append(&mut strangers);
    Ok(Nodes { nodes, warnings })
}

pub(super) async fn invites(State(api): State<Api>, Query(which): Query<Which>) -> Reply<Invites> {
    let now = wall();
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, which.group.as_deref())?;
        let mut rows: Vec<InviteRow> =
            of.invites.iter().map(|(id, row)| invite_row(of, *id, row, now)).collect();
        rows.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(Shown(Invites { invites: rows }))
    };
    api.handle.look(look).await?
}

fn invite_row(of: &Membership, id: InviteId, row: &larder_core::store::InviteRow, now: i64) -> InviteRow {
    let members = of.group.members();
    let used = members.grants().filter(|grant| grant.invite == Some(id)).count();
    let state = match () {
        () if members.is_revoked(&id) => "revoked",
        () if used >= row.uses as usize => "used",
        () if row.expires <= now => "expired",
        () => "open",
    };
    InviteRow {
        id: id.to_string(),
        role: Role::from_byte(row.role).to_string(),
        uses: row.uses,
        used,
        created: Time(row.created),
        expires: Time(row.expires),
        state: state.to_owned(),
    }
}

pub(super) async fn invite(State(api): State<Api>, Body(invite): Body<Invite>) -> Reply<Invited> {
    invite_now(&api.handle, &invite).await.map(Shown)
}

/// Makes an invite.
pub async fn invite_now(handle: &Handle, invite: &Invite) -> Result<Invited, Failure> {
    let Some(role) = Role::parse(&invite.role) else {
        return Err(Failure::usage(format!(
            "`{}` is not a role: admin, operator, node or reader",
            invite.role
        )));
    };
    if invite.uses == 0 || !(1..=limits::INVITE_SECONDS_MOST).contains(&invite.seconds) {
        return Err(Failure::usage("an invite has at least one use, and lasts from a second to ten years"));
    }
    let named = invite.group.clone();
    let group = handle.look(move |machine| names::group(machine, named.as_deref())).await??;
    let expires = wall() + invite.seconds;
    let request = Request::Invite { group, role, uses: invite.uses, expires };
    let Answer::Invited(code) = handle.request(request).await? else {
        return Err(Failure::failed("the machine answered something else; please report this"));
    };
    Ok(Invited {
        code: code.to_string(),
        id: code.invite().to_string(),
        group: group.to_string(),
        role: role.to_string(),
        uses: invite.uses,
        expires: Time(expires),
    })
}

pub(super) async fn revoke(
    State(api): State<Api>,
    Path(text): Path<String>,
    Query(which): Query<Which>,
) -> Reply<Done> {
    let look = move |machine: &mut Machine| find_invite(machine, &which, &text);
    let (group, invite) = api.handle.look(look).await??;
    api.handle.request(Request::RevokeInvite { group, invite }).await?;
    Ok(Shown(Done {}))
}

/// The invite that is meant: by a prefix of its id, or by the code itself.
fn find_invite(machine: &mut Machine, which: &Which, text: &str) -> Result<(GroupId, InviteId), Failure> {
    let of = names::membership(machine, which.group.as_deref())?;
    let prefix = text.to_ascii_lowercase();
    let by_code = text.parse::<Code>().ok().map(|code| code.invite());
    let fits = |id: &InviteId| Some(*id) == by_code || id.to_string().starts_with(&prefix);
    let found: Vec<InviteId> = of.invites.keys().copied().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok((of.group.id(), *one)),
        [] => {
            Err(Failure::not_found("no such invite was made on this node").hint("see `larder invite list`"))
        }
        several => {
            let ids: Vec<String> = several.iter().map(InviteId::to_string).collect();
            Err(Failure::ambiguous("invite", text, &ids))
        }
    }
}

pub(super) async fn join(State(api): State<Api>, Body(join): Body<Join>) -> Reply<Joined> {
    let code: Code = join.code.parse().map_err(|error: larder_core::wire::code::CodeError| {
        Failure::new(Exit::Usage, "mistyped", error.to_string())
            .hint("compare it with the one that was given to you")
    })?;
    let group = code.group;
    let request = Request::Join { code, alias: join.alias.unwrap_or_default(), labels: join.labels };
    let wait = Duration::from_millis(join.timeout_ms);
    match tokio::time::timeout(wait, api.handle.request(request)).await {
        Ok(answer) => answer.map(drop)?,
        Err(_) => return Err(waiting(&api, group).await?),
    }
    let look = move |machine: &mut Machine| {
        let of = machine.group(&group)?;
        let role = of.group.members().role(&machine.me());
        let role = role.map(|role| role.to_string()).unwrap_or_default();
        Some(Joined { id: group.to_string(), name: of.group.name().to_owned(), role })
    };
    let joined = api.handle.look(look).await?;
    joined.map(Shown).ok_or_else(|| Failure::failed("the group is gone"))
}

/// Why a join takes its time.
async fn waiting(api: &Api, group: GroupId) -> Result<Failure, Failure> {
    let look = move |machine: &mut Machine| {
        let join = machine.joins().find(|(id, _)| **id == group).map(|(_, join)| join);
        (
            join.is_some_and(|join| join.granted),
            join.and_then(|join| join.waiting.clone()),
            machine.strangers().len(),
        )
    };
    let (granted, issuer, seen) = api.handle.look(look).await?;
    let text = match (granted, issuer, seen) {
        (true, _, _) => "the group let this node in; its document is still on the way".to_owned(),
        (_, Some(issuer), _) => format!("waiting for {issuer}, who issued the code and cannot be reached"),
        (_, None, 0) => "no other node was heard on this network yet".to_owned(),
        (_, None, _) => "no node that was heard is in that group yet".to_owned(),
    };
    Ok(Failure::new(Exit::Partial, "waiting", text)
        .hint("the daemon keeps trying, over restarts too: see `larder groups`. Where multicast is blocked, start it with --peer ADDRESS"))
}

pub(super) async fn ping(State(api): State<Api>, Body(ping): Body<PingOf>) -> Reply<Ping> {
    let look = move |machine: &mut Machine| {
        let me = machine.me();
        let of = names::membership(machine, ping.group.as_deref())?;
        let node = names::node(of, &ping.node)?;
        Ok::<_, Failure>((node, names::who(of, &node), node == me))
    };
    let (node, who, is_self) = api.handle.look(look).await??;
    if is_self {
        return Ok(Shown(Ping { id: who.id, alias: who.alias, ms: 0.0 }));
    }
    let name = who.alias.clone().unwrap_or_else(|| node.short());
    let answer = tokio::time::timeout(limits::PING, api.handle.request(Request::Ping { node })).await;
    match answer {
        Ok(Ok(Answer::Ponged(micros))) => {
            let ms = f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0;
            Ok(Shown(Ping { id: who.id, alias: who.alias, ms }))
        }
        Ok(Ok(_)) => Err(Failure::failed("the machine answered something else; please report this")),
        Ok(Err(failure)) if failure.code == "no-link" => {
            Err(Failure::new(Exit::Failed, "no-answer", format!("no link with {name} now"))
                .hint("see `larder nodes`"))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(
            Exit::Failed,
            "no-answer",
            format!("{name} did not answer within {} s", limits::PING.as_secs()),
        )),
    }
}
