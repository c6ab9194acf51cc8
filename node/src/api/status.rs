//! The state of resources on nodes, heads, and the progress of synchronisation.

use std::collections::BTreeMap;

use axum::extract::State;
use larder_core::id::NodeId;
use larder_core::node::name_lookup::find_heads;
use larder_core::node::{GroupState, Node, NodeState, Request, RequestError};
use larder_core::resource::ResourceName;
use larder_core::resource::assignment::{LabelledNode, is_selected};
use larder_core::resource::observed::{ObservedState, ResourceState};
use larder_core::resource::path_conflict::all_conflicts;
use larder_core::resource::view::{NodeLabels, ResourceView, resources};
use larder_core::typed_name::GroupName;
use serde::{Deserialize, Serialize};

use super::params::{AtQuery, GroupPath, group_state, parse_point, parse_resource};
use super::{ApiContext, ApiResult, JsonResponse, QueryParams, RequestBody};
use crate::dto::{
    GroupHeads, GroupRef, JsonTime, NodeResourceState, NodeResourceStatus, PeerSync, PeerSyncState,
    ResourceStatus, StatusReport, StatusSummary, SyncReport,
};
use crate::error::CliError;
use crate::limits;

/// The parameters of `GET /v1/groups/{group}/status`.
#[derive(Clone, Debug, Deserialize)]
pub struct StatusQuery {
    /// The resource, as `<kind>/<name>`; without it, all.
    resource: Option<String>,
}

/// Body of `PUT /v1/groups/{group}/sync`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SyncBody {
    /// True to pause the synchronisation of the group, false to resume it.
    pub paused: bool,
}

pub(super) async fn get_status(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    QueryParams(params): QueryParams<StatusQuery>,
) -> ApiResult<StatusReport> {
    let query = move |local_node: &mut Node| {
        let only = params.resource.as_deref().map(parse_resource).transpose()?;
        let failure = local_node.store_failure().map(str::to_owned);
        let group = local_node.find_group(&group)?;
        let mut status = read_status(group_state(local_node, &group.into())?, only.as_ref())?;
        let group_warnings =
            local_node.group(&group).map(|state| super::warnings::group_warnings(local_node, state));
        status.warnings.extend(group_warnings.unwrap_or_default());
        status.warnings.extend(failure.map(|why| RequestError::StoreFailed(why).to_string()));
        Ok(status)
    };
    api.handle.query(query).await?.map(JsonResponse)
}

/// A node that applies resources.
struct ApplyingNode {
    id: NodeId,
    labels: NodeLabels,
    observed: BTreeMap<String, ObservedState>,
}

fn applying_nodes(state: &GroupState) -> Result<Vec<ApplyingNode>, CliError> {
    let document = state.desired_shard()?.state();
    let members = state.group.members();
    let can_apply = |id: &NodeId| members.live_grants_of(id).any(|grant| grant.role.can_write_observed());
    let read_observed = |id: &NodeId| {
        let keys = state.group.observed_shard_of(id).into_iter().flat_map(|shard| shard.state().iter());
        keys.filter_map(|(key, visible)| {
            Some((key.to_owned(), ObservedState::decode(&visible.last()?.value)?))
        })
        .collect()
    };
    let appliers = members.nodes().filter(can_apply);
    Ok(appliers
        .map(|id| ApplyingNode {
            id,
            labels: NodeLabels::read(document, members, &id),
            observed: read_observed(&id),
        })
        .collect())
}

/// Reads the state of all resources, or of one.
pub(super) fn read_status(
    state: &mut GroupState,
    only: Option<&ResourceName>,
) -> Result<StatusReport, CliError> {
    let nodes_applying = applying_nodes(state)?;
    let desired = state.desired_shard()?;
    let views: Vec<ResourceView<'_>> = match only {
        None => resources(desired.state()),
        Some(name) => ResourceView::read(desired.state(), name).into_iter().collect(),
    };
    let mut summary = StatusSummary::default();
    let mut rows = Vec::new();
    for view in views.iter().filter(|view| view.name.is_managed()) {
        let statuses: Vec<NodeResourceStatus> =
            nodes_applying.iter().filter_map(|node| node_resource_status(view, node)).collect();
        // A removed resource is listed until all nodes have removed it.
        let all_settled = statuses.iter().all(|node| is_settled(&node.state));
        if view.is_removed() && all_settled {
            continue;
        }
        for node_status in &statuses {
            summary.counter_mut(&node_status.state).into_iter().for_each(|count| *count += 1);
        }
        rows.push(ResourceStatus {
            resource: view.name.to_string(),
            removed: view.is_removed(),
            nodes: statuses,
        });
    }
    if let (Some(name), []) = (only, rows.as_slice())
        && !views.iter().any(|view| !view.is_removed())
    {
        return Err(CliError::not_found(format!("no resource {name} here")).with_hint("see `larder list`"));
    }
    let conflicts = all_conflicts(desired, state.group.members()).len();
    let group = GroupRef { id: state.group.id().to_string(), name: state.group.name().to_owned() };
    Ok(StatusReport { group, summary, conflicts, warnings: Vec::new(), resources: rows })
}

/// True if the node has nothing left to do for the resource.
pub(super) fn is_settled(state: &NodeResourceState) -> bool {
    matches!(state, NodeResourceState::Applied | NodeResourceState::Released)
}

/// The state of a resource on a node; `None` if the resource neither applies to the node nor was released
/// by it.
fn node_resource_status(view: &ResourceView<'_>, node: &ApplyingNode) -> Option<NodeResourceStatus> {
    let observed = node.observed.get(&view.name.to_string());
    let is_selected_here = is_selected(view, &LabelledNode { id: node.id, labels: &node.labels });
    if !is_selected_here && observed.is_none_or(|observed| observed.state != ResourceState::Released) {
        return None;
    }
    let pending_status = NodeResourceStatus {
        id: node.id.to_string(),
        alias: node.labels.alias.clone(),
        state: NodeResourceState::Pending,
        change: observed.map(|observed| observed.change.clone()).filter(|change| !change.is_empty()),
        since: observed.map(|observed| JsonTime(observed.since)),
        reason: String::new(),
    };
    match observed {
        Some(observed) if observed.revision == view.revision() || !is_selected_here => {
            Some(NodeResourceStatus {
                state: observed.state.as_str().to_owned().into(),
                reason: observed.message.clone(),
                ..pending_status
            })
        }
        Some(observed) => {
            Some(NodeResourceStatus { reason: format!("was {}", observed.state.as_str()), ..pending_status })
        }
        None => Some(pending_status),
    }
}

pub(super) async fn get_heads(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    QueryParams(params): QueryParams<AtQuery>,
) -> ApiResult<GroupHeads> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let digest = state.digest().to_string();
        let head_ids = |shard: &larder_core::shard::Shard| {
            shard.graph().heads().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let members = state.group.members();
        let mut observed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (grant, shard) in state.group.shard_states().observed_shards() {
            let node =
                members.grant(&grant).map_or_else(|| grant.to_string(), |grant| grant.holder.to_string());
            observed.entry(node).or_default().extend(head_ids(shard));
        }
        let desired = state.desired_shard()?;
        let heads = match &params.at {
            None => head_ids(desired),
            Some(at) => find_heads(desired, &parse_point(at)?)?.iter().map(ToString::to_string).collect(),
        };
        Ok(JsonResponse(GroupHeads { group: state.group.id().to_string(), heads, observed, digest }))
    };
    api.handle.query(query).await?
}

pub(super) async fn get_sync(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> ApiResult<SyncReport> {
    api.handle.query(move |local_node| read_sync(local_node, &group)).await?.map(JsonResponse)
}

fn read_sync(local_node: &Node, group: &GroupName) -> Result<SyncReport, CliError> {
    let group = local_node.find_group(group)?;
    let state = local_node.group(&group).ok_or_else(|| CliError::failed("the group is gone"))?;
    let sessions: BTreeMap<NodeId, _> = state.neighbour_sessions().collect();
    let others = local_node.member_infos(state).into_iter().filter(|view| !view.is_self);
    let peers = others.map(|view| {
        let session = sessions.get(&view.id);
        let sync_state = match (session, view.state) {
            (Some(session), _) if session.is_in_sync() => PeerSyncState::InSync,
            (Some(_), _) => PeerSyncState::Syncing,
            (None, NodeState::Up) => PeerSyncState::Indirect,
            (None, _) => PeerSyncState::Away,
        };
        PeerSync {
            id: view.id.to_string(),
            alias: view.alias,
            state: sync_state,
            ahead: view.missing_changes,
            behind: session.map(|session| session.count_missing_here(&state.group)),
            contact: view.last_heard.map(JsonTime),
        }
    });
    Ok(SyncReport { paused: state.paused, peers: peers.collect() })
}

/// Sends this node's digest to all linked members, and waits until it is in sync with them.
pub(super) async fn sync_now(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> ApiResult<SyncReport> {
    let (mut inputs, mut stopping) = api.event_bus.subscribe_inputs();
    let deadline = tokio::time::Instant::now() + limits::SYNC_TIMEOUT;
    api.request(Request::SyncNow { group: group.clone() }).await?;
    loop {
        let name = group.clone();
        let report = api.handle.query(move |local_node| read_sync(local_node, &name)).await??;
        if report.peers.iter().all(|peer| peer.state != PeerSyncState::Syncing) {
            return Ok(JsonResponse(report));
        }
        tokio::select! {
            changed = inputs.changed() => if changed.is_err() { return Ok(JsonResponse(report)) },
            _ = stopping.changed() => return Ok(JsonResponse(report)),
            () = tokio::time::sleep_until(deadline) => return Ok(JsonResponse(report)),
        }
    }
}

pub(super) async fn put_sync(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    RequestBody(body): RequestBody<SyncBody>,
) -> ApiResult<SyncReport> {
    api.request(Request::SetPaused { group: group.clone(), paused: body.paused }).await?;
    api.handle.query(move |local_node| read_sync(local_node, &group)).await?.map(JsonResponse)
}
