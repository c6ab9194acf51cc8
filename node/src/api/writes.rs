//! Writes: everything that changes the desired state, as one atomic change each.

use axum::extract::State;
use larder_core::group::ChangeNote;
use larder_core::id::{ChangeId, GroupId};
use larder_core::node::{GroupState, Request, Response, WriteRequest};
use larder_core::resource::edit::{Edit, FieldEdit, Resolution};
use larder_core::resource::edit_transaction;
use larder_core::resource::field::FieldPath;
use larder_core::resource::literal::Literal;
use larder_core::resource::view::ResourceView;
use larder_core::resource::{ResourceName, conflict};
use larder_core::shard::Shard;
use larder_core::value::Value;
use serde::{Deserialize, Serialize};

use super::name_lookup;
use super::{ApiContext, ApiResult, JsonResponse, RequestBody, RequestUser};
use crate::dto::{JsonValue, WritePlan, WriteResult};
use crate::error::{CliError, ExitKind};

/// What a writing command asks for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WriteBody {
    /// In which group.
    pub group: Option<String>,
    /// What to do, all or nothing.
    pub specs: Vec<EditSpec>,
    /// Refuse if the desired state is not at these heads any more.
    pub base: Option<Vec<String>>,
    /// Why, in the operator's words.
    pub message: String,
    /// The command, with its values cut out.
    pub command: String,
    /// Take kinds and fields that this version does not know.
    pub allow_unknown: bool,
}

/// One thing to do, in names as they were typed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditSpec {
    /// Make or change a resource.
    Set {
        /// `<kind>/<name>`.
        resource: String,
        /// What to do to its fields, in this order.
        fields: Vec<FieldSpec>,
        /// Unset every field that is not named.
        unset_others: bool,
        /// For this node only.
        node: Option<String>,
        /// Refuse if there is no such resource.
        must_exist: bool,
    },
    /// Remove a resource.
    Remove(String),
    /// Settle a conflict.
    Resolve {
        /// `<kind>/<name>`.
        resource: String,
        /// The field.
        field: String,
        /// By the side with this tag,
        side_tag: Option<String>,
        /// or by this value.
        value: Option<JsonValue>,
        /// Refuse if the conflict is not this one any more.
        conflict_id: Option<String>,
    },
    /// Call a node something, or nothing.
    Alias {
        /// Which node.
        node: String,
        /// What.
        name: Option<String>,
    },
    /// Name a point of the past.
    Tag {
        /// How.
        name: String,
        /// Which point: a time, tag or change. The present if left out.
        point: Option<String>,
        /// Take it away instead.
        delete: bool,
        /// Though the name stands for another point.
        force: bool,
    },
    /// Label a node; no value takes the label off.
    Label {
        /// Which node.
        node: String,
        /// Keys and values.
        labels: Vec<(String, Option<String>)>,
    },
}

/// What to do to one field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FieldSpec {
    /// Its path.
    pub path: String,
    /// What.
    #[serde(flatten)]
    pub edit: FieldEditSpec,
}

/// How one field changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldEditSpec {
    /// It gets this value.
    Assign(JsonValue),
    /// An item is added to its list.
    Add(JsonValue),
    /// An item is taken from its list.
    Remove(JsonValue),
    /// It is unset.
    Unset(()),
}

pub(super) async fn write_desired(
    State(api): State<ApiContext>,
    user: RequestUser,
    RequestBody(body): RequestBody<WriteBody>,
) -> ApiResult<WriteResult> {
    let (group, edits, base, body) = prepare_write(&api, body).await?;
    let note = ChangeNote { message: body.message, user: user.0, command: body.command, time: 0 };
    let request =
        WriteRequest { group, edits, expected_heads: base, note, allow_unknown: body.allow_unknown };
    match api.handle.request_node(Request::Write(request)).await? {
        Response::Written(change) => {
            Ok(JsonResponse(WriteResult { change: change.map(|id| id.to_string()) }))
        }
        _ => Err(CliError::failed("the machine answered something else; please report this")),
    }
}

pub(super) async fn plan_write(
    State(api): State<ApiContext>,
    RequestBody(body): RequestBody<WriteBody>,
) -> ApiResult<WritePlan> {
    let (group, edits, base, body) = prepare_write(&api, body).await?;
    let query = move |local_node: &mut larder_core::node::Node| {
        let state = local_node.group(&group).ok_or_else(|| CliError::failed("the group is gone"))?;
        let desired = name_lookup::desired_shard(state)?;
        let heads = desired.graph().heads();
        if base.is_some_and(|base| !is_same_heads(&base, &heads)) {
            return Err(CliError::new(
                ExitKind::Refused,
                "base-moved",
                "the desired state moved on since that base",
            ));
        }
        let puts = edit_transaction::plan_edits(desired, &edits, body.allow_unknown)
            .map_err(|error| CliError::from(larder_core::node::RequestError::from(error)))?;
        Ok(WritePlan::new(desired, &puts))
    };
    api.handle.query(query).await?.map(JsonResponse)
}

fn is_same_heads(base: &[ChangeId], heads: &[ChangeId]) -> bool {
    let mut base = base.to_vec();
    base.sort_unstable();
    base == heads
}

/// A request whose names are understood.
type PreparedWrite = (GroupId, Vec<Edit>, Option<Vec<ChangeId>>, WriteBody);

async fn prepare_write(api: &ApiContext, body: WriteBody) -> Result<PreparedWrite, CliError> {
    let query = move |local_node: &mut larder_core::node::Node| {
        let group = name_lookup::find_group_id(local_node, body.group.as_deref())?;
        let state = local_node.group(&group).ok_or_else(|| CliError::failed("the group is gone"))?;
        super::warnings::require_membership(local_node, state)?;
        let edits = body.specs.iter().map(|spec| prepare_edit(state, spec)).collect::<Result<_, _>>()?;
        let base = body
            .base
            .as_ref()
            .map(|base| name_lookup::find_changes(name_lookup::desired_shard(state)?, base))
            .transpose()?;
        Ok((state.group.id(), edits, base, body))
    };
    api.handle.query(query).await?
}

fn prepare_edit(state: &GroupState, spec: &EditSpec) -> Result<Edit, CliError> {
    match spec {
        EditSpec::Set { resource, fields, unset_others: replace, node, must_exist: existing } => {
            let resource = if *existing {
                name_lookup::parse_resource(resource)?
            } else {
                resource.parse().map_err(|error: larder_core::resource::name::ResourceNameError| {
                    CliError::usage(error.to_string())
                })?
            };
            if *existing && !resource_exists(state, &resource) {
                return Err(CliError::not_found(format!("no resource {resource} here"))
                    .with_hint("see `larder list`"));
            }
            let overlay = node.as_deref().map(|node| name_lookup::find_member(state, node)).transpose()?;
            let overlay = overlay.map(|node| format!("overlay.\"node={node}\"."));
            let fields = fields
                .iter()
                .map(|field| prepare_field_edit(field, overlay.as_deref()))
                .collect::<Result<_, _>>()?;
            Ok(Edit::Set { resource, fields, replace: *replace })
        }
        EditSpec::Remove(resource) => {
            let resource = name_lookup::parse_resource(resource)?;
            if !resource_exists(state, &resource) && !has_conflicts(state, &resource) {
                return Err(no_resource_error(&resource));
            }
            Ok(Edit::Remove(resource))
        }
        EditSpec::Resolve { resource, field, side_tag: take, value, conflict_id: id } => {
            let resource = name_lookup::parse_resource(resource)?;
            let field = field.parse::<FieldPath>().map_err(|error| CliError::not_found(error.to_string()))?;
            let resolution = match (take, value) {
                (Some(tag), None) => Resolution::UseSide(tag.to_ascii_uppercase()),
                (None, Some(value)) => Resolution::UseValue(value.0.clone()),
                _ => return Err(CliError::usage("a conflict is settled by --take TAG or by --value VALUE")),
            };
            let id = id.as_deref().map(|id| find_conflict_id(state, id)).transpose()?;
            Ok(Edit::Resolve { resource, field: field.to_string(), resolution, id })
        }
        EditSpec::Tag { name, delete: true, .. } => {
            super::revert::check_tag_exists(state, name)?;
            Ok(Edit::SetTag(name.clone(), None))
        }
        EditSpec::Tag { name, point: at, force, .. } => Ok(Edit::SetTag(
            name.clone(),
            Some(super::revert::heads_for_tag(state, name, at.as_deref(), *force)?),
        )),
        EditSpec::Alias { node, name } => {
            Ok(Edit::SetAlias(name_lookup::find_member(state, node)?, name.clone()))
        }
        EditSpec::Label { node, labels } => {
            Ok(Edit::SetLabels(name_lookup::find_member(state, node)?, labels.clone()))
        }
    }
}

fn no_resource_error(resource: &ResourceName) -> CliError {
    CliError::not_found(format!("no resource {resource} here")).with_hint("see `larder list`")
}

fn has_conflicts(state: &GroupState, resource: &ResourceName) -> bool {
    let has_conflict = |shard: &Shard| {
        let view = ResourceView::read(shard.state(), resource);
        view.is_some_and(|view| !conflict::conflicts_of(shard, &view).is_empty())
    };
    state.group.desired().is_some_and(has_conflict)
}

fn resource_exists(state: &GroupState, resource: &ResourceName) -> bool {
    let view = state.group.desired().and_then(|shard| ResourceView::read(shard.state(), resource));
    view.is_some_and(|view| !view.is_removed() && !view.set_values().is_empty())
}

fn prepare_field_edit(spec: &FieldSpec, overlay: Option<&str>) -> Result<(FieldPath, FieldEdit), CliError> {
    let text = format!("{}{}", overlay.unwrap_or_default(), spec.path);
    let path: FieldPath = text
        .parse()
        .map_err(|error: larder_core::resource::field::FieldPathError| CliError::usage(error.to_string()))?;
    let scalar_item = |plain: &JsonValue| -> Result<Value, CliError> {
        match &plain.0 {
            Literal::Scalar(value) => Ok(value.clone()),
            Literal::List(_) => Err(CliError::usage(format!("an item of `{path}` is one value, not a list"))),
        }
    };
    let edit = match &spec.edit {
        FieldEditSpec::Assign(plain) => FieldEdit::Assign(plain.0.clone()),
        FieldEditSpec::Add(plain) => FieldEdit::Add(scalar_item(plain)?),
        FieldEditSpec::Remove(plain) => FieldEdit::Remove(scalar_item(plain)?),
        FieldEditSpec::Unset(()) => FieldEdit::Unset,
    };
    Ok((path, edit))
}

fn find_conflict_id(state: &GroupState, text: &str) -> Result<larder_core::id::Digest, CliError> {
    let prefix = text.to_ascii_lowercase();
    let conflicts = conflict::conflicts(name_lookup::desired_shard(state)?);
    let matches: Vec<_> =
        conflicts.iter().filter(|conflict| conflict.id.to_string().starts_with(&prefix)).collect();
    match matches.as_slice() {
        [conflict] => Ok(conflict.id),
        // One that is gone was settled, or changed.
        [] => Err(CliError::new(
            ExitKind::Refused,
            "conflict-moved",
            format!("conflict {text} is not there any more"),
        )
        .with_hint("see `larder conflicts`")),
        several => {
            let ids: Vec<String> = several.iter().map(|one| one.id.to_string()).collect();
            Err(CliError::ambiguous_name("conflict", text, &ids))
        }
    }
}
