//! A resource for an editor: as a manifest, with what tells whether it moves meanwhile.

use axum::extract::State;
use larder_core::machine::{Declined, Machine};
use larder_core::resource::ResourceName;
use larder_core::resource::conflict::conflicts_of;
use larder_core::resource::edit::EditError;
use larder_core::resource::kind::{self, SchemaError};
use larder_core::resource::manifest;
use larder_core::resource::name::NameError;
use larder_core::resource::template::template;
use larder_core::resource::view::ResourceView;
use larder_core::shard::Shard;
use serde::Deserialize;

use super::names;
use super::{Api, Query, Reply, Shown};
use crate::failure::Failure;
use crate::view::Editable;

/// Which resource.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct EditOf {
    /// In which group.
    group: Option<String>,
    /// `<kind>/<name>`; it need not be there.
    resource: String,
}

pub(super) async fn edit(State(api): State<Api>, Query(of): Query<EditOf>) -> Reply<Editable> {
    let look = move |machine: &mut Machine| {
        let member = names::membership(machine, of.group.as_deref())?;
        let resource = of.resource.parse().map_err(|error: NameError| Failure::usage(error.to_string()))?;
        read(names::desired(member)?, &resource)
    };
    api.handle.look(look).await?.map(Shown)
}

fn read(desired: &Shard, resource: &ResourceName) -> Result<Editable, Failure> {
    let refused = |error: EditError| Failure::from(Declined::Edit(error));
    if !resource.is_managed() {
        return Err(refused(EditError::Reserved(resource.clone())));
    }
    let view = ResourceView::read(desired.state(), resource);
    let conflicts = view.as_ref().map(|view| conflicts_of(desired, view)).unwrap_or_default();
    if let Some(conflict) = conflicts.into_iter().next() {
        return Err(refused(EditError::Conflicted(resource.clone(), conflict.field)));
    }
    let manifest = view.as_ref().map(|view| manifest::write([view])).unwrap_or_default();
    let exists = !manifest.is_empty();
    let manifest = if exists { manifest } else { blank(resource).map_err(refused)? };
    Ok(Editable {
        resource: resource.to_string(),
        exists,
        manifest,
        heads: desired.graph().heads().iter().map(ToString::to_string).collect(),
        revision: view.map(|view| view.revision()).unwrap_or_default(),
    })
}

/// A manifest of a resource that is not there.
fn blank(resource: &ResourceName) -> Result<String, EditError> {
    let kind = kind::kind(resource.kind());
    let kind = kind.ok_or_else(|| EditError::from(SchemaError::Kind(resource.kind().to_owned())))?;
    Ok(template(kind, resource))
}
