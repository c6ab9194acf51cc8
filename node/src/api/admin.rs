//! Governing a group: who is in it, with which role, and what of theirs counts.

use axum::extract::State;
use larder_core::group::ChangeNote;
use larder_core::id::{ChangeId, GroupId, SecretKey};
use larder_core::node::{self, GroupState, Node, Request, Response};
use larder_core::record::Role;
use serde::{Deserialize, Serialize};

use super::name_lookup::{self, GroupQuery};
use super::{ApiContext, ApiResult, JsonResponse, RequestBody, RequestUser, join_requests, warnings};
use crate::dto::WriteResult;
use crate::error::CliError;
use crate::identity;

/// What a governing command asks for.
#[derive(Clone, Serialize, Deserialize)]
pub struct AdminBody {
    /// In which group.
    pub group: Option<String>,
    /// What to do.
    pub action: AdminAction,
    /// Why, in the operator's words.
    pub message: String,
}

/// What to do, in names as they were typed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminAction {
    /// End a membership.
    Remove {
        /// Whose.
        node: String,
        /// The last of its changes that is to count.
        keep_through: Option<String>,
    },
    /// Give another role.
    Role {
        /// To whom.
        node: String,
        /// The role.
        role: String,
    },
    /// Leave the group.
    Leave {
        /// Though no other admin is left.
        force: bool,
    },
    /// End the group for everybody.
    DeleteGroup {
        /// The recovery key, as its file holds it.
        key: Option<String>,
    },
    /// Drop what a former member observed.
    Forget {
        /// Whose.
        node: String,
    },
    /// Become an admin by the recovery key.
    Recover {
        /// The key, as its file holds it.
        key: String,
    },
    /// Bring changes in that are kept aside.
    Readmit {
        /// Which.
        changes: Vec<String>,
    },
    /// Write what they say once more.
    Rewrite {
        /// Which.
        changes: Vec<String>,
        /// The command, for the history.
        command: String,
    },
    /// Let a machine in that asks.
    Approve {
        /// Which.
        node: String,
        /// With which role.
        role: String,
        /// What its screen shows.
        digits: Option<String>,
    },
}

pub(super) async fn run_admin_op(
    State(api): State<ApiContext>,
    user: RequestUser,
    RequestBody(body): RequestBody<AdminBody>,
) -> ApiResult<WriteResult> {
    let message = body.message.clone();
    let user_name = user.0.clone();
    let query = move |local_node: &mut Node| prepare_admin_op(local_node, &body, &user_name);
    let (group, op) = api.handle.query(query).await??;
    let request = Request::Admin(node::AdminRequest { group, act: op, user: user.0, words: message });
    match api.handle.request_node(request).await? {
        Response::Written(change) => {
            Ok(JsonResponse(WriteResult { change: change.map(|id| id.to_string()) }))
        }
        _ => Ok(JsonResponse(WriteResult { change: None })),
    }
}

fn prepare_admin_op(
    local_node: &mut Node,
    body: &AdminBody,
    user: &str,
) -> Result<(GroupId, node::AdminOp), CliError> {
    let group = name_lookup::find_group_id(local_node, body.group.as_deref())?;
    let state = local_node.group(&group).ok_or_else(|| CliError::failed("the group is gone"))?;
    if !matches!(body.action, AdminAction::Recover { .. } | AdminAction::DeleteGroup { key: Some(_) }) {
        warnings::require_membership(local_node, state)?;
    }
    let op = match &body.action {
        AdminAction::Remove { node, keep_through } => {
            let find_change =
                |text: &String| name_lookup::find_change(name_lookup::desired_shard(state)?, text);
            let keep_through = keep_through.as_ref().map(find_change).transpose()?;
            node::AdminOp::RemoveMember { node: name_lookup::find_member(state, node)?, keep_through }
        }
        AdminAction::Role { node, role: name } => node::AdminOp::ChangeRole {
            node: name_lookup::find_member(state, node)?,
            role: parse_role(name)?,
        },
        AdminAction::Leave { force } => node::AdminOp::LeaveGroup { force: *force },
        AdminAction::DeleteGroup { key: text } => {
            node::AdminOp::DeleteGroup { recovery_key: text.as_deref().map(parse_recovery_key).transpose()? }
        }
        AdminAction::Forget { node } => {
            node::AdminOp::ForgetMember { node: name_lookup::find_member_or_former(state, node)? }
        }
        AdminAction::Recover { key: text } => {
            node::AdminOp::RecoverAdmin { recovery_key: parse_recovery_key(text)? }
        }
        AdminAction::Readmit { changes } => {
            node::AdminOp::ReadmitChanges { changes: find_unaccepted_all(state, changes)? }
        }
        AdminAction::Rewrite { changes, command } => node::AdminOp::RewriteChanges {
            changes: find_unaccepted_all(state, changes)?,
            note: ChangeNote {
                message: body.message.clone(),
                user: user.to_owned(),
                command: command.clone(),
                time: 0,
            },
        },
        AdminAction::Approve { node, role: name, digits } => {
            let params = GroupQuery { group: body.group.clone(), at: None };
            let digits = digits.as_deref().map(join_requests::parse_digits).transpose()?;
            node::AdminOp::ApproveJoin {
                node: join_requests::find_pending_node(local_node, &params, node)?,
                role: parse_role(name)?,
                digits,
            }
        }
    };
    Ok((group, op))
}

fn parse_role(name: &str) -> Result<Role, CliError> {
    let unknown_role = || CliError::usage(format!("`{name}` is not a role: admin, operator, node or reader"));
    Role::parse(name).ok_or_else(unknown_role)
}

/// The recovery key in a file: lines that begin with # are words.
fn parse_recovery_key(text: &str) -> Result<SecretKey, CliError> {
    let line = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty());
    let no_key =
        || CliError::usage("that file holds no recovery key").with_hint("it is called recovery-GROUP.key");
    line.and_then(identity::parse_key).ok_or_else(no_key)
}

/// Changes that are kept aside, each by a unique prefix of its id.
fn find_unaccepted_all(state: &GroupState, prefixes: &[String]) -> Result<Vec<ChangeId>, CliError> {
    prefixes.iter().map(|text| find_unaccepted(state, text)).collect()
}

/// A change that is kept aside, by a unique prefix of its id.
pub(super) fn find_unaccepted(state: &GroupState, text: &str) -> Result<ChangeId, CliError> {
    let prefix = text.trim().to_ascii_lowercase();
    let ids = state
        .group
        .shard_states()
        .unaccepted_sets()
        .flat_map(|(_, unaccepted)| unaccepted.iter())
        .map(larder_core::group::UnacceptedChange::id);
    let matches: Vec<ChangeId> =
        ids.filter(|id| !prefix.is_empty() && id.to_string().starts_with(&prefix)).collect();
    match matches.as_slice() {
        [one] => Ok(*one),
        [] => Err(CliError::not_found(format!("no change `{text}` is kept aside"))
            .with_hint("see `larder quarantine list`")),
        several => {
            let ids: Vec<String> = several.iter().map(ChangeId::to_string).collect();
            Err(CliError::ambiguous_name("change", text, &ids))
        }
    }
}
