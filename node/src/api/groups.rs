//! Creates and lists groups.

use std::path::PathBuf;

use axum::extract::State;
use larder_core::id::GroupId;
use larder_core::node::{MembershipStatus, Node, Request, Response};
use serde::{Deserialize, Serialize};

use super::{ApiContext, ApiResult, JsonResponse, RequestBody, unexpected_response};
use crate::daemon::DaemonHandle;
use crate::data_dir::{DataDir, create_secret_file};
use crate::dto::{CreatedGroup, GroupEntry, GroupList, JoiningGroup, MemberRole, NodePaths};
use crate::error::CliError;
use crate::identity;

/// Body of `POST /v1/groups`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateGroupBody {
    /// The name of the group.
    pub name: String,
}

pub(super) async fn get_paths(State(api): State<ApiContext>) -> ApiResult<NodePaths> {
    Ok(JsonResponse(node_paths(&api.data_dir, true)))
}

/// The paths of a node's files.
pub fn node_paths(data_dir: &DataDir, running: bool) -> NodePaths {
    let to_string = |path: PathBuf| path.display().to_string();
    NodePaths {
        data: to_string(data_dir.path.clone()),
        socket: to_string(data_dir.socket.clone()),
        key: to_string(data_dir.key_file()),
        store: to_string(data_dir.store_file()),
        settings: to_string(data_dir.settings_file()),
        running,
    }
}

pub(super) async fn list_groups(State(api): State<ApiContext>) -> ApiResult<GroupList> {
    Ok(JsonResponse(api.handle.query(|local_node| read_groups(local_node)).await?))
}

fn read_groups(local_node: &Node) -> GroupList {
    let own_id = local_node.own_id();
    let mut groups: Vec<GroupEntry> = local_node
        .groups()
        .map(|state| GroupEntry {
            id: state.group.id().to_string(),
            name: state.group.name().to_owned(),
            role: state.group.members().role_of(&own_id).map(MemberRole::from),
            members: state.group.members().nodes().count(),
            changes: state.group.shard_states().change_count(),
            paused: state.paused,
            status: MembershipStatus::for_key(state.group.members(), &own_id).into(),
        })
        .collect();
    groups.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let pending_joins = local_node.pending_joins().filter(|(_, join)| !join.is_granted());
    let joining_groups = pending_joins.map(|(id, join)| JoiningGroup {
        id: id.to_string(),
        waiting_for: join.waiting_for_issuer().map(str::to_owned),
    });
    GroupList { groups, joining: joining_groups.collect() }
}

pub(super) async fn post_group(
    State(api): State<ApiContext>,
    RequestBody(body): RequestBody<CreateGroupBody>,
) -> ApiResult<CreatedGroup> {
    let (id, key_path) = create_group(&api.handle, &api.data_dir, &body.name).await?;
    let recovery_key = key_path.display().to_string();
    Ok(JsonResponse(CreatedGroup { id: id.to_string(), name: body.name, recovery_key }))
}

/// Creates a group, and writes its recovery key into the data directory.
pub async fn create_group(
    handle: &DaemonHandle,
    data_dir: &DataDir,
    name: &str,
) -> Result<(GroupId, PathBuf), CliError> {
    let Response::GroupCreated { group, recovery_key: recovery } =
        handle.request_node(Request::CreateGroup { name: name.to_owned() }).await??
    else {
        return Err(unexpected_response());
    };
    let key_path = data_dir.recovery_key_file(&group.to_string());
    let text = format!(
        "# The recovery key of the Larder group \"{}\". Anyone who has it can take over the group. Move this \
         file to another host.\n{}",
        name.escape_default(),
        identity::format_key(&recovery)
    );
    create_secret_file(&key_path, &text).map_err(|error| {
        CliError::failed(format!(
            "the group was created, but its recovery key could not be written to {}: {error}; without the \
             key, nobody can recover the group if all admins are lost",
            key_path.display()
        ))
    })?;
    Ok((group, key_path))
}
