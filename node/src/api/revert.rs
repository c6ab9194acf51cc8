//! Reverts: undo, revert and restore, each as one change; and the tags that name points of the history.

use axum::extract::State;
use larder_core::group::ChangeNote;
use larder_core::history;
use larder_core::id::{ChangeId, HistoryEntryId};
use larder_core::node::{self, GroupState, Node, Request, Response, RevertCommand, RevertTarget};
use larder_core::resource::history_tag;
use larder_core::shard::Shard;
use serde::{Deserialize, Serialize};

use super::history::field_diff;
use super::params::{GroupPath, group_state, node_ref, own_group_state};
use super::{ApiContext, ApiResult, JsonResponse, RequestBody, RequestUser, unexpected_response};
use crate::dto::{JsonTime, RevertResult, TagEntry, TagList, WritePlan};
use crate::error::CliError;

/// Body of `POST /v1/groups/{group}/reverts`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevertBody {
    /// The changes to take back.
    pub target: RevertTarget,
    /// The operator's reason. If it is empty, the node writes a message that names the reverted changes.
    pub message: String,
    /// The command line. The node writes that of an undo or revert itself.
    pub command: String,
    /// True to return the effect without a write.
    pub dry_run: bool,
}

pub(super) async fn post_revert(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    user: RequestUser,
    RequestBody(body): RequestBody<RevertBody>,
) -> ApiResult<RevertResult> {
    let note = ChangeNote { message: body.message, user: user.0, command: body.command, time: 0 };
    let command = RevertCommand { group: group.clone(), target: body.target, note };
    if body.dry_run {
        return api.handle.query(move |local_node| plan_revert(local_node, command)).await?.map(JsonResponse);
    }
    let Response::Reverted { change, sources } = api.request(Request::Revert(command)).await? else {
        return Err(unexpected_response());
    };
    let describe_result = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let shard_id = state.desired_shard()?.root().shard_id();
        let edits =
            change.map(|id| history::diff_of_change(&state.group, &shard_id, &id)).unwrap_or_default();
        let edits = edits.into_iter().map(field_diff).collect();
        let (change, sources) = (change.map(|id| id.to_string()), id_strings(&sources));
        Ok(JsonResponse(RevertResult { change, sources, edits }))
    };
    api.handle.query(describe_result).await?
}

fn plan_revert(local_node: &mut Node, command: RevertCommand) -> Result<RevertResult, CliError> {
    let own_id = local_node.own_id();
    let state = own_group_state(local_node, &command.group)?;
    let plan = node::plan_revert(state, &own_id, command)?;
    let edits = WritePlan::new(state.desired_shard()?, &plan.puts).edits;
    Ok(RevertResult { change: None, sources: id_strings(&plan.sources), edits })
}

fn id_strings(ids: &[ChangeId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

pub(super) async fn list_tags(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> ApiResult<TagList> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let desired = state.desired_shard()?;
        let tags = history_tag::all_tags(desired)
            .into_iter()
            .filter_map(|tag| tag_entry(state, desired, &tag))
            .collect();
        Ok(JsonResponse(TagList { tags }))
    };
    api.handle.query(query).await?
}

fn tag_entry(state: &GroupState, desired: &Shard, tag: &history_tag::HistoryTag) -> Option<TagEntry> {
    let found = HistoryEntryId::Change { shard_id: desired.root().shard_id(), id: tag.change };
    let entry = history::find_entry(&state.group, &found)?;
    Some(TagEntry {
        name: tag.name.clone(),
        heads: id_strings(&tag.heads),
        change: tag.change.to_string(),
        node: entry.node.map(|node| node_ref(state, &node)),
        user: entry.note.user,
        time: JsonTime(entry.note.time),
        message: entry.note.message,
    })
}
