//! The members of a group, invites, and joining with a code.

use std::time::Duration;

use axum::extract::{Path, State};
use larder_core::id::{GroupId, InviteId, NodeId};
use larder_core::node::{GroupState, LookupError, Node, Request, Response};
use larder_core::record::Role;
use larder_core::typed_name::GroupName;
use larder_core::wire::invite_code::InviteCode;
use serde::{Deserialize, Serialize};

use super::params::{GroupPath, group_state, node_ref, parse_role};
use super::{ApiContext, ApiResult, JsonResponse, RequestBody, unexpected_response};
use crate::daemon::DaemonHandle;
use crate::dto::{
    Acknowledged, CreatedInvite, InviteEntry, InviteList, InviteState, JoinedGroup, JsonTime, NodeEntry,
    NodeList, PingResult,
};
use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::time::wall_clock_seconds;

/// Body of `POST /v1/groups/{group}/invites`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InviteBody {
    /// The role of the nodes that join with the code.
    pub role: String,
    /// The number of nodes that can join with the code.
    pub uses: u32,
    /// The validity in seconds from now.
    pub valid_seconds: i64,
}

/// Body of `POST /v1/joins`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinBody {
    /// The invite code.
    pub code: String,
    /// The alias to ask for.
    pub alias: Option<String>,
    /// The labels to ask for.
    pub labels: Vec<(String, String)>,
    /// The time to wait for admission, in milliseconds.
    pub timeout_ms: u64,
}

pub(super) async fn list_nodes(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> ApiResult<NodeList> {
    api.handle.query(move |local_node| read_nodes(local_node, &group)).await?.map(JsonResponse)
}

fn read_nodes(local_node: &Node, group: &GroupName) -> Result<NodeList, CliError> {
    let mut warnings = Vec::new();
    let mut nodes: Vec<NodeEntry> = match local_node.find_group(group) {
        Ok(group) => {
            let state = local_node.group(&group).ok_or_else(|| CliError::failed("the group is gone"))?;
            warnings = super::warnings::group_warnings(local_node, state);
            local_node.member_infos(state).into_iter().map(NodeEntry::from).collect()
        }
        Err(LookupError::NoGroup) => vec![local_node.own_info().into()],
        Err(error) => return Err(error.into()),
    };
    let shared_aliases = nodes.iter().filter(|node| node.alias_twice).filter_map(|node| node.alias.clone());
    for alias in shared_aliases.collect::<std::collections::BTreeSet<_>>() {
        warnings.push(format!("several nodes have the alias `{alias}`; use their ids, or change an alias"));
    }
    let mut non_members: Vec<NodeEntry> =
        local_node.stranger_infos().into_iter().map(NodeEntry::from).collect();
    non_members.retain(|stranger| nodes.iter().all(|node| node.id != stranger.id));
    nodes.append(&mut non_members);
    Ok(NodeList { nodes, warnings })
}

pub(super) async fn list_invites(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> ApiResult<InviteList> {
    let now = wall_clock_seconds();
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
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
        () if members.is_revoked(&id) => InviteState::Revoked,
        () if used_count >= row.max_uses as usize => InviteState::Used,
        () if row.expires_at <= now => InviteState::Expired,
        () => InviteState::Open,
    };
    InviteEntry {
        id: id.to_string(),
        role: Role::from_byte(row.role_byte).into(),
        uses: row.max_uses,
        used: used_count,
        created: JsonTime(row.created_at),
        expires: JsonTime(row.expires_at),
        state: invite_state,
    }
}

pub(super) async fn post_invite(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    RequestBody(body): RequestBody<InviteBody>,
) -> ApiResult<CreatedInvite> {
    create_invite(&api.handle, group, &body).await.map(JsonResponse)
}

/// Creates an invite.
pub async fn create_invite(
    handle: &DaemonHandle,
    group: GroupName,
    body: &InviteBody,
) -> Result<CreatedInvite, CliError> {
    let role = parse_role(&body.role)?;
    if body.uses == 0 || !(1..=limits::MAX_INVITE_SECONDS).contains(&body.valid_seconds) {
        return Err(CliError::usage(
            "an invite has at least one use, and is valid for one second to ten years",
        ));
    }
    let expires = wall_clock_seconds() + body.valid_seconds;
    let request = Request::CreateInvite { group, role, max_uses: body.uses, expires_unix_secs: expires };
    let Response::InviteCreated(code) = handle.request_node(request).await?? else {
        return Err(unexpected_response());
    };
    Ok(CreatedInvite {
        code: code.to_string(),
        id: code.invite_id().to_string(),
        group: code.group.to_string(),
        role: role.into(),
        uses: body.uses,
        expires: JsonTime(expires),
    })
}

pub(super) async fn revoke_invite(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    Path((_, invite)): Path<(String, String)>,
) -> ApiResult<Acknowledged> {
    api.request(Request::RevokeInvite { group, invite }).await?;
    Ok(JsonResponse(Acknowledged {}))
}

pub(super) async fn join_group(
    State(api): State<ApiContext>,
    RequestBody(body): RequestBody<JoinBody>,
) -> ApiResult<JoinedGroup> {
    let code: InviteCode =
        body.code.parse().map_err(|error: larder_core::wire::invite_code::InviteCodeError| {
            CliError::new(ExitKind::Usage, "mistyped", error.to_string())
                .with_hint("copy the whole code again")
        })?;
    let group = code.group;
    let request = Request::Join { code, alias: body.alias.unwrap_or_default(), labels: body.labels };
    let wait = Duration::from_millis(body.timeout_ms);
    match tokio::time::timeout(wait, api.request(request)).await {
        Ok(answer) => answer.map(drop)?,
        Err(_) => return Err(pending_join_error(&api, group).await?),
    }
    let query = move |local_node: &mut Node| {
        let state = local_node.group(&group)?;
        joined_group(state, &local_node.own_id())
    };
    let joined = api.handle.query(query).await?;
    joined.map(JsonResponse).ok_or_else(|| CliError::failed("the group is gone"))
}

/// The group that `own_id` is a member of, as the result of a join.
pub(super) fn joined_group(state: &GroupState, own_id: &NodeId) -> Option<JoinedGroup> {
    let role = state.group.members().role_of(own_id)?.into();
    Some(JoinedGroup { id: state.group.id().to_string(), name: state.group.name().to_owned(), role })
}

/// Explains why a join is not complete yet.
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
        (true, _, _) => "the group admitted this node; its document has not arrived yet".to_owned(),
        (_, Some(issuer), _) => format!("waiting for {issuer}, which issued the code and cannot be reached"),
        (_, None, 0) => "no other node was found on this network yet".to_owned(),
        (_, None, _) => "no node that was found is a member of that group".to_owned(),
    };
    Ok(CliError::new(ExitKind::Partial, "waiting", text).with_hint(
        "the daemon continues to try, also after a restart; see `larder groups`. Where multicast is \
         blocked, start the daemon with --peer ADDRESS",
    ))
}

pub(super) async fn ping_node(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    Path((_, name)): Path<(String, String)>,
) -> ApiResult<PingResult> {
    let no_answer = |text: String| CliError::new(ExitKind::Failed, "no-answer", text);
    let request = Request::Ping { group: group.clone(), node: name.as_str().into() };
    let response = tokio::time::timeout(limits::PING_TIMEOUT, api.request(request)).await;
    let (node, micros) = match response {
        Ok(Ok(Response::RoundTrip { node, micros })) => (node, micros),
        Ok(Ok(_)) => return Err(unexpected_response()),
        Ok(Err(failure)) if failure.code == "no-link" => {
            return Err(no_answer(format!("there is no link with {name}")).with_hint("see `larder nodes`"));
        }
        Ok(Err(failure)) => return Err(failure),
        Err(_) => {
            let seconds = limits::PING_TIMEOUT.as_secs();
            return Err(no_answer(format!("{name} did not answer within {seconds} s")));
        }
    };
    let query =
        move |local_node: &mut Node| Ok::<_, CliError>(node_ref(group_state(local_node, &group)?, &node));
    let node = api.handle.query(query).await??;
    let ms = f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0;
    Ok(JsonResponse(PingResult { id: node.id, alias: node.alias, ms }))
}
