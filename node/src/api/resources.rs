//! The desired state and its conflicts, at present or at a point of the history.

use std::borrow::Cow;
use std::collections::BTreeSet;

use axum::extract::State;
use larder_core::group::ChangeNote;
use larder_core::history;
use larder_core::id::ChangeId;
use larder_core::node::{GroupState, Node};
use larder_core::resource::concurrent_edits::{ConcurrentEdits, find_concurrent_edits};
use larder_core::resource::conflict::{self, conflicts_of, side_tag};
use larder_core::resource::literal::Literal;
use larder_core::resource::manifest;
use larder_core::resource::path_conflict::path_conflicts;
use larder_core::resource::spelling;
use larder_core::resource::view::{ResourceView, resources};
use larder_core::resource::{ResourceName, observed};
use larder_core::shard::Shard;
use larder_core::shard::state::VisibleState as Desired;
use larder_core::value::Value;
use serde::Deserialize;

use super::history::{head_ids, heads_at};
use super::params::{GroupPath, ResourcePath, group_state, node_ref, parse_resource};
use super::{ApiContext, ApiResult, JsonResponse, QueryParams};
use crate::dto::{
    self, ConflictList, ConflictSide, ExportedManifest, JsonTime, JsonValue, ResourceEntry, ResourceList,
    ResourceValues,
};
use crate::error::CliError;

/// The parameters of `list` and `export`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ResourceQuery {
    /// The point of the history; without it, the present.
    at: Option<String>,
    /// The resources, as `<kind>` or `<kind>/<name>`; without it, all.
    resource: Option<String>,
}

/// The parameters of `get` and `blame`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct FieldQuery {
    /// The point of the history; without it, the present.
    pub(super) at: Option<String>,
    /// A field, together with those below it; without it, all.
    pub(super) field: Option<String>,
}

/// The state at a point, or the part of it that one resource needs; with the heads of the point, if it is not
/// the present.
fn document_at<'a>(
    desired: &'a Shard,
    at_text: Option<&str>,
    only: Option<&ResourceName>,
) -> Result<(Cow<'a, Desired>, Option<Vec<String>>), CliError> {
    let Some(at_text) = at_text else { return Ok((Cow::Borrowed(desired.state()), None)) };
    let heads = heads_at(desired, at_text)?;
    let document = match only {
        Some(resource) => history::state_at_with_prefix(desired, &heads, &resource.key_prefix()),
        None => history::state_at(desired, &heads),
    };
    Ok((Cow::Owned(document), Some(head_ids(desired, &heads))))
}

/// The resources that exist, of one kind or of all.
fn present_resources<'a>(state: &'a Desired, kind: Option<&str>) -> Vec<ResourceView<'a>> {
    let is_present = |view: &ResourceView<'_>| {
        view.name.is_managed() && !view.is_removed() && !view.set_values().is_empty()
    };
    let mut views = resources(state);
    views.retain(|view| is_present(view) && kind.is_none_or(|kind| view.name.kind() == kind));
    views
}

/// The resources named by `KIND` or `KIND/NAME`. A name without a resource is an error.
fn find_resources<'a>(state: &'a Desired, text: Option<&str>) -> Result<Vec<ResourceView<'a>>, CliError> {
    let Some(text) = text else { return Ok(present_resources(state, None)) };
    if text.contains('/') {
        return Ok(vec![find_resource(state, &parse_resource(text)?)?]);
    }
    let views = present_resources(state, Some(text));
    if views.is_empty() && larder_core::resource::schema::find_schema(text).is_none() {
        return Err(
            CliError::not_found(format!("no resource of kind `{text}` here")).with_hint("see `larder list`")
        );
    }
    Ok(views)
}

fn find_resource<'a>(state: &'a Desired, name: &ResourceName) -> Result<ResourceView<'a>, CliError> {
    let view =
        ResourceView::read(state, name).filter(|view| !view.is_removed() && !view.set_values().is_empty());
    view.ok_or_else(|| CliError::not_found(format!("no resource {name} here")).with_hint("see `larder list`"))
}

fn conflicted_fields(view: &ResourceView<'_>) -> Vec<String> {
    let fields = view.fields.iter().filter(|(_, field)| field.is_conflicted());
    fields.map(|(path, _)| (*path).to_owned()).collect()
}

pub(super) async fn list_resources(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    QueryParams(params): QueryParams<ResourceQuery>,
) -> ApiResult<ResourceList> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let desired = state.desired_shard()?;
        let (document, at) = document_at(desired, params.at.as_deref(), None)?;
        let resource_entry = |view: &ResourceView<'_>| ResourceEntry {
            resource: view.name.to_string(),
            fields: view.set_values().len(),
            select: view.text("select"),
            conflicts: conflicts_of(desired, view).len(),
            path: view.text("path"),
        };
        Ok(JsonResponse(ResourceList {
            at,
            resources: find_resources(&document, params.resource.as_deref())?
                .iter()
                .map(resource_entry)
                .collect(),
        }))
    };
    api.handle.query(query).await?
}

pub(super) async fn get_resource(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    ResourcePath(resource): ResourcePath,
    QueryParams(params): QueryParams<FieldQuery>,
) -> ApiResult<ResourceValues> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let name = parse_resource(&resource)?;
        let (document, at) = document_at(state.desired_shard()?, params.at.as_deref(), Some(&name))?;
        let view = find_resource(&document, &name)?;
        let mut values = ResourceValues {
            at,
            resource: view.name.to_string(),
            fields: view
                .set_values()
                .into_iter()
                .map(|(path, value)| (path.to_owned(), JsonValue(value)))
                .collect(),
            conflicted: conflicted_fields(&view),
        };
        if let Some(field) = &params.field {
            keep_field(&mut values, field)?;
        }
        Ok(JsonResponse(values))
    };
    api.handle.query(query).await?
}

/// Keeps only one field and those below it.
fn keep_field(values: &mut ResourceValues, field: &str) -> Result<(), CliError> {
    let no_field = || CliError::not_found(format!("{} has no field `{field}`", values.resource));
    let resource = parse_resource(&values.resource)?;
    let path =
        spelling::parse_path(&resource, field).map_err(|error| CliError::not_found(error.to_string()))?;
    let path = path.to_string();
    let prefix = format!("{path}.");
    let is_at_or_below = |name: &String| *name == path || name.starts_with(&prefix);
    if !values.fields.keys().chain(&values.conflicted).any(is_at_or_below) {
        return Err(no_field().with_hint(format!("see `larder get {}`", values.resource)));
    }
    values.fields.retain(|name, _| is_at_or_below(name));
    values.conflicted.retain(is_at_or_below);
    Ok(())
}

pub(super) async fn export_manifest(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    QueryParams(params): QueryParams<ResourceQuery>,
) -> ApiResult<ExportedManifest> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let (document, at) = document_at(state.desired_shard()?, params.at.as_deref(), None)?;
        let views = find_resources(&document, params.resource.as_deref())?;
        let conflicted = views.iter().flat_map(|view| {
            conflicted_fields(view).into_iter().map(|field| format!("{} {field}", view.name))
        });
        Ok(JsonResponse(ExportedManifest {
            at,
            conflicted: conflicted.collect(),
            manifest: manifest::write(&views),
        }))
    };
    api.handle.query(query).await?
}

/// The parameters of `conflicts`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ConflictsQuery {
    at: Option<String>,
    /// True to list concurrent edits too.
    #[serde(default)]
    review: bool,
}

pub(super) async fn list_conflicts(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    QueryParams(params): QueryParams<ConflictsQuery>,
) -> ApiResult<ConflictList> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let desired = state.desired_shard()?;
        let (document, at) = document_at(desired, params.at.as_deref(), None)?;
        let mut found: Vec<_> =
            resources(&document).into_iter().flat_map(|view| conflicts_of(desired, &view)).collect();
        if params.at.is_none() {
            found.extend(path_conflicts(desired, state.group.members()));
        }
        let mut conflicts: Vec<_> =
            found.iter().map(|conflict| conflict_entry(state, desired, conflict)).collect();
        if params.at.is_none() && params.review {
            let concurrent_edits = find_concurrent_edits(desired);
            conflicts.extend(concurrent_edits.iter().map(|edits| review_entry(state, desired, edits)));
        }
        conflicts.sort_by(|a, b| (&a.resource, &a.field).cmp(&(&b.resource, &b.field)));
        Ok(JsonResponse(ConflictList { at, conflicts }))
    };
    api.handle.query(query).await?
}

fn conflict_entry(state: &GroupState, desired: &Shard, conflict: &conflict::Conflict) -> dto::ConflictEntry {
    dto::ConflictEntry {
        id: conflict.id.to_string(),
        kind: conflict.kind.into(),
        resource: conflict.resource.to_string(),
        field: conflict.field.clone(),
        base: conflict.base.clone().map(JsonValue),
        held_on: nodes_holding(state, &conflict.resource),
        values: conflict.sides.iter().map(|side| conflict_side(state, desired, side)).collect(),
    }
}

/// Concurrent edits, listed like a conflict of kind `review` without a field. Each side's value is the list
/// of fields that the side wrote.
fn review_entry(state: &GroupState, desired: &Shard, edits: &ConcurrentEdits) -> dto::ConflictEntry {
    let side = |(nth, (change, fields)): (usize, (&ChangeId, &BTreeSet<String>))| {
        let fields = fields.iter().map(|field| Value::from(field.as_str())).collect();
        let value = Some(Literal::List(fields));
        let side = conflict::ConflictSide { tag: side_tag(nth), value, change: *change, is_winner: false };
        conflict_side(state, desired, &side)
    };
    dto::ConflictEntry {
        id: edits.id.to_string(),
        kind: dto::ConflictKind::Review,
        resource: edits.resource.to_string(),
        field: String::new(),
        base: None,
        held_on: nodes_holding(state, &edits.resource),
        values: edits.changes.iter().enumerate().map(side).collect(),
    }
}

fn conflict_side(state: &GroupState, desired: &Shard, side: &conflict::ConflictSide) -> ConflictSide {
    let graph = desired.graph();
    let entry = graph.get(&side.change);
    let grant = entry.and_then(|entry| graph.chain_of(entry)).map(|chain| chain.grant);
    let node = grant.and_then(|grant| state.group.members().grant(&grant)).map(|grant| grant.holder);
    let note = desired
        .read_delta(&side.change)
        .map(|delta| ChangeNote::decode(&delta.message, delta.time))
        .unwrap_or_default();
    ConflictSide {
        tag: side.tag.clone(),
        value: side.value.clone().map(JsonValue),
        change: side.change.to_string(),
        node: node.map(|node| node_ref(state, &node)),
        user: note.user,
        time: JsonTime(note.time),
        winner: side.is_winner,
    }
}

/// The nodes that report the resource as held.
fn nodes_holding(state: &GroupState, resource: &ResourceName) -> Vec<dto::NodeRef> {
    let members = state.group.members();
    let key = resource.to_string();
    let is_held = |shard: &Shard| {
        let observed_state = shard.state().winner(&key).and_then(observed::ObservedState::decode);
        observed_state.is_some_and(|observed_state| observed_state.state == observed::ResourceState::Held)
    };
    let nodes = state
        .group
        .shard_states()
        .observed_shards()
        .filter(|(_, shard)| is_held(shard))
        .filter_map(|(grant, _)| members.grant(&grant));
    nodes.map(|grant| node_ref(state, &grant.holder)).collect()
}
