//! Questions to the past.

use std::collections::BTreeSet;

use axum::extract::State;
use larder_core::history::{self, LogEntry, LogSource, LookupError};
use larder_core::id::{ChangeId, HistoryEntryId};
use larder_core::node::{GroupState, Node};
use larder_core::resource::history_tag;
use larder_core::shard::Shard;
use larder_core::store::Table;
use serde::Deserialize;

use super::name_lookup;
use super::record_summary::entry_message;
use super::{ApiContext, ApiResult, JsonResponse, QueryParams};
use crate::daemon::wall_clock_seconds;
use crate::dto::{
    ChangeDetail, ChangeEntry, ChangeLog, DiffReport, FieldDiff, JsonTime, JsonValue, TouchedResource,
};
use crate::error::CliError;
use crate::limits;
use crate::store::StoreReader;
use crate::time;

/// What `log` asks for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct LogQuery {
    group: Option<String>,
    at: Option<String>,
    resource: Option<String>,
    node: Option<String>,
    user: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    /// How many of the newest were asked for before.
    #[serde(default)]
    skip: usize,
    #[serde(default)]
    all: bool,
    /// With what each change did.
    #[serde(default)]
    edits: bool,
}

/// What `show` asks for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ShowQuery {
    group: Option<String>,
    at: Option<String>,
    /// A change, or `<kind>/<name>` for the newest change of that.
    what: String,
}

/// What `diff` asks for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DiffQuery {
    group: Option<String>,
    /// From where; the root if left out.
    from: Option<String>,
    /// To where; the present if left out.
    to: Option<String>,
    resource: Option<String>,
}

/// The heads at a point of the past that a text names: a time, a tag, a change, or several changes with commas between.
pub(super) fn find_heads(desired: &Shard, text: &str) -> Result<Vec<ChangeId>, CliError> {
    if time::looks_like_time(text) {
        let time_limit = time::parse_time(text)
            .map_err(|failure| CliError { exit: crate::error::ExitKind::NotFound, ..failure })?;
        return Ok(history::heads_at_time(desired, time_limit));
    }
    if let Some(tag) = history_tag::find_tag(desired, text) {
        // What a tag names may have left the document since: then it says which change is missing.
        let heads = tag.heads.iter().map(ToString::to_string).collect::<Vec<_>>();
        return name_lookup::find_changes(desired, &heads);
    }
    if text.contains(',') {
        let texts: Vec<String> = text.split(',').map(str::to_owned).collect();
        return name_lookup::find_changes(desired, &texts);
    }
    name_lookup::find_change(desired, text).map(|id| vec![id]).map_err(|failure| {
        match failure.code.as_str() {
            "not-found" => CliError { text: format!("no change or tag `{text}` here"), ..failure }
                .with_hint("see `larder log` and `larder tag`"),
            _ => failure,
        }
    })
}

/// Heads as they are told: the root is no change that anybody could ask for.
pub(super) fn head_ids(desired: &Shard, heads: &[ChangeId]) -> Vec<String> {
    heads.iter().filter(|id| **id != desired.root().id()).map(ToString::to_string).collect()
}

pub(super) async fn get_log(
    State(api): State<ApiContext>,
    QueryParams(params): QueryParams<LogQuery>,
) -> ApiResult<ChangeLog> {
    let reader = api.event_bus.reader();
    api.handle.query(move |local_node| read_log(local_node, &reader, &params)).await?.map(JsonResponse)
}

fn read_log(local_node: &mut Node, reader: &StoreReader, params: &LogQuery) -> Result<ChangeLog, CliError> {
    let state = name_lookup::find_group(local_node, params.group.as_deref())?;
    if params.resource.is_some() {
        state.group.build_resource_indexes();
    }
    let desired = name_lookup::desired_shard(state)?;
    let parse_time = |text: &Option<String>| text.as_deref().map(time::parse_time).transpose();
    let at_heads = params.at.as_deref().map(|at| find_heads(desired, at)).transpose()?;
    let nodes = params.node.as_deref().map(|node| name_lookup::find_member(state, node)).transpose()?;
    let log_query = history::LogQuery {
        resource: params.resource.as_deref().map(name_lookup::parse_resource).transpose()?,
        nodes: nodes.map(|node| BTreeSet::from([node])),
        user: params.user.clone(),
        since: parse_time(&params.since)?,
        until: parse_time(&params.until)?,
        // One more than is shown tells whether there are more.
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
            return Err(CliError::not_found(format!("no resource {name} was ever here"))
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
        LogSource::Desired => "desired",
        LogSource::Observed(_) => "observed",
        LogSource::Membership => "membership",
    };
    let edits = match history::find_by_id_prefix(&state.group, &entry.id) {
        Ok(HistoryEntryId::Change { shard_id, id }) if with_edits => {
            history::diff_of_change(&state.group, &shard_id, &id).into_iter().map(field_diff).collect()
        }
        _ => Vec::new(),
    };
    let message = entry_message(&state.group, &entry);
    let clock_warning = clock_deviation(&entry).map(str::to_owned);
    ChangeEntry {
        id: entry.id,
        source: source.to_owned(),
        node: entry.node.map(|node| name_lookup::node_ref(state, &node)),
        user: entry.note.user,
        time: JsonTime(entry.note.time),
        message,
        command: entry.note.command,
        deps: entry.deps,
        parents: entry.parents,
        verified: entry.verified,
        clock: clock_warning,
        touches: entry
            .field_changes
            .into_iter()
            .map(|touch| TouchedResource {
                resource: touch.resource.to_string(),
                fields: touch.fields,
                op: touch.op.as_str().to_owned(),
            })
            .collect(),
        edits,
    }
}

/// What the author's clock did, if it disagreed with others.
fn clock_deviation(entry: &LogEntry) -> Option<&'static str> {
    match entry.note.time > wall_clock_seconds().saturating_add(limits::MAX_CLOCK_AHEAD_SECONDS) {
        true => Some("ahead"),
        false => entry.is_clock_behind.then_some("behind"),
    }
}

pub(super) fn field_diff(edit: history::FieldDiff) -> FieldDiff {
    FieldDiff {
        resource: edit.resource.to_string(),
        field: edit.field,
        op: edit.op.as_str().to_owned(),
        old: edit.old.map(JsonValue),
        new: edit.new.map(JsonValue),
        change: edit.change.map(|id| id.to_string()),
    }
}

pub(super) async fn get_change(
    State(api): State<ApiContext>,
    QueryParams(params): QueryParams<ShowQuery>,
) -> ApiResult<ChangeDetail> {
    let reader = api.event_bus.reader();
    api.handle.query(move |local_node| read_change(local_node, &reader, &params)).await?.map(JsonResponse)
}

fn read_change(
    local_node: &mut Node,
    reader: &StoreReader,
    params: &ShowQuery,
) -> Result<ChangeDetail, CliError> {
    let state = name_lookup::find_group(local_node, params.group.as_deref())?;
    let target = &params.what;
    if target.contains('/') {
        let newest_query = LogQuery {
            at: params.at.clone(),
            resource: Some(target.clone()),
            limit: Some(1),
            edits: true,
            ..LogQuery::default()
        };
        let group = Some(state.group.id().to_string());
        let log = read_log(local_node, reader, &LogQuery { group, ..newest_query })?;
        let (change, at) = (log.changes.into_iter().next(), log.at);
        return change
            .map(|change| ChangeDetail { change, at })
            .ok_or_else(|| CliError::not_found(format!("no change of {target} here")));
    }
    let lookup =
        history::find_by_id_prefix(&state.group, &target.to_ascii_lowercase()).map_err(
            |error| match error {
                LookupError::NotFound => CliError::not_found(format!("no change `{target}` here"))
                    .with_hint("see `larder log --all`"),
                LookupError::Ambiguous(candidates) => CliError::ambiguous_name("change", target, &candidates),
            },
        )?;
    let entry = history::find_entry(&state.group, &lookup);
    let entry = entry.ok_or_else(|| CliError::not_found(format!("no change `{target}` here")))?;
    Ok(ChangeDetail { change: change_entry(state, entry, true), at: None })
}

pub(super) async fn get_diff(
    State(api): State<ApiContext>,
    QueryParams(params): QueryParams<DiffQuery>,
) -> ApiResult<DiffReport> {
    let query = move |local_node: &mut Node| {
        let state = name_lookup::find_group(local_node, params.group.as_deref())?;
        let desired = name_lookup::desired_shard(state)?;
        let resource = params.resource.as_deref().map(name_lookup::parse_resource).transpose()?;
        let heads_or = |text: Option<&str>, default: Vec<ChangeId>| {
            text.map_or(Ok(default), |text| find_heads(desired, text))
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
