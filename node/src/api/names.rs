//! From what people type to what is meant: groups, nodes, resources and points of the past, by name or unique prefix.

use larder_core::history::Scope;
use larder_core::id::{ChangeId, GroupId, NodeId};
use larder_core::machine::{Machine, Membership};
use larder_core::resource::ResourceName;
use larder_core::resource::view::NodeLabels;
use larder_core::shard::Shard;
use serde::Deserialize;

use crate::failure::{Exit, Failure};
use crate::view::Who;

/// Which group, and which point of its past.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Which {
    /// Name or id prefix; may be left out where the node is in one group.
    pub group: Option<String>,
    /// A time or a change.
    pub at: Option<String>,
}

/// The group that is meant.
pub fn group(machine: &Machine, named: Option<&str>) -> Result<GroupId, Failure> {
    let all: Vec<&Membership> = machine.groups().collect();
    let Some(text) = named else {
        // Those that this node left, or was removed from, are meant only where there is no other.
        let me = machine.me();
        let (live, past): (Vec<&Membership>, Vec<&Membership>) =
            all.iter().partition(|of| of.group.members().contains(&me));
        let meant = if live.is_empty() { past } else { live };
        return match meant.as_slice() {
            [] => Err(Failure::new(Exit::Unreachable, "no-group", "this node is in no group")
                .hint("found one with `larder init NAME`, or join one with `larder join CODE`")),
            [one] => Ok(one.group.id()),
            several => {
                let names: Vec<&str> = several.iter().map(|of| of.group.name()).collect();
                Err(Failure::usage("this node is in several groups; say which with --group")
                    .hint(format!("one of: {}", names.join(", "))))
            }
        };
    };
    let called: Vec<_> = all.iter().filter(|of| of.group.name() == text).collect();
    let by_id = || all.iter().filter(|of| of.group.id().to_string().starts_with(&text.to_ascii_lowercase()));
    let found: Vec<_> = if called.is_empty() { by_id().collect() } else { called };
    match found.as_slice() {
        [one] => Ok(one.group.id()),
        [] => Err(Failure::new(Exit::Unreachable, "no-group", format!("this node is in no group `{text}`"))
            .hint("see `larder groups`")),
        several => {
            let ids: Vec<String> = several.iter().map(|of| of.group.id().to_string()).collect();
            Err(Failure::ambiguous("group", text, &ids))
        }
    }
}

/// The group that is meant, to look into.
pub fn membership<'a>(machine: &'a mut Machine, named: Option<&str>) -> Result<&'a mut Membership, Failure> {
    let id = group(machine, named)?;
    machine.group_mut(&id).ok_or_else(|| Failure::failed("the group is gone"))
}

/// A group's desired state.
pub fn desired(of: &Membership) -> Result<&Shard, Failure> {
    if of.refetching {
        // What is here may lack anything; to show it would be to say that the group wants no more than that.
        return Err(larder_core::machine::Declined::Refetching.into());
    }
    of.group.desired().ok_or_else(|| Failure::failed("the group has no desired state"))
}

/// The member that is meant: by alias, or by a prefix of its id.
pub fn node(of: &Membership, text: &str) -> Result<NodeId, Failure> {
    find_node(of, of.group.members().keys().collect(), text)
}

fn find_node(of: &Membership, members: Vec<NodeId>, text: &str) -> Result<NodeId, Failure> {
    let called: Vec<NodeId> =
        members.iter().copied().filter(|id| alias(of, id).as_deref() == Some(text)).collect();
    let prefix = text.to_ascii_lowercase();
    let by_id = || members.iter().copied().filter(|id| id.to_string().starts_with(&prefix));
    let found: Vec<NodeId> = if called.is_empty() && !text.is_empty() { by_id().collect() } else { called };
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::not_found(format!("no member is called `{text}`, and no id begins so"))
            .hint("see `larder nodes`")),
        several => {
            let ids: Vec<String> = several.iter().map(NodeId::to_string).collect();
            Err(Failure::ambiguous("node", text, &ids))
        }
    }
}

/// A node that is a member or was one, as [`node`] finds it.
pub fn node_or_former(of: &Membership, text: &str) -> Result<NodeId, Failure> {
    let members = of.group.members();
    let former = members.former().into_iter();
    find_node(of, members.keys().chain(former).collect(), text)
}

/// What a member is called.
pub fn alias(of: &Membership, node: &NodeId) -> Option<String> {
    NodeLabels::read(of.group.desired()?.state(), of.group.members(), node).alias
}

/// A member as it is named in passing.
pub fn who(of: &Membership, node: &NodeId) -> Who {
    Who { id: node.to_string(), alias: alias(of, node) }
}

/// The resource that is meant, by something that reads or acts on it: what is no name names nothing here.
pub fn resource(text: &str) -> Result<ResourceName, Failure> {
    text.parse().map_err(|error: larder_core::resource::name::NameError| {
        Failure::not_found(error.to_string()).hint("see `larder list`")
    })
}

/// The resources that are meant: one, those of a kind, or without a text all.
pub fn scope(text: Option<&str>) -> Result<Scope, Failure> {
    match text {
        None => Ok(Scope::Everything),
        Some(text) if text.contains('/') => resource(text).map(Scope::Resource),
        // A kind is what a resource of it could be called.
        Some(kind) => resource(&format!("{kind}/x")).map(|name| Scope::Kind(name.kind().to_owned())),
    }
}

/// The heads of a whole list of changes, each named by a unique prefix.
pub fn changes(shard: &Shard, texts: &[String]) -> Result<Vec<ChangeId>, Failure> {
    texts.iter().map(|text| change(shard, text)).collect()
}

/// One change of a shard, by a unique prefix of its id.
pub fn change(shard: &Shard, text: &str) -> Result<ChangeId, Failure> {
    let prefix = text.trim().to_ascii_lowercase();
    let found = if prefix.is_empty() { Vec::new() } else { shard.graph().with_prefix(&prefix) };
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::not_found(format!("no change `{text}` here")).hint("see `larder log`")),
        several => {
            let ids: Vec<String> = several.iter().map(ChangeId::to_string).collect();
            Err(Failure::ambiguous("change", text, &ids))
        }
    }
}
