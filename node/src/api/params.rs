//! Parameters of requests: the group in the path, resources, points of the history, roles and digits.

use std::convert::Infallible;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use larder_core::history::ResourceScope;
use larder_core::id::NodeId;
use larder_core::node::{GroupState, Node};
use larder_core::record::Role;
use larder_core::resource::ResourceName;
use larder_core::resource::name::ResourceNameError;
use larder_core::typed_name::{GroupName, HistoryPoint};
use serde::Deserialize;

use crate::dto::NodeRef;
use crate::error::{CliError, ExitKind};
use crate::time;

/// The path segment that stands for the only group of a node.
pub const ONLY_GROUP: &str = "-";

/// The group in the path of a request: `/v1/groups/{group}/...`.
#[derive(Debug)]
pub struct GroupPath(pub GroupName);

#[derive(Deserialize)]
struct GroupSegment {
    group: String,
}

impl<S: Send + Sync> FromRequestParts<S> for GroupPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let segment = Path::<GroupSegment>::from_request_parts(parts, state).await;
        Ok(Self(match segment {
            Ok(Path(GroupSegment { group })) if group != ONLY_GROUP => GroupName::Typed(group),
            _ => GroupName::Only,
        }))
    }
}

/// The resource in the path of a request, as it was typed: `.../resources/{kind}/{name}`.
#[derive(Debug)]
pub struct ResourcePath(pub String);

#[derive(Deserialize)]
struct ResourceSegments {
    kind: String,
    name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for ResourcePath {
    type Rejection = PathRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PathRejection> {
        let Path(ResourceSegments { kind, name }) = Path::from_request_parts(parts, state).await?;
        Ok(Self(format!("{kind}/{name}")))
    }
}

/// A point of the history, as `?at=` gives it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AtQuery {
    /// The point: a time, tag or change. Without it, the present.
    pub at: Option<String>,
}

/// The state of the group with this name.
pub fn group_state<'a>(local_node: &'a mut Node, name: &GroupName) -> Result<&'a mut GroupState, CliError> {
    let id = local_node.find_group(name)?;
    local_node.group_mut(&id).ok_or_else(|| CliError::failed("the group is gone"))
}

/// The state of the group with this name, for a request that only a member may send.
pub fn own_group_state<'a>(
    local_node: &'a mut Node,
    name: &GroupName,
) -> Result<&'a mut GroupState, CliError> {
    let id = local_node.find_own_group(name).map_err(|error| super::request_error(local_node, error))?;
    group_state(local_node, &id.into())
}

/// The id and alias of a member.
pub fn node_ref(state: &GroupState, node: &NodeId) -> NodeRef {
    NodeRef { id: node.to_string(), alias: state.alias_of(node) }
}

/// The point of the history that a text names. A time becomes seconds since 1970 here, where the local time
/// zone is known.
pub fn parse_point(text: &str) -> Result<HistoryPoint, CliError> {
    if !time::looks_like_time(text) {
        return Ok(HistoryPoint::Named(text.to_owned()));
    }
    let not_found = |failure| CliError { exit: ExitKind::NotFound, ..failure };
    time::parse_time(text).map(HistoryPoint::Time).map_err(not_found)
}

/// A resource that a request reads or removes. A text that is not a resource name is not found.
pub fn parse_resource(text: &str) -> Result<ResourceName, CliError> {
    let not_found =
        |error: ResourceNameError| CliError::not_found(error.to_string()).with_hint("see `larder list`");
    text.parse().map_err(not_found)
}

/// The resources that a request is about: one, those of a kind, or without a text all.
pub fn parse_scope(text: Option<&str>) -> Result<ResourceScope, CliError> {
    match text {
        None => Ok(ResourceScope::Everything),
        Some(text) if text.contains('/') => parse_resource(text).map(ResourceScope::Resource),
        // A kind is valid if a resource can have it.
        Some(kind) => {
            parse_resource(&format!("{kind}/x")).map(|name| ResourceScope::Kind(name.kind().to_owned()))
        }
    }
}

/// Parses the name of a role.
pub fn parse_role(name: &str) -> Result<Role, CliError> {
    let unknown_role = || CliError::usage(format!("`{name}` is not a role: admin, operator, node or reader"));
    Role::parse(name).ok_or_else(unknown_role)
}

/// Parses six digits as a person types them.
pub fn parse_digits(text: &str) -> Result<u32, CliError> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let is_valid = compact.len() == 6 && compact.chars().all(|c| c.is_ascii_digit());
    let number = compact.parse().ok().filter(|_| is_valid);
    number.ok_or_else(|| CliError::usage("type the six digits that the other screen shows"))
}
