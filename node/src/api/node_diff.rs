//! The differences between what nodes have applied and the desired state.

use axum::extract::State;
use larder_core::history;
use larder_core::id::ChangeId;
use larder_core::node::{GroupState, Node};
use larder_core::resource::ResourceName;
use larder_core::resource::view::ResourceView;
use larder_core::shard::Shard;
use larder_core::typed_name::GroupName;
use serde::Deserialize;

use super::history::field_diff;
use super::params::{GroupPath, group_state, parse_resource};
use super::status;
use super::{ApiContext, ApiResult, JsonResponse, QueryParams};
use crate::dto::{NodeDiffReport, NodeDrift, NodeResourceStatus, ResourceDrift, ResourceStatus};
use crate::error::CliError;

/// The parameters of `GET /v1/groups/{group}/drift`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NodeDiffQuery {
    /// The resource, as `<kind>/<name>`; without it, all.
    resource: Option<String>,
}

pub(super) async fn diff_nodes(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    QueryParams(params): QueryParams<NodeDiffQuery>,
) -> ApiResult<NodeDiffReport> {
    api.handle.query(move |local_node| read_node_diff(local_node, &group, &params)).await?.map(JsonResponse)
}

fn read_node_diff(
    local_node: &mut Node,
    group: &GroupName,
    params: &NodeDiffQuery,
) -> Result<NodeDiffReport, CliError> {
    let state = group_state(local_node, group)?;
    let only = params.resource.as_deref().map(parse_resource).transpose()?;
    let status = status::read_status(state, only.as_ref())?;
    let mut resources = Vec::new();
    for row in status.resources {
        let nodes = node_drifts(state, &row)?;
        if !nodes.is_empty() {
            let wanted = newest_change(state.desired_shard()?, &parse_resource(&row.resource)?);
            resources.push(ResourceDrift { newest_change: wanted, resource: row.resource, nodes });
        }
    }
    Ok(NodeDiffReport { resources })
}

fn node_drifts(state: &GroupState, row: &ResourceStatus) -> Result<Vec<NodeDrift>, CliError> {
    let (desired, name) = (state.desired_shard()?, parse_resource(&row.resource)?);
    let drifted = row.nodes.iter().filter(|node| !status::is_settled(&node.state));
    Ok(drifted.map(|node| node_drift(state, desired, &name, node)).collect())
}

fn node_drift(
    state: &GroupState,
    desired: &Shard,
    name: &ResourceName,
    node: &NodeResourceStatus,
) -> NodeDrift {
    let id = state.group.members().nodes().find(|id| id.to_string() == node.id);
    let shard = id.and_then(|id| state.group.observed_shard_of(&id));
    let last_applied = shard.and_then(|shard| history::last_applied_state(shard, name));
    let applied_revision =
        last_applied.as_ref().and_then(|applied| history::find_observed_point(desired, name, applied));
    let from = match (&last_applied, &applied_revision) {
        (_, Some(seen)) => Some(seen.heads.clone()),
        (None, None) => Some(vec![desired.root().id()]),
        // The node applied a change that this node does not have, so the difference is not known.
        (Some(_), None) => None,
    };
    let diff = |from: Vec<ChangeId>| history::diff(desired, &from, &desired.graph().heads(), Some(name));
    NodeDrift {
        id: node.id.clone(),
        alias: node.alias.clone(),
        state: node.state.clone(),
        reason: node.reason.clone(),
        applied: last_applied.as_ref().map(|applied| applied.change.clone()),
        exact: last_applied.is_none() || applied_revision.is_some_and(|seen| seen.is_exact),
        edits: from.map(diff).unwrap_or_default().into_iter().map(field_diff).collect(),
    }
}

/// The newest change of a resource.
fn newest_change(desired: &Shard, name: &ResourceName) -> Option<String> {
    let op = ResourceView::read(desired.state(), name)?.ops().pop()?;
    desired.graph().entry_of_op(&op).map(|entry| entry.id.to_string())
}
