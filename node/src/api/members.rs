//! Members: who there is, and how others get in.

use std::time::Duration;

use axum::extract::{Path, State};
use larder_core::id::{GroupId, InviteId};
use larder_core::node::{GroupState, Node, Request, Response};
use larder_core::record::Role;
use larder_core::wire::invite_code::InviteCode;
use serde::{Deserialize, Serialize};

use super::name_lookup::{self, GroupQuery};
use super::{ApiContext, ApiResult, JsonResponse, QueryParams, RequestBody};
use crate::daemon::{DaemonHandle, wall_clock_seconds};
use crate::dto::{
    Acknowledged, CreatedInvite, InviteEntry, InviteList, JoinedGroup, JsonTime, NodeEntry, NodeList,
    PingResult,
};
use crate::error::{CliError, ExitKind};
use crate::limits;

/// What `invite` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteBody {
    /// Into which group.
    pub group: Option<String>,
    /// With which role.
    pub role: String,
    /// For how many.
    pub uses: u32,
    /// For how long, in seconds from now.
    pub valid_seconds: i64,
}

/// What `join` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinBody {
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
pub struct PingBody {
    /// In which group.
    pub group: Option<String>,
    /// Whom.
    pub node: String,
}

pub(super) async fn list_nodes(
    State(api): State<ApiContext>,
    QueryParams(params): QueryParams<GroupQuery>,
) -> ApiResult<NodeList> {
    api.handle.query(move |local_node| read_nodes(local_node, &params)).await?.map(JsonResponse)
}

fn read_nodes(local_node: &Node, params: &GroupQuery) -> Result<NodeList, CliError> {
    let mut warnings = Vec::new();
    let mut nodes: Vec<NodeEntry> = match name_lookup::find_group_id(local_node, params.group.as_deref()) {
        Ok(group) => {
            let state = local_node.group(&group).ok_or_else(|| CliError::failed("the group is gone"))?;
            warnings = super::warnings::group_warnings(local_node, state);
            local_node.member_infos(state).into_iter().map(NodeEntry::from).collect()
        }
        Err(failure) if failure.exit == ExitKind::Unreachable && params.group.is_none() => {
            vec![local_node.own_info().into()]
        }
        Err(failure) => return Err(failure),
    };
    let shared_aliases = nodes.iter().filter(|node| node.alias_twice).filter_map(|node| node.alias.clone());
    for alias in shared_aliases.collect::<std::collections::BTreeSet<_>>() {
        warnings.push(format!("more than one node is called `{alias}`: name them by id, or rename one"));
    }
    let mut non_members: Vec<NodeEntry> =
        local_node.stranger_infos().into_iter().map(NodeEntry::from).collect();
    non_members.retain(|stranger| nodes.iter().all(|node| node.id != stranger.id));
    nodes.append(&mut non_members);
    Ok(NodeList { nodes, warnings })
}

pub(super) async fn list_invites(
    State(api): State<ApiContext>,
    QueryParams(params): QueryParams<GroupQuery>,
) -> ApiResult<InviteList> {
    let now = wall_clock_seconds();
    let query = move |local_node: &mut Node| {
        let state = name_lookup::find_group(local_node, params.group.as_deref())?;
        let mut rows: Vec<InviteEntry> =
            state.admission.invites.iter().map(|(id, row)| invite_entry(state, *id, row, now)).collect();
        rows.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(JsonResponse(InviteList { invites: rows }))
    };
    api.handle.query(query).await?
}

fn invite_entry(
    state: &GroupState,
    id: InviteId,
    row: &larder_core::store::InviteRow,
    now: i64,
) -> InviteEntry {
    let members = state.group.members();
    let used_count = members.grants().filter(|grant| grant.invite == Some(id)).count();
    let invite_state = match () {
        () if members.is_revoked(&id) => "revoked",
        () if used_count >= row.max_uses as usize => "used",
        () if row.expires_at <= now => "expired",
        () => "open",
    };
    InviteEntry {
        id: id.to_string(),
        role: Role::from_byte(row.role_byte).to_string(),
        uses: row.max_uses,
        used: used_count,
        created: JsonTime(row.created_at),
        expires: JsonTime(row.expires_at),
        state: invite_state.to_owned(),
    }
}

pub(super) async fn post_invite(
    State(api): State<ApiContext>,
    RequestBody(body): RequestBody<InviteBody>,
) -> ApiResult<CreatedInvite> {
    create_invite(&api.handle, &body).await.map(JsonResponse)
}

/// Makes an invite.
pub async fn create_invite(handle: &DaemonHandle, body: &InviteBody) -> Result<CreatedInvite, CliError> {
    let Some(role) = Role::parse(&body.role) else {
        return Err(CliError::usage(format!(
            "`{}` is not a role: admin, operator, node or reader",
            body.role
        )));
    };
    if body.uses == 0 || !(1..=limits::MAX_INVITE_SECONDS).contains(&body.valid_seconds) {
        return Err(CliError::usage("an invite has at least one use, and lasts from a second to ten years"));
    }
    let group_name = body.group.clone();
    let group = handle
        .query(move |local_node| name_lookup::find_group_id(local_node, group_name.as_deref()))
        .await??;
    let expires = wall_clock_seconds() + body.valid_seconds;
    let request = Request::CreateInvite { group, role, max_uses: body.uses, expires_unix_secs: expires };
    let Response::InviteCreated(code) = handle.request_node(request).await? else {
        return Err(CliError::failed("the machine answered something else; please report this"));
    };
    Ok(CreatedInvite {
        code: code.to_string(),
        id: code.invite_id().to_string(),
        group: group.to_string(),
        role: role.to_string(),
        uses: body.uses,
        expires: JsonTime(expires),
    })
}

pub(super) async fn revoke_invite(
    State(api): State<ApiContext>,
    Path(text): Path<String>,
    QueryParams(params): QueryParams<GroupQuery>,
) -> ApiResult<Acknowledged> {
    let query = move |local_node: &mut Node| find_invite(local_node, &params, &text);
    let (group, invite) = api.handle.query(query).await??;
    api.handle.request_node(Request::RevokeInvite { group, invite }).await?;
    Ok(JsonResponse(Acknowledged {}))
}

/// The invite that is meant: by a prefix of its id, or by the code itself.
fn find_invite(
    local_node: &mut Node,
    params: &GroupQuery,
    text: &str,
) -> Result<(GroupId, InviteId), CliError> {
    let state = name_lookup::find_group(local_node, params.group.as_deref())?;
    let prefix = text.to_ascii_lowercase();
    let by_code = text.parse::<InviteCode>().ok().map(|code| code.invite_id());
    let matches = |id: &InviteId| Some(*id) == by_code || id.to_string().starts_with(&prefix);
    let invites: Vec<InviteId> = state.admission.invites.keys().copied().filter(matches).collect();
    match invites.as_slice() {
        [one] => Ok((state.group.id(), *one)),
        [] => {
            Err(CliError::not_found("no such invite was made on this node")
                .with_hint("see `larder invite list`"))
        }
        several => {
            let ids: Vec<String> = several.iter().map(InviteId::to_string).collect();
            Err(CliError::ambiguous_name("invite", text, &ids))
        }
    }
}

pub(super) async fn join_group(
    State(api): State<ApiContext>,
    RequestBody(body): RequestBody<JoinBody>,
) -> ApiResult<JoinedGroup> {
    let code: InviteCode =
        body.code.parse().map_err(|error: larder_core::wire::invite_code::InviteCodeError| {
            CliError::new(ExitKind::Usage, "mistyped", error.to_string())
                .with_hint("compare it with the one that was given to you")
        })?;
    let group = code.group;
    let request = Request::Join { code, alias: body.alias.unwrap_or_default(), labels: body.labels };
    let wait = Duration::from_millis(body.timeout_ms);
    match tokio::time::timeout(wait, api.handle.request_node(request)).await {
        Ok(answer) => answer.map(drop)?,
        Err(_) => return Err(pending_join_error(&api, group).await?),
    }
    let query = move |local_node: &mut Node| {
        let state = local_node.group(&group)?;
        let role = state.group.members().role_of(&local_node.own_id());
        let role = role.map(|role| role.to_string()).unwrap_or_default();
        Some(JoinedGroup { id: group.to_string(), name: state.group.name().to_owned(), role })
    };
    let joined = api.handle.query(query).await?;
    joined.map(JsonResponse).ok_or_else(|| CliError::failed("the group is gone"))
}

/// Why a join takes its time.
async fn pending_join_error(api: &ApiContext, group: GroupId) -> Result<CliError, CliError> {
    let query = move |local_node: &mut Node| {
        let join = local_node.pending_joins().find(|(id, _)| **id == group).map(|(_, join)| join);
        (
            join.is_some_and(|join| join.is_granted()),
            join.and_then(|join| join.waiting_for_issuer().map(str::to_owned)),
            local_node.stranger_infos().len(),
        )
    };
    let (granted, issuer, non_member_count) = api.handle.query(query).await?;
    let text = match (granted, issuer, non_member_count) {
        (true, _, _) => "the group let this node in; its document is still on the way".to_owned(),
        (_, Some(issuer), _) => format!("waiting for {issuer}, who issued the code and cannot be reached"),
        (_, None, 0) => "no other node was heard on this network yet".to_owned(),
        (_, None, _) => "no node that was heard is in that group yet".to_owned(),
    };
    Ok(CliError::new(ExitKind::Partial, "waiting", text)
        .with_hint("the daemon keeps trying, over restarts too: see `larder groups`. Where multicast is blocked, start it with --peer ADDRESS"))
}

pub(super) async fn ping_node(
    State(api): State<ApiContext>,
    RequestBody(body): RequestBody<PingBody>,
) -> ApiResult<PingResult> {
    let query = move |local_node: &mut Node| {
        let own_id = local_node.own_id();
        let state = name_lookup::find_group(local_node, body.group.as_deref())?;
        let node = name_lookup::find_member(state, &body.node)?;
        Ok::<_, CliError>((node, name_lookup::node_ref(state, &node), node == own_id))
    };
    let (node, node_ref, is_self) = api.handle.query(query).await??;
    if is_self {
        return Ok(JsonResponse(PingResult { id: node_ref.id, alias: node_ref.alias, ms: 0.0 }));
    }
    let name = node_ref.alias.clone().unwrap_or_else(|| node.short());
    let result =
        tokio::time::timeout(limits::PING_TIMEOUT, api.handle.request_node(Request::Ping { node })).await;
    match result {
        Ok(Ok(Response::RoundTripMicros(micros))) => {
            let ms = f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0;
            Ok(JsonResponse(PingResult { id: node_ref.id, alias: node_ref.alias, ms }))
        }
        Ok(Ok(_)) => Err(CliError::failed("the machine answered something else; please report this")),
        Ok(Err(failure)) if failure.code == "no-link" => {
            Err(CliError::new(ExitKind::Failed, "no-answer", format!("no link with {name} now"))
                .with_hint("see `larder nodes`"))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(CliError::new(
            ExitKind::Failed,
            "no-answer",
            format!("{name} did not answer within {} s", limits::PING_TIMEOUT.as_secs()),
        )),
    }
}
