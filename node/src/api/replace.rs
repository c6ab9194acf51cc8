//! One machine in another's place.

use axum::extract::State;
use larder_core::group::ChangeNote;
use larder_core::id::{ChangeId, GroupId, NodeId};
use larder_core::limits::AWAY_AFTER_MS;
use larder_core::node::{Node, NodeInfo, NodeState, Request, Response, WriteRequest};
use larder_core::resource::node_replacement::{NodeReplacement, plan_node_replacement};
use serde::{Deserialize, Serialize};

use super::{ApiContext, ApiResult, JsonResponse, RequestBody, RequestUser, name_lookup, warnings};
use crate::dto::ReplaceResult;
use crate::error::{CliError, ExitKind};

/// What `replace` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplaceBody {
    /// In which group.
    pub group: Option<String>,
    /// Whose place this node takes.
    pub old_node: String,
    /// Why, in the operator's words.
    pub message: String,
    /// The command, for the history.
    pub command: String,
}

/// What there is to write, and against which state of things.
struct PreparedReplacement {
    group: GroupId,
    old_id: NodeId,
    old_is_member: bool,
    replacement: NodeReplacement,
    base: Vec<ChangeId>,
}

pub(super) async fn replace_node(
    State(api): State<ApiContext>,
    user: RequestUser,
    RequestBody(body): RequestBody<ReplaceBody>,
) -> ApiResult<ReplaceResult> {
    let (group, old) = (body.group, body.old_node);
    let query = move |local_node: &mut Node| prepare_replacement(local_node, group.as_deref(), &old);
    let PreparedReplacement { group, old_id: old, old_is_member: is_member, replacement, base } =
        api.handle.query(query).await??;
    let note = ChangeNote { message: body.message, user: user.0, command: body.command, time: 0 };
    let NodeReplacement { labels, resources, edits } = replacement;
    // The values stand in the document already, even those that this version does not know.
    let request = WriteRequest { group, edits, expected_heads: Some(base), note, allow_unknown: true };
    let Response::Written(change) = api.handle.request_node(Request::Write(request)).await? else {
        return Err(CliError::failed("the machine answered something else; please report this"));
    };
    Ok(JsonResponse(ReplaceResult {
        old: old.to_string(),
        is_member,
        alias: labels.alias,
        labels: labels.labels,
        resources: resources.iter().map(ToString::to_string).collect(),
        change: change.map(|id| id.to_string()),
    }))
}

fn prepare_replacement(
    local_node: &mut Node,
    group: Option<&str>,
    old: &str,
) -> Result<PreparedReplacement, CliError> {
    let group = name_lookup::find_group_id(local_node, group)?;
    let state = local_node.group(&group).ok_or_else(|| CliError::failed("the group is gone"))?;
    warnings::require_membership(local_node, state)?;
    let (id, own_id) = (name_lookup::find_member_or_former(state, old)?, local_node.own_id());
    if id == own_id {
        return Err(CliError::usage(
            "that is this node itself: run `replace` on the machine that takes the place",
        ));
    }
    let is_old_up = |node: &NodeInfo| node.id == id && node.state == NodeState::Up;
    if local_node.member_infos(state).iter().any(is_old_up) {
        let message = format!("{old} is up, and would run what is meant for this node from now on");
        return Err(CliError::new(ExitKind::Refused, "up", message)
            .with_hint(format!(
                "stop its daemon, or remove it with `larder remove`; it counts as up for {} s after it was heard last",
                AWAY_AFTER_MS.div_ceil(1000)
            )));
    }
    let desired = name_lookup::desired_shard(state)?;
    let members = state.group.members();
    Ok(PreparedReplacement {
        group,
        old_id: id,
        old_is_member: members.is_member(&id),
        replacement: plan_node_replacement(desired.state(), members, &id, &own_id),
        base: desired.graph().heads(),
    })
}
