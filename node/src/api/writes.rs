//! Writes to the desired state: each request is one atomic change.

use axum::extract::State;
use larder_core::group::ChangeNote;
use larder_core::node::{Node, Request, Response, WriteRequest, plan_write};
use larder_core::resource::edit::Edit;
use larder_core::typed_name::{ChangeName, GroupName};
use serde::{Deserialize, Serialize};

use super::params::{GroupPath, own_group_state};
use super::{ApiContext, ApiResult, JsonResponse, RequestBody, RequestUser, unexpected_response};
use crate::dto::{WritePlan, WriteResult};
use crate::error::CliError;

/// Body of `POST /v1/groups/{group}/changes` and of `POST /v1/groups/{group}/plan`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WriteBody {
    /// The edits: all of them are written, or none.
    pub edits: Vec<Edit>,
    /// The expected heads of the desired state. If the heads differ, the write is refused.
    pub expected_heads: Option<Vec<ChangeName>>,
    /// The operator's reason.
    pub message: String,
    /// The command line without its values.
    pub command: String,
    /// True to accept kinds and fields that this version does not know.
    pub allow_unknown: bool,
}

impl WriteBody {
    fn into_request(self, group: GroupName, user: String) -> WriteRequest {
        let note = ChangeNote { message: self.message, user, command: self.command, time: 0 };
        let (edits, expected_heads) = (self.edits, self.expected_heads);
        WriteRequest { group, edits, expected_heads, note, allow_unknown: self.allow_unknown }
    }
}

pub(super) async fn post_change(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    user: RequestUser,
    RequestBody(body): RequestBody<WriteBody>,
) -> ApiResult<WriteResult> {
    match api.request(Request::Write(body.into_request(group, user.0))).await? {
        Response::Written(change) => {
            Ok(JsonResponse(WriteResult { change: change.map(|id| id.to_string()) }))
        }
        _ => Err(unexpected_response()),
    }
}

pub(super) async fn plan_change(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    RequestBody(body): RequestBody<WriteBody>,
) -> ApiResult<WritePlan> {
    let request = body.into_request(group, String::new());
    let query = move |local_node: &mut Node| {
        let state = own_group_state(local_node, &request.group)?;
        let puts = plan_write(state, request)?;
        Ok::<_, CliError>(WritePlan::new(state.desired_shard()?, &puts))
    };
    api.handle.query(query).await?.map(JsonResponse)
}
