//! Administration of a group: its members, their roles, and which of their changes count.

use axum::extract::{Path, State};
use larder_core::group::ChangeNote;
use larder_core::id::SecretKey;
use larder_core::node::{AdminOp, AdminRequest, Request, Response};
use larder_core::typed_name::{ChangeName, GroupName, NodeName};
use serde::{Deserialize, Serialize};

use super::params::{GroupPath, parse_digits, parse_role};
use super::{ApiContext, ApiResult, JsonResponse, RequestBody, RequestUser};
use crate::dto::WriteResult;
use crate::error::CliError;
use crate::identity;

/// Body of `DELETE /v1/groups/{group}/members/{node}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RemoveMemberBody {
    /// The last of the member's changes that counts; without it, all that this node has count.
    pub keep_through: Option<ChangeName>,
    /// The operator's reason.
    pub message: String,
}

/// Body of `PUT /v1/groups/{group}/members/{node}/role`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoleBody {
    /// The role: `admin`, `operator`, `node` or `reader`.
    pub role: String,
    /// The operator's reason.
    pub message: String,
}

/// Body of a request that needs nothing but a reason.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MessageBody {
    /// The operator's reason.
    pub message: String,
}

/// Body of `DELETE /v1/groups/{group}/membership`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeaveBody {
    /// True to leave even if no other admin is left.
    pub force: bool,
    /// The operator's reason.
    pub message: String,
}

/// Body of `DELETE /v1/groups/{group}` and of `POST /v1/groups/{group}/recovery`.
#[derive(Clone, Serialize, Deserialize)]
pub struct RecoveryKeyBody {
    /// The text of the recovery key's file. The founder deletes a group without it.
    pub recovery_key: Option<String>,
    /// The operator's reason.
    pub message: String,
}

/// Body of `POST /v1/groups/{group}/quarantine/readmit` and of `.../rewrite`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuarantineBody {
    /// The ids of the changes.
    pub changes: Vec<ChangeName>,
    /// The operator's reason.
    pub message: String,
    /// The command line, for the note of a rewrite.
    pub command: String,
}

/// Body of `POST /v1/groups/{group}/join-requests/{node}/approval`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApproveBody {
    /// The role for the node.
    pub role: String,
    /// The digits that the node's screen shows, if it asks without a code.
    pub digits: Option<String>,
    /// The operator's reason.
    pub message: String,
}

async fn run_admin_op(
    api: &ApiContext,
    group: GroupName,
    op: AdminOp,
    (user, message): (RequestUser, String),
) -> ApiResult<WriteResult> {
    let request = Request::Admin(AdminRequest { group, op, user: user.0, message });
    let change = match api.request(request).await? {
        Response::Written(change) => change.map(|id| id.to_string()),
        _ => None,
    };
    Ok(JsonResponse(WriteResult { change }))
}

pub(super) async fn remove_member(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    Path((_, node)): Path<(String, String)>,
    user: RequestUser,
    RequestBody(body): RequestBody<RemoveMemberBody>,
) -> ApiResult<WriteResult> {
    let op = AdminOp::RemoveMember { node: node.into(), keep_through: body.keep_through };
    run_admin_op(&api, group, op, (user, body.message)).await
}

pub(super) async fn put_role(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    Path((_, node)): Path<(String, String)>,
    user: RequestUser,
    RequestBody(body): RequestBody<RoleBody>,
) -> ApiResult<WriteResult> {
    let op = AdminOp::ChangeRole { node: node.into(), role: parse_role(&body.role)? };
    run_admin_op(&api, group, op, (user, body.message)).await
}

pub(super) async fn forget_member(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    Path((_, node)): Path<(String, String)>,
    user: RequestUser,
    RequestBody(body): RequestBody<MessageBody>,
) -> ApiResult<WriteResult> {
    let node = NodeName::from(node);
    run_admin_op(&api, group, AdminOp::ForgetMember { node }, (user, body.message)).await
}

pub(super) async fn leave_group(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    user: RequestUser,
    RequestBody(body): RequestBody<LeaveBody>,
) -> ApiResult<WriteResult> {
    let op = AdminOp::LeaveGroup { force: body.force };
    run_admin_op(&api, group, op, (user, body.message)).await
}

pub(super) async fn delete_group(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    user: RequestUser,
    RequestBody(body): RequestBody<RecoveryKeyBody>,
) -> ApiResult<WriteResult> {
    let recovery_key = body.recovery_key.as_deref().map(parse_recovery_key).transpose()?;
    run_admin_op(&api, group, AdminOp::DeleteGroup { recovery_key }, (user, body.message)).await
}

pub(super) async fn recover_group(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    user: RequestUser,
    RequestBody(body): RequestBody<RecoveryKeyBody>,
) -> ApiResult<WriteResult> {
    let recovery_key = parse_recovery_key(&body.recovery_key.unwrap_or_default())?;
    run_admin_op(&api, group, AdminOp::RecoverAdmin { recovery_key }, (user, body.message)).await
}

pub(super) async fn readmit_changes(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    user: RequestUser,
    RequestBody(body): RequestBody<QuarantineBody>,
) -> ApiResult<WriteResult> {
    let op = AdminOp::ReadmitChanges { changes: body.changes };
    run_admin_op(&api, group, op, (user, body.message)).await
}

pub(super) async fn rewrite_changes(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    user: RequestUser,
    RequestBody(body): RequestBody<QuarantineBody>,
) -> ApiResult<WriteResult> {
    let (message, user_name) = (body.message.clone(), user.0.clone());
    let note = ChangeNote { message, user: user_name, command: body.command, time: 0 };
    let op = AdminOp::RewriteChanges { changes: body.changes, note };
    run_admin_op(&api, group, op, (user, body.message)).await
}

pub(super) async fn approve_join(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    Path((_, node)): Path<(String, String)>,
    user: RequestUser,
    RequestBody(body): RequestBody<ApproveBody>,
) -> ApiResult<WriteResult> {
    let digits = body.digits.as_deref().map(parse_digits).transpose()?;
    let op = AdminOp::ApproveJoin { node: node.into(), role: parse_role(&body.role)?, digits };
    run_admin_op(&api, group, op, (user, body.message)).await
}

/// Parses the file of a recovery key. Lines that begin with # are comments.
fn parse_recovery_key(text: &str) -> Result<SecretKey, CliError> {
    let line = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty());
    let no_key = || {
        CliError::usage("the file contains no recovery key")
            .with_hint("use the file recovery-GROUP.key of this group")
    };
    line.and_then(identity::parse_key).ok_or_else(no_key)
}
