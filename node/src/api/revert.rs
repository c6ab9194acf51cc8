//! Putting back: undo, revert and restore, each as one change; and the tags that name points to go back to.

use std::collections::BTreeSet;

use axum::extract::State;
use larder_core::group::ChangeNote;
use larder_core::history::{self, ResourceScope, UNDO_COMMAND_PREFIX};
use larder_core::id::{ChangeId, GroupId, HistoryEntryId};
use larder_core::node::{GroupState, Node, Request, RequestError, Response};
use larder_core::resource::history_tag;
use larder_core::shard::Shard;
use serde::{Deserialize, Serialize};

use super::history::{field_diff, find_heads};
use super::name_lookup::{self, GroupQuery};
use super::{ApiContext, ApiResult, JsonResponse, QueryParams, RequestBody, RequestUser};
use crate::dto::{JsonTime, RevertResult, TagEntry, TagList, WritePlan};
use crate::error::{CliError, ExitKind};

/// What `undo`, `revert` and `restore` ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevertBody {
    /// In which group.
    pub group: Option<String>,
    /// What.
    pub target: RevertTarget,
    /// Why, in the operator's words; if empty, it is said what was put back.
    pub message: String,
    /// Only say what would differ.
    pub dry_run: bool,
}

/// What is to be put back, in names as they were typed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevertTarget {
    /// The newest thing that this node did and that is not undone yet.
    Undo,
    /// What these changes did.
    Revert(Vec<String>),
    /// How it was.
    Restore {
        /// At a time, change or tag.
        at: String,
        /// `<kind>` or `<kind>/<name>`; everything if left out.
        path: Option<String>,
    },
}

/// A request whose names are understood.
struct PreparedRevert {
    group: GroupId,
    request: history::RevertRequest,
    sources: Vec<ChangeId>,
    change_note: ChangeNote,
    plan: WritePlan,
}

pub(super) async fn revert(
    State(api): State<ApiContext>,
    user: RequestUser,
    RequestBody(body): RequestBody<RevertBody>,
) -> ApiResult<RevertResult> {
    let dry_run = body.dry_run;
    let prepared = api.handle.query(move |local_node| prepare_revert(local_node, body, user.0)).await??;
    if dry_run {
        return Ok(JsonResponse(RevertResult {
            change: None,
            sources: id_strings(&prepared.sources),
            edits: prepared.plan.edits,
        }));
    }
    let group = prepared.group;
    let request = Request::Revert { group, back: prepared.request, note: prepared.change_note };
    let change = match api.handle.request_node(request).await? {
        Response::Written(change) => change,
        _ => return Err(CliError::failed("the machine answered something else; please report this")),
    };
    let describe_result = move |local_node: &mut Node| {
        let state = name_lookup::find_group(local_node, Some(&group.to_string()))?;
        let shard_id = name_lookup::desired_shard(state)?.root().shard_id();
        let edits =
            change.map(|id| history::diff_of_change(&state.group, &shard_id, &id)).unwrap_or_default();
        let edits = edits.into_iter().map(field_diff).collect();
        Ok(JsonResponse(RevertResult {
            change: change.map(|id| id.to_string()),
            sources: id_strings(&prepared.sources),
            edits,
        }))
    };
    api.handle.query(describe_result).await?
}

fn id_strings(ids: &[ChangeId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn prepare_revert(local_node: &mut Node, body: RevertBody, user: String) -> Result<PreparedRevert, CliError> {
    let own_id = local_node.own_id();
    let group = name_lookup::find_group_id(local_node, body.group.as_deref())?;
    let state = local_node.group(&group).ok_or_else(|| CliError::failed("the group is gone"))?;
    super::warnings::require_membership(local_node, state)?;
    let state = name_lookup::find_group(local_node, Some(&group.to_string()))?;
    let desired = name_lookup::desired_shard(state)?;
    let (request, changes, command, default_message) = match body.target {
        RevertTarget::Undo => {
            let undoable = history::newest_undoable_change(&state.group, &own_id).ok_or_else(|| {
                CliError::not_found("this node has done nothing lately that could be undone")
                    .with_hint("see `larder log`; `larder revert CHANGE` takes back what any node did")
            })?;
            let (change, cancelled) = (undoable.change, undoable.cancelled);
            let request = history::RevertRequest::Revert { changes: BTreeSet::from([change]), cancelled };
            (
                request,
                vec![change],
                format!("{UNDO_COMMAND_PREFIX}{change}"),
                default_revert_message(state, "undoes", &[change]),
            )
        }
        RevertTarget::Revert(texts) => {
            let changes = find_reverted_changes(state, desired, &texts)?;
            let command = format!("revert {}", short_ids(&changes));
            let default_message = default_revert_message(state, "reverts", &changes);
            let change_set = changes.iter().copied().collect();
            (
                history::RevertRequest::Revert { changes: change_set, cancelled: BTreeSet::new() },
                changes,
                command,
                default_message,
            )
        }
        RevertTarget::Restore { at, path } => {
            let heads = find_heads(desired, &at)?;
            let scope = find_scope(desired, path.as_deref())?;
            let command = format!("restore --at {at} {}", path.unwrap_or_default()).trim_end().to_owned();
            let words = format!("restores what was wanted at {at}");
            (history::RevertRequest::Restore { heads: heads.clone(), scope }, heads, command, words)
        }
    };
    let puts = history::plan_revert(desired, state.group.members(), &request)
        .map_err(|error| CliError::from(RequestError::from(error)))?;
    let plan = WritePlan::new(desired, &puts);
    let message = if body.message.is_empty() { default_message } else { body.message };
    let note = ChangeNote { message, user, command, time: 0 };
    Ok(PreparedRevert { group, request, sources: changes, change_note: note, plan })
}

/// The changes that are to be reverted: of `desired` alone, since what a machine observed is what was so.
fn find_reverted_changes(
    state: &GroupState,
    desired: &Shard,
    prefixes: &[String],
) -> Result<Vec<ChangeId>, CliError> {
    let find_one = |text: &String| {
        let lookup = history::find_by_id_prefix(&state.group, &text.to_ascii_lowercase());
        let is_elsewhere = lookup.is_ok_and(|found| match found {
            HistoryEntryId::Change { shard_id, .. } => shard_id != desired.root().shard_id(),
            HistoryEntryId::Record(_) => true,
        });
        if is_elsewhere {
            let message = format!("{text} is no change of what is wanted, and only those can be reverted");
            return Err(CliError::new(ExitKind::Refused, "not-desired", message).with_hint(
                "see `larder show`; memberships are changed by `larder role` and `larder remove`",
            ));
        }
        name_lookup::find_change(desired, text)
    };
    let mut changes = prefixes.iter().map(find_one).collect::<Result<Vec<_>, _>>()?;
    changes.sort_unstable();
    changes.dedup();
    Ok(changes)
}

fn find_scope(desired: &Shard, path: Option<&str>) -> Result<ResourceScope, CliError> {
    let scope = name_lookup::parse_scope(path)?;
    if !history::scope_has_resources(desired, &scope) {
        let path = path.unwrap_or_default();
        return Err(
            CliError::not_found(format!("no resource {path} was ever here")).with_hint("see `larder log`")
        );
    }
    Ok(scope)
}

fn short_ids(changes: &[ChangeId]) -> String {
    changes.iter().map(ChangeId::short).collect::<Vec<_>>().join(" ")
}

/// What a change is said to be for that takes others back, if nobody says more.
fn default_revert_message(state: &GroupState, verb: &str, changes: &[ChangeId]) -> String {
    let summary = format!("{verb} {}", short_ids(changes));
    let [one] = changes else { return summary };
    let shard_id = state.group.desired().map(|shard| shard.root().shard_id());
    let entry = shard_id.and_then(|shard_id| {
        history::find_entry(&state.group, &HistoryEntryId::Change { shard_id, id: *one })
    });
    match entry.as_ref().and_then(|entry| entry.note.message.lines().next()) {
        Some(first_line) if !first_line.is_empty() => format!("{summary}: {first_line}"),
        _ => summary,
    }
}

/// The change that a tag is to be made of, and whether it may be.
pub(super) fn heads_for_tag(
    state: &GroupState,
    name: &str,
    at_text: Option<&str>,
    force: bool,
) -> Result<Vec<ChangeId>, CliError> {
    let desired = name_lookup::desired_shard(state)?;
    if crate::time::looks_like_time(name) {
        return Err(CliError::usage(format!("`{name}` cannot be a tag: it may be taken for a time"))
            .with_hint("as before_upgrade or v1.2"));
    }
    let mut heads =
        at_text.map_or_else(|| Ok(desired.graph().heads()), |at_text| find_heads(desired, at_text))?;
    heads.sort_unstable();
    match history_tag::find_tag(desired, name) {
        Some(existing) if existing.heads != heads && !force => {
            let message = format!("tag {name} stands for {} already", short_ids(&existing.heads));
            Err(CliError::new(ExitKind::Refused, "tag-exists", message)
                .with_hint("move it with --force, or take another name"))
        }
        _ => Ok(heads),
    }
}

/// Refuses to take away a tag that is not there.
pub(super) fn check_tag_exists(state: &GroupState, name: &str) -> Result<(), CliError> {
    match history_tag::find_tag(name_lookup::desired_shard(state)?, name) {
        Some(_) => Ok(()),
        None => Err(CliError::not_found(format!("no tag `{name}` here")).with_hint("see `larder tag`")),
    }
}

pub(super) async fn list_tags(
    State(api): State<ApiContext>,
    QueryParams(params): QueryParams<GroupQuery>,
) -> ApiResult<TagList> {
    let query = move |local_node: &mut Node| {
        let state = name_lookup::find_group(local_node, params.group.as_deref())?;
        let desired = name_lookup::desired_shard(state)?;
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
        node: entry.node.map(|node| name_lookup::node_ref(state, &node)),
        user: entry.note.user,
        time: JsonTime(entry.note.time),
        message: entry.note.message,
    })
}
