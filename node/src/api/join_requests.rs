//! Join requests: those that this node received, and its own pairing.

use axum::extract::{Path, State};
use data_encoding::HEXLOWER;
use larder_core::id::{NodeId, hash16};
use larder_core::node::{Node, Request};
use larder_core::typed_name::GroupName;
use serde::{Deserialize, Serialize};

use super::members::joined_group;
use super::params::{GroupPath, parse_digits};
use super::{ApiContext, ApiResult, JsonResponse, QueryParams, RequestBody};
use crate::dto::{
    Acknowledged, JoinedGroup, JsonTime, PairingPeerEntry, PairingStatus, PendingList, PendingNode,
};
use crate::error::CliError;
use crate::limits;

/// Body of `POST /v1/pairing`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairingBody {
    /// The alias to ask for.
    pub alias: Option<String>,
    /// The labels to ask for.
    pub labels: Vec<(String, String)>,
}

/// Body of `PUT /v1/pairing/digits`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfirmPairingBody {
    /// The digits that the admin's screen shows.
    pub digits: String,
}

pub(super) async fn list_join_requests(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> ApiResult<PendingList> {
    let query = move |local_node: &mut Node| {
        let pending = pending_nodes(local_node, &group)?.into_iter().map(|(_, row)| row).collect();
        Ok(JsonResponse(PendingList { pending }))
    };
    api.handle.query(query).await?
}

/// The nodes that wait to be admitted, with and without a code.
fn pending_nodes(local_node: &Node, group: &GroupName) -> Result<Vec<(NodeId, PendingNode)>, CliError> {
    let mut pending: Vec<(NodeId, PendingNode)> = Vec::new();
    for (id, request, digits) in local_node.incoming_pairings() {
        let row = PendingNode {
            id: id.to_string(),
            alias: request.alias.clone(),
            labels: request.labels.clone(),
            since: Some(JsonTime(request.requested_unix_secs)),
            digits: digits.map(|digits| format!("{digits:06}")),
            waiting_for: None,
            addrs: Vec::new(),
        };
        pending.push((id, row));
    }
    if *group != GroupName::Only || local_node.groups().count() > 0 {
        let group = local_node.find_group(group)?;
        let state = local_node.group(&group).ok_or_else(|| CliError::failed("the group is gone"))?;
        for (terms, issuer) in state.waiting_joins() {
            let row = PendingNode {
                id: terms.joiner.to_string(),
                alias: terms.alias.clone(),
                labels: terms.labels.clone(),
                since: None,
                digits: None,
                waiting_for: Some(issuer),
                addrs: Vec::new(),
            };
            pending.push((terms.joiner, row));
        }
    }
    let non_members = local_node.stranger_infos();
    for (id, row) in &mut pending {
        let view = non_members.iter().find(|view| view.id == *id);
        row.addrs = view.map(|view| view.addresses.clone()).unwrap_or_default();
    }
    pending.sort_by_key(|(id, _)| *id);
    Ok(pending)
}

pub(super) async fn reject_join(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    Path((_, node)): Path<(String, String)>,
) -> ApiResult<Acknowledged> {
    api.request(Request::RejectJoin { group, node: node.into() }).await?;
    Ok(JsonResponse(Acknowledged {}))
}

pub(super) async fn start_pairing(
    State(api): State<ApiContext>,
    RequestBody(body): RequestBody<PairingBody>,
) -> ApiResult<Acknowledged> {
    let mut labels = body.labels;
    labels.sort();
    api.request(Request::StartPairing { alias: body.alias.unwrap_or_default(), labels }).await?;
    Ok(JsonResponse(Acknowledged {}))
}

pub(super) async fn confirm_pairing(
    State(api): State<ApiContext>,
    RequestBody(body): RequestBody<ConfirmPairingBody>,
) -> ApiResult<Acknowledged> {
    api.request(Request::ConfirmDigits { digits: parse_digits(&body.digits)? }).await?;
    Ok(JsonResponse(Acknowledged {}))
}

pub(super) async fn cancel_pairing(State(api): State<ApiContext>) -> ApiResult<Acknowledged> {
    api.request(Request::StopPairing).await?;
    Ok(JsonResponse(Acknowledged {}))
}

/// The parameters of `GET /v1/pairing`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PairingQuery {
    /// The version of the status that the caller has. The response waits for another one, at most
    /// [`limits::PAIRING_POLL_TIMEOUT`].
    seen: Option<String>,
}

pub(super) async fn pairing_status(
    State(api): State<ApiContext>,
    QueryParams(params): QueryParams<PairingQuery>,
) -> ApiResult<PairingStatus> {
    let (mut inputs, mut stopping) = api.event_bus.subscribe_inputs();
    let deadline = tokio::time::Instant::now() + limits::PAIRING_POLL_TIMEOUT;
    loop {
        let status = api.handle.query(|local_node| read_pairing_status(local_node)).await?;
        if params.seen.as_ref() != Some(&status.version) {
            return Ok(JsonResponse(status));
        }
        tokio::select! {
            changed = inputs.changed() => if changed.is_err() { return Ok(JsonResponse(status)) },
            _ = stopping.changed() => return Ok(JsonResponse(status)),
            () = tokio::time::sleep_until(deadline) => return Ok(JsonResponse(status)),
        }
    }
}

fn read_pairing_status(local_node: &Node) -> PairingStatus {
    let own_id = local_node.own_id();
    let Some(pairing) = local_node.outgoing_pairing() else {
        return with_version(false, Vec::new(), None);
    };
    let peers = pairing.peers_with_digits(&own_id).map(|(id, digits, denied)| PairingPeerEntry {
        id: id.to_string(),
        digits: format!("{digits:06}"),
        denied,
    });
    let joined = pairing.joined_group().and_then(|group| joined_group(local_node.group(&group)?, &own_id));
    with_version(pairing.joined_group().is_none(), peers.collect(), joined)
}

fn with_version(is_active: bool, peers: Vec<PairingPeerEntry>, joined: Option<JoinedGroup>) -> PairingStatus {
    let version = hash16("larder 1 asking", &[format!("{is_active} {peers:?} {joined:?}").as_bytes()]);
    PairingStatus { is_active, peers, joined, version: HEXLOWER.encode(&version) }
}
