//! The replacement of a node by this one.

use axum::extract::{Path, State};
use larder_core::group::ChangeNote;
use larder_core::node::{Request, Response};
use serde::{Deserialize, Serialize};

use super::params::GroupPath;
use super::{ApiContext, ApiResult, JsonResponse, RequestBody, RequestUser, unexpected_response};
use crate::dto::ReplaceResult;

/// Body of `POST /v1/groups/{group}/members/{node}/replacement`: this node replaces the one in the path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplaceBody {
    /// The operator's reason.
    pub message: String,
    /// The command line.
    pub command: String,
}

pub(super) async fn replace_node(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    Path((_, old_node)): Path<(String, String)>,
    user: RequestUser,
    RequestBody(body): RequestBody<ReplaceBody>,
) -> ApiResult<ReplaceResult> {
    let note = ChangeNote { message: body.message, user: user.0, command: body.command, time: 0 };
    let request = Request::ReplaceNode { group, old_node: old_node.into(), note };
    let Response::NodeReplaced { old_id, is_member, replacement, change } = api.request(request).await?
    else {
        return Err(unexpected_response());
    };
    Ok(JsonResponse(ReplaceResult {
        old: old_id.to_string(),
        is_member,
        alias: replacement.labels.alias,
        labels: replacement.labels.labels,
        resources: replacement.resources.iter().map(ToString::to_string).collect(),
        change: change.map(|id| id.to_string()),
    }))
}
