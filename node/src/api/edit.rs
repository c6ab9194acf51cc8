//! A resource as text for an editor, with the revision that shows whether it changes meanwhile.

use axum::extract::State;
use larder_core::node::{Node, RequestError};
use larder_core::resource::conflict::conflicts_of;
use larder_core::resource::edit::EditError;
use larder_core::resource::manifest;
use larder_core::resource::name::ResourceNameError;
use larder_core::resource::schema::{self, SchemaError};
use larder_core::resource::view::ResourceView;
use larder_core::resource::{FieldRef, ResourceName};
use larder_core::shard::Shard;

use super::manifest_template::manifest_template;
use super::params::{GroupPath, ResourcePath, group_state};
use super::{ApiContext, ApiResult, JsonResponse};
use crate::dto::EditBuffer;
use crate::error::CliError;

pub(super) async fn edit_buffer(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    ResourcePath(resource): ResourcePath,
) -> ApiResult<EditBuffer> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let resource =
            resource.parse().map_err(|error: ResourceNameError| CliError::usage(error.to_string()))?;
        read_buffer(state.desired_shard()?, &resource)
    };
    api.handle.query(query).await?.map(JsonResponse)
}

fn read_buffer(desired: &Shard, resource: &ResourceName) -> Result<EditBuffer, CliError> {
    let edit_error = |error: EditError| CliError::from(RequestError::InvalidEdit(error));
    if !resource.is_managed() {
        return Err(edit_error(EditError::ReservedResource(resource.clone())));
    }
    let view = ResourceView::read(desired.state(), resource);
    let conflicts = view.as_ref().map(|view| conflicts_of(desired, view)).unwrap_or_default();
    if let Some(conflict) = conflicts.into_iter().next() {
        return Err(edit_error(EditError::Conflicted(FieldRef::new(resource, &conflict.field))));
    }
    let manifest = view.as_ref().map(|view| manifest::write([view])).unwrap_or_default();
    let exists = !manifest.is_empty();
    let manifest = if exists { manifest } else { template_for(resource).map_err(edit_error)? };
    Ok(EditBuffer {
        resource: resource.to_string(),
        exists,
        manifest,
        heads: desired.graph().heads().iter().map(ToString::to_string).collect(),
        revision: view.map(|view| view.revision()).unwrap_or_default(),
    })
}

/// The manifest for a resource that does not exist.
fn template_for(resource: &ResourceName) -> Result<String, EditError> {
    let schema = schema::find_schema(resource.kind());
    let schema =
        schema.ok_or_else(|| EditError::from(SchemaError::UnknownKind(resource.kind().to_owned())))?;
    Ok(manifest_template(schema, resource))
}
