//! From what people type to what is meant: groups, nodes, resources and points of the past, by name or unique prefix.

use larder_core::history::ResourceScope;
use larder_core::id::{ChangeId, GroupId, NodeId};
use larder_core::node::{GroupState, Node};
use larder_core::resource::ResourceName;
use larder_core::resource::view::NodeLabels;
use larder_core::shard::Shard;
use serde::Deserialize;

use crate::dto::NodeRef;
use crate::error::{CliError, ExitKind};

/// Which group, and which point of its past.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct GroupQuery {
    /// Name or id prefix; may be left out where the node is in one group.
    pub group: Option<String>,
    /// A time or a change.
    pub at: Option<String>,
}

/// The group that is meant.
pub fn find_group_id(local_node: &Node, name_or_prefix: Option<&str>) -> Result<GroupId, CliError> {
    let groups: Vec<&GroupState> = local_node.groups().collect();
    let Some(text) = name_or_prefix else {
        // Those that this node left, or was removed from, are meant only where there is no other.
        let own_id = local_node.own_id();
        let (active, former): (Vec<&GroupState>, Vec<&GroupState>) =
            groups.iter().partition(|state| state.group.members().is_member(&own_id));
        let candidates = if active.is_empty() { former } else { active };
        return match candidates.as_slice() {
            [] => Err(CliError::new(ExitKind::Unreachable, "no-group", "this node is in no group")
                .with_hint("found one with `larder init NAME`, or join one with `larder join CODE`")),
            [one] => Ok(one.group.id()),
            several => {
                let names: Vec<&str> = several.iter().map(|state| state.group.name()).collect();
                Err(CliError::usage("this node is in several groups; say which with --group")
                    .with_hint(format!("one of: {}", names.join(", "))))
            }
        };
    };
    let by_name: Vec<_> = groups.iter().filter(|state| state.group.name() == text).collect();
    let by_id =
        || groups.iter().filter(|state| state.group.id().to_string().starts_with(&text.to_ascii_lowercase()));
    let matches: Vec<_> = if by_name.is_empty() { by_id().collect() } else { by_name };
    match matches.as_slice() {
        [one] => Ok(one.group.id()),
        [] => Err(CliError::new(
            ExitKind::Unreachable,
            "no-group",
            format!("this node is in no group `{text}`"),
        )
        .with_hint("see `larder groups`")),
        several => {
            let ids: Vec<String> = several.iter().map(|state| state.group.id().to_string()).collect();
            Err(CliError::ambiguous_name("group", text, &ids))
        }
    }
}

/// The group that is meant, to look into.
pub fn find_group<'a>(
    local_node: &'a mut Node,
    name_or_prefix: Option<&str>,
) -> Result<&'a mut GroupState, CliError> {
    let id = find_group_id(local_node, name_or_prefix)?;
    local_node.group_mut(&id).ok_or_else(|| CliError::failed("the group is gone"))
}

/// A group's desired state.
pub fn desired_shard(state: &GroupState) -> Result<&Shard, CliError> {
    if state.refetching {
        // What is here may lack anything; to show it would be to say that the group wants no more than that.
        return Err(larder_core::node::RequestError::Refetching.into());
    }
    state.group.desired().ok_or_else(|| CliError::failed("the group has no desired state"))
}

/// The member that is meant: by alias, or by a prefix of its id.
pub fn find_member(state: &GroupState, text: &str) -> Result<NodeId, CliError> {
    find_among(state, state.group.members().nodes().collect(), text)
}

fn find_among(state: &GroupState, members: Vec<NodeId>, text: &str) -> Result<NodeId, CliError> {
    let by_alias: Vec<NodeId> =
        members.iter().copied().filter(|id| alias_of(state, id).as_deref() == Some(text)).collect();
    let prefix = text.to_ascii_lowercase();
    let by_id = || members.iter().copied().filter(|id| id.to_string().starts_with(&prefix));
    let matches: Vec<NodeId> =
        if by_alias.is_empty() && !text.is_empty() { by_id().collect() } else { by_alias };
    match matches.as_slice() {
        [one] => Ok(*one),
        [] => Err(CliError::not_found(format!("no member is called `{text}`, and no id begins so"))
            .with_hint("see `larder nodes`")),
        several => {
            let ids: Vec<String> = several.iter().map(NodeId::to_string).collect();
            Err(CliError::ambiguous_name("node", text, &ids))
        }
    }
}

/// A node that is a member or was one, as [`node`] finds it.
pub fn find_member_or_former(state: &GroupState, text: &str) -> Result<NodeId, CliError> {
    let members = state.group.members();
    let former = members.former_members().into_iter();
    find_among(state, members.nodes().chain(former).collect(), text)
}

/// What a member is called.
pub fn alias_of(state: &GroupState, node: &NodeId) -> Option<String> {
    NodeLabels::read(state.group.desired()?.state(), state.group.members(), node).alias
}

/// A member as it is named in passing.
pub fn node_ref(state: &GroupState, node: &NodeId) -> NodeRef {
    NodeRef { id: node.to_string(), alias: alias_of(state, node) }
}

/// The resource that is meant, by something that reads or acts on it: what is no name names nothing here.
pub fn parse_resource(text: &str) -> Result<ResourceName, CliError> {
    text.parse().map_err(|error: larder_core::resource::name::ResourceNameError| {
        CliError::not_found(error.to_string()).with_hint("see `larder list`")
    })
}

/// The resources that are meant: one, those of a kind, or without a text all.
pub fn parse_scope(text: Option<&str>) -> Result<ResourceScope, CliError> {
    match text {
        None => Ok(ResourceScope::Everything),
        Some(text) if text.contains('/') => parse_resource(text).map(ResourceScope::Resource),
        // A kind is what a resource of it could be called.
        Some(kind) => {
            parse_resource(&format!("{kind}/x")).map(|name| ResourceScope::Kind(name.kind().to_owned()))
        }
    }
}

/// The heads of a whole list of changes, each named by a unique prefix.
pub fn find_changes(shard: &Shard, prefixes: &[String]) -> Result<Vec<ChangeId>, CliError> {
    prefixes.iter().map(|text| find_change(shard, text)).collect()
}

/// One change of a shard, by a unique prefix of its id.
pub fn find_change(shard: &Shard, text: &str) -> Result<ChangeId, CliError> {
    let prefix = text.trim().to_ascii_lowercase();
    let matches = if prefix.is_empty() { Vec::new() } else { shard.graph().ids_with_prefix(&prefix) };
    match matches.as_slice() {
        [one] => Ok(*one),
        [] => Err(CliError::not_found(format!("no change `{text}` here")).with_hint("see `larder log`")),
        several => {
            let ids: Vec<String> = several.iter().map(ChangeId::to_string).collect();
            Err(CliError::ambiguous_name("change", text, &ids))
        }
    }
}
