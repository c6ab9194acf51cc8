//! Queries of the history: log, one change, and differences.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use larder_core::history::{self, LogEntry, LogSource};
use larder_core::id::{ChangeId, HistoryEntryId};
use larder_core::node::name_lookup::{find_heads, find_history_object, find_member};
use larder_core::node::{GroupState, Node};
use larder_core::shard::Shard;
use larder_core::store::Table;
use larder_core::typed_name::{GroupName, NodeName};
use serde::Deserialize;

use super::params::{AtQuery, GroupPath, group_state, node_ref, parse_point, parse_resource};
use super::record_summary::entry_message;
use super::{ApiContext, ApiResult, JsonResponse, QueryParams};
use crate::dto::{
    ChangeDetail, ChangeEntry, ChangeLog, ChangeSource, ClockFault, DiffReport, FieldDiff, JsonTime,
    JsonValue, TouchedResource,
};
use crate::error::CliError;
use crate::limits;
use crate::store::StoreReader;
use crate::time::{self, wall_clock_seconds};

/// The parameters of `GET /v1/groups/{group}/changes`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct LogQuery {
    at: Option<String>,
    resource: Option<String>,
    node: Option<NodeName>,
    user: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    /// The number of newest entries to leave out, because an earlier request had them.
    #[serde(default)]
    skip: usize,
    #[serde(default)]
    all: bool,
    /// True to add the values that each change wrote.
    #[serde(default)]
    edits: bool,
}

/// The parameters of `GET /v1/groups/{group}/diff`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DiffQuery {
    /// The older point; without it, the root.
    from: Option<String>,
    /// The newer point; without it, the present.
    to: Option<String>,
    resource: Option<String>,
}

/// The heads at a point of the history that a text names: a time, a tag, a change, or several changes with
/// commas between.
pub(super) fn heads_at(desired: &Shard, text: &str) -> Result<Vec<ChangeId>, CliError> {
    Ok(find_heads(desired, &parse_point(text)?)?)
}

/// The ids of heads, without the root, which is not a change that `show` knows.
pub(super) fn head_ids(desired: &Shard, heads: &[ChangeId]) -> Vec<String> {
    heads.iter().filter(|id| **id != desired.root().id()).map(ToString::to_string).collect()
}

pub(super) async fn get_log(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    QueryParams(params): QueryParams<LogQuery>,
) -> ApiResult<ChangeLog> {
    let reader = api.event_bus.reader();
    api.handle
        .query(move |local_node| read_log(local_node, &reader, &group, &params))
        .await?
        .map(JsonResponse)
}

fn read_log(
    local_node: &mut Node,
    reader: &StoreReader,
    group: &GroupName,
    params: &LogQuery,
) -> Result<ChangeLog, CliError> {
    let state = group_state(local_node, group)?;
    if params.resource.is_some() {
        state.group.build_resource_indexes();
    }
    let desired = state.desired_shard()?;
    let parse_time = |text: &Option<String>| text.as_deref().map(time::parse_time).transpose();
    let at_heads = params.at.as_deref().map(|at| heads_at(desired, at)).transpose()?;
    let nodes = params.node.as_ref().map(|node| find_member(state, node)).transpose()?;
    let log_query = history::LogQuery {
        resource: params.resource.as_deref().map(parse_resource).transpose()?,
        nodes: nodes.map(|node| BTreeSet::from([node])),
        user: params.user.clone(),
        since: parse_time(&params.since)?,
        until: parse_time(&params.until)?,
        // One more entry than is shown, to see whether there are more.
        limit: params.limit.map(|limit| limit.saturating_add(1)),
        skip: params.skip,
        include_all_sources: params.all,
        heads: at_heads.clone(),
    };
    let changes = reader.open_table(Table::Changes);
    let mut entries = history::log(&state.group, &log_query, &|key| changes.as_ref()?.get(key));
    if let (Some(name), true) = (&log_query.resource, entries.is_empty() && params.skip == 0) {
        let was_known = larder_core::resource::view::ResourceView::read(desired.state(), name).is_some();
        if !was_known {
            return Err(CliError::not_found(format!("there was never a resource {name} in this group"))
                .with_hint("see `larder log`"));
        }
    }
    let has_more = params.limit.is_some_and(|limit| entries.len() > limit);
    entries.truncate(params.limit.unwrap_or(usize::MAX));
    let at_ids = at_heads.as_ref().map(|at| head_ids(desired, at));
    let heads = at_heads.unwrap_or_else(|| desired.graph().heads());
    let changes = entries.into_iter().map(|entry| change_entry(state, entry, params.edits)).collect();
    Ok(ChangeLog {
        heads: heads.iter().map(ToString::to_string).collect(),
        changes,
        more: has_more,
        at: at_ids,
    })
}

fn change_entry(state: &GroupState, entry: LogEntry, with_edits: bool) -> ChangeEntry {
    let source = match entry.source {
        LogSource::Desired => ChangeSource::Desired,
        LogSource::Observed(_) => ChangeSource::Observed,
        LogSource::Membership => ChangeSource::Membership,
    };
    let edits = match find_history_object(&state.group, &entry.id) {
        Ok(HistoryEntryId::Change { shard_id, id }) if with_edits => {
            history::diff_of_change(&state.group, &shard_id, &id).into_iter().map(field_diff).collect()
        }
        _ => Vec::new(),
    };
    let message = entry_message(&state.group, &entry);
    let clock = clock_fault(&entry);
    ChangeEntry {
        id: entry.id,
        source,
        node: entry.node.map(|node| node_ref(state, &node)),
        user: entry.note.user,
        time: JsonTime(entry.note.time),
        message,
        command: entry.note.command,
        deps: entry.deps,
        parents: entry.parents,
        verified: entry.verified,
        clock,
        touches: entry.field_changes.into_iter().map(touched_resource).collect(),
        edits,
    }
}

pub(super) fn touched_resource(touch: history::FieldChanges) -> TouchedResource {
    TouchedResource { resource: touch.resource.to_string(), fields: touch.fields, op: touch.op.into() }
}

/// The fault of the author's clock that an entry shows.
fn clock_fault(entry: &LogEntry) -> Option<ClockFault> {
    match entry.note.time > wall_clock_seconds().saturating_add(limits::MAX_CLOCK_AHEAD_SECONDS) {
        true => Some(ClockFault::Ahead),
        false => entry.is_clock_behind.then_some(ClockFault::Behind),
    }
}

pub(super) fn field_diff(edit: history::FieldDiff) -> FieldDiff {
    FieldDiff {
        resource: edit.resource.to_string(),
        field: edit.field,
        op: edit.op.into(),
        old: edit.old.map(JsonValue),
        new: edit.new.map(JsonValue),
        change: edit.change.map(|id| id.to_string()),
    }
}

pub(super) async fn get_change(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    Path((_, id)): Path<(String, String)>,
    QueryParams(params): QueryParams<AtQuery>,
) -> ApiResult<ChangeDetail> {
    let reader = api.event_bus.reader();
    let query = move |local_node: &mut Node| read_change(local_node, &reader, &group, (&id, params.at));
    api.handle.query(query).await?.map(JsonResponse)
}

fn read_change(
    local_node: &mut Node,
    reader: &StoreReader,
    group: &GroupName,
    (target, at): (&str, Option<String>),
) -> Result<ChangeDetail, CliError> {
    let state = group_state(local_node, group)?;
    if target.contains('/') {
        let newest_query = LogQuery {
            at,
            resource: Some(target.to_owned()),
            limit: Some(1),
            edits: true,
            ..LogQuery::default()
        };
        let log = read_log(local_node, reader, group, &newest_query)?;
        let (change, at) = (log.changes.into_iter().next(), log.at);
        return change
            .map(|change| ChangeDetail { change, at })
            .ok_or_else(|| CliError::not_found(format!("there is no change of {target}")));
    }
    let lookup = find_history_object(&state.group, target)?;
    let entry = history::find_entry(&state.group, &lookup);
    let entry = entry.ok_or_else(|| CliError::not_found(format!("there is no change `{target}`")))?;
    Ok(ChangeDetail { change: change_entry(state, entry, true), at: None })
}

pub(super) async fn get_diff(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    QueryParams(params): QueryParams<DiffQuery>,
) -> ApiResult<DiffReport> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let desired = state.desired_shard()?;
        let resource = params.resource.as_deref().map(parse_resource).transpose()?;
        let heads_or = |text: Option<&str>, default: Vec<ChangeId>| {
            text.map_or(Ok(default), |text| heads_at(desired, text))
        };
        let from = heads_or(params.from.as_deref(), vec![desired.root().id()])?;
        let to = heads_or(params.to.as_deref(), desired.graph().heads())?;
        let edits = history::diff(desired, &from, &to, resource.as_ref());
        let id_strings = |heads: &[ChangeId]| heads.iter().map(ToString::to_string).collect();
        let at_ids = params.to.is_some().then(|| head_ids(desired, &to));
        let edits = edits.into_iter().map(field_diff).collect();
        Ok(JsonResponse(DiffReport { from: id_strings(&from), to: id_strings(&to), edits, at: at_ids }))
    };
    api.handle.query(query).await?
}
