//! From names as operators type them to ids: groups, nodes, changes, invites, join requests, tags and points
//! of the history.
//!
//! Requests carry typed names, and [`Node::handle`] looks them up under the same `now` in which it acts: what
//! a name meant when it was typed and what the node changes cannot differ by an input in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::effect::RequestError;
use super::group_state::GroupState;
use super::lookup_error::{LookupError, NameKind};
use super::{MembershipStatus, Node};
use crate::group::{Group, UnacceptedChange};
use crate::history;
use crate::id::{ChangeId, GroupId, HistoryEntryId, InviteId, NodeId};
use crate::record::SignedRecord;
use crate::resource::edit::{Edit, EditError};
use crate::resource::history_tag;
use crate::resource::view::NodeLabels;
use crate::shard::Shard;
use crate::typed_name::{ChangeName, GroupName, HistoryPoint, NodeName};
use crate::wire::invite_code::InviteCode;

/// The shortest prefix of an id that competes with an alias of the same text, in characters.
pub const MIN_ID_PREFIX_CHARS: usize = 4;

/// The only candidate that `text` names: by its full id, by its alias, or by a prefix of its id. Ids are
/// compared without regard to case.
///
/// A full id always names its owner. An alias that is also a prefix of another candidate's id is ambiguous,
/// so that an alias cannot redirect a command to another node. A prefix shorter than
/// [`MIN_ID_PREFIX_CHARS`] does not compete with an alias: a short alias stays usable in a large group.
pub fn unique<T: Copy + Display>(
    kind: NameKind,
    text: &str,
    candidates: impl IntoIterator<Item = (T, Option<String>)>,
) -> Result<T, LookupError> {
    let prefix = text.trim().to_ascii_lowercase();
    let (mut by_alias, mut by_prefix) = (BTreeMap::new(), BTreeMap::new());
    for (candidate, alias) in candidates {
        let id = candidate.to_string();
        if id == prefix {
            return Ok(candidate);
        }
        if alias.as_deref() == Some(text) && !text.is_empty() {
            by_alias.insert(id, candidate);
        } else if !prefix.is_empty() && id.starts_with(&prefix) {
            by_prefix.insert(id, candidate);
        }
    }
    let mut matches = by_alias;
    if matches.is_empty() || prefix.len() >= MIN_ID_PREFIX_CHARS {
        matches.append(&mut by_prefix);
    }
    match matches.first_key_value() {
        None => Err(LookupError::NotFound(kind, text.to_owned())),
        Some((_, only)) if matches.len() == 1 => Ok(*only),
        Some(_) => {
            let candidates = matches.into_keys().collect();
            Err(LookupError::Ambiguous { kind, text: text.to_owned(), candidates })
        }
    }
}

/// The change (of any shard) or record whose id begins with `prefix`.
pub fn find_history_object(group: &Group, prefix: &str) -> Result<HistoryEntryId, LookupError> {
    let changes_in_shard = |shard: &Shard| {
        let shard_id = shard.root().shard_id();
        let ids = shard.graph().ids_with_prefix(prefix).into_iter();
        ids.map(move |id| HistoryEntryId::Change { shard_id, id })
    };
    let changes = group.shards().flat_map(changes_in_shard);
    let records = group.records().iter().map(SignedRecord::id).map(HistoryEntryId::Record);
    unique(NameKind::Change, prefix, changes.chain(records).map(|object| (object, None)))
}

/// The change of a shard that is meant.
pub fn find_change(shard: &Shard, name: &ChangeName) -> Result<ChangeId, LookupError> {
    match name {
        ChangeName::Id(id) => Ok(*id),
        ChangeName::Typed(text) => {
            let ids = shard.graph().ids_with_prefix(text.trim());
            unique(NameKind::Change, text, ids.into_iter().map(|id| (id, None)))
        }
    }
}

/// The changes of a shard that are meant.
pub fn find_changes(shard: &Shard, names: &[ChangeName]) -> Result<Vec<ChangeId>, LookupError> {
    names.iter().map(|name| find_change(shard, name)).collect()
}

/// The heads of the desired state at a point of its history.
pub fn find_heads(desired: &Shard, point: &HistoryPoint) -> Result<Vec<ChangeId>, LookupError> {
    let text = match point {
        HistoryPoint::Present => return Ok(desired.graph().heads()),
        HistoryPoint::Time(unix_secs) => return Ok(history::heads_at_time(desired, *unix_secs)),
        HistoryPoint::Heads(heads) => return Ok(heads.clone()),
        HistoryPoint::Named(text) => text,
    };
    if let Some(tag) = history_tag::find_tag(desired, text) {
        // A change that a tag names may have left the document since: the error then says which one.
        let ids = tag.heads.iter().map(|id| ChangeName::Typed(id.to_string()));
        return find_changes(desired, &ids.collect::<Vec<_>>());
    }
    if text.contains(',') {
        return find_changes(desired, &text.split(',').map(ChangeName::from).collect::<Vec<_>>());
    }
    let found = find_change(desired, &text.as_str().into()).map(|id| vec![id]);
    found.map_err(|error| match error {
        LookupError::NotFound(_, text) => LookupError::NotFound(NameKind::HistoryPoint, text),
        other => other,
    })
}

impl GroupState {
    /// The desired state, to read or to build on; an error while it is fetched again because this copy was
    /// damaged.
    pub fn desired_shard(&self) -> Result<&Shard, RequestError> {
        // A damaged copy may lack anything. Showing it would mean that the group wants no more than that.
        if self.refetching {
            return Err(RequestError::Refetching);
        }
        self.group.desired().ok_or(RequestError::UnknownGroup)
    }

    /// The alias of a node.
    pub fn alias_of(&self, node: &NodeId) -> Option<String> {
        NodeLabels::read(self.group.desired()?.state(), self.group.members(), node).alias
    }
}

/// The member that is meant: by its alias, or by a prefix of its id.
pub fn find_member(state: &GroupState, name: &NodeName) -> Result<NodeId, LookupError> {
    find_node(state, name, state.group.members().nodes())
}

/// The member or former member that is meant.
pub fn find_member_or_former(state: &GroupState, name: &NodeName) -> Result<NodeId, LookupError> {
    let members = state.group.members();
    find_node(state, name, members.nodes().chain(members.former_members()))
}

fn find_node(
    state: &GroupState,
    name: &NodeName,
    nodes: impl Iterator<Item = NodeId>,
) -> Result<NodeId, LookupError> {
    match name {
        NodeName::Id(id) => Ok(*id),
        NodeName::Typed(text) => unique(NameKind::Node, text, nodes.map(|id| (id, state.alias_of(&id)))),
    }
}

/// The unaccepted changes that are meant.
pub fn find_unaccepted(state: &GroupState, names: &[ChangeName]) -> Result<Vec<ChangeId>, LookupError> {
    let find_one = |name: &ChangeName| match name {
        ChangeName::Id(id) => Ok(*id),
        ChangeName::Typed(text) => {
            let changes =
                state.group.shard_states().unaccepted_sets().flat_map(|(_, unaccepted)| unaccepted.iter());
            let ids = changes.map(UnacceptedChange::id);
            unique(NameKind::UnacceptedChange, text, ids.map(|id| (id, None)))
        }
    };
    names.iter().map(find_one).collect()
}

/// The invite that is meant: by a prefix of its id, or by its code.
pub(super) fn find_invite(state: &GroupState, text: &str) -> Result<InviteId, LookupError> {
    let by_code = text.parse::<InviteCode>().map(|code| code.invite_id().to_string());
    let text = by_code.as_deref().unwrap_or(text);
    unique(NameKind::Invite, text, state.admission.invites.keys().map(|id| (*id, None)))
}

/// The changes of the desired state that are to be reverted, in order.
pub(super) fn find_reverted(state: &GroupState, names: &[ChangeName]) -> Result<Vec<ChangeId>, RequestError> {
    let desired = state.desired_shard()?;
    let find_one = |name: &ChangeName| match find_change(desired, name) {
        Err(LookupError::NotFound(..)) if find_history_object(&state.group, &name.to_string()).is_ok() => {
            Err(LookupError::NotDesired(name.to_string()))
        }
        found => found,
    };
    let mut changes = names.iter().map(find_one).collect::<Result<Vec<_>, _>>()?;
    changes.sort_unstable();
    changes.dedup();
    Ok(changes)
}

/// The same edits with ids in place of typed names.
pub(super) fn resolve_edits(state: &GroupState, edits: Vec<Edit>) -> Result<Vec<Edit>, RequestError> {
    edits.into_iter().map(|edit| resolve_edit(state, edit)).collect()
}

fn resolve_edit(state: &GroupState, edit: Edit) -> Result<Edit, RequestError> {
    Ok(match edit {
        Edit::SetOnNode { node, resource, fields } => {
            Edit::SetOnNode { node: find_member(state, &node)?.into(), resource, fields }
        }
        Edit::SetAlias(node, alias) => {
            let node = find_member(state, &node)?;
            if let Some(alias) = alias.as_ref().filter(|alias| alias.len() >= MIN_ID_PREFIX_CHARS)
                && let Some(owner) = state.group.members().node_with_id_prefix(alias, &node)
            {
                return Err(EditError::AliasBeginsId { alias: alias.clone(), owner }.into());
            }
            Edit::SetAlias(node.into(), alias)
        }
        Edit::SetLabels(node, labels) => Edit::SetLabels(find_member(state, &node)?.into(), labels),
        Edit::SetTag { name, point, force } => {
            let point = HistoryPoint::Heads(find_heads(state.desired_shard()?, &point)?);
            Edit::SetTag { name, point, force }
        }
        other => other,
    })
}

impl Node {
    /// The group that is meant. Without a name: the only one of which this node is a member; one that it
    /// left, or was removed from, only if there is no other.
    pub fn find_group(&self, name: &GroupName) -> Result<GroupId, LookupError> {
        let text = match name {
            GroupName::Id(id) => return Ok(*id),
            GroupName::Typed(text) => text,
            GroupName::Only => return self.only_group(),
        };
        let named = |state: &GroupState| (state.group.id(), Some(state.group.name().to_owned()));
        unique(NameKind::Group, text, self.groups.values().map(named))
    }

    fn only_group(&self) -> Result<GroupId, LookupError> {
        let (active, former): (Vec<&GroupState>, Vec<&GroupState>) =
            self.groups.values().partition(|state| state.group.members().is_member(&self.own_id));
        match if active.is_empty() { former } else { active }.as_slice() {
            [] => Err(LookupError::NoGroup),
            [one] => Ok(one.group.id()),
            several => {
                let names: BTreeSet<&str> = several.iter().map(|state| state.group.name()).collect();
                let are_unique = names.len() == several.len();
                let name = |state: &&GroupState| match are_unique {
                    true => state.group.name().to_owned(),
                    false => format!("{} ({})", state.group.id().short(), state.group.name()),
                };
                Err(LookupError::GroupNotNamed(several.iter().map(name).collect()))
            }
        }
    }

    /// The group that is meant, if this node is a member of it.
    pub fn find_own_group(&self, name: &GroupName) -> Result<GroupId, RequestError> {
        let id = self.find_group(name)?;
        let state = self.groups.get(&id).ok_or(RequestError::UnknownGroup)?;
        match MembershipStatus::for_key(state.group.members(), &self.own_id) {
            MembershipStatus::Member => Ok(id),
            _ => Err(RequestError::MembershipEnded(id)),
        }
    }
}

/// The node that waits to be admitted and is meant: by a prefix of its id, or by the alias that it asks for.
pub(super) fn find_join_request(
    node: &Node,
    group: &GroupName,
    name: &NodeName,
) -> Result<NodeId, LookupError> {
    let text = match name {
        NodeName::Id(id) => return Ok(*id),
        NodeName::Typed(text) => text,
    };
    let pairings = node.incoming_pairings().map(|(id, pairing, _)| (id, Some(pairing.alias.clone())));
    let mut candidates: Vec<(NodeId, Option<String>)> = pairings.collect();
    if *group != GroupName::Only || !node.groups.is_empty() {
        let state = node.groups.get(&node.find_group(group)?);
        let waiting = state.into_iter().flat_map(GroupState::waiting_joins);
        candidates.extend(waiting.map(|(terms, _)| (terms.joiner, Some(terms.alias.clone()))));
    }
    unique(NameKind::JoinRequest, text, candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KITCHEN: &str = "0c5vtp2k";
    const TILL: &str = "beefy7zz";

    /// Looks `text` up among two nodes, of which the second has an alias.
    fn find(text: &str, alias: &str) -> Result<&'static str, LookupError> {
        unique(NameKind::Node, text, [(KITCHEN, None), (TILL, Some(alias.to_owned()))])
    }

    #[test]
    fn a_full_id_names_its_owner_whatever_aliases_say() {
        assert_eq!(find(KITCHEN, KITCHEN), Ok(KITCHEN));
        assert_eq!(find("0C5VTP2K", KITCHEN), Ok(KITCHEN));
    }

    #[test]
    fn an_alias_that_begins_another_id_is_ambiguous() {
        let both = LookupError::Ambiguous {
            kind: NameKind::Node,
            text: "0c5vtp2".to_owned(),
            candidates: vec![KITCHEN.to_owned(), TILL.to_owned()],
        };
        assert_eq!(find("0c5vtp2", "0c5vtp2"), Err(both));
        assert_eq!(find("0c5vtp", "0c5vtp2"), Ok(KITCHEN));
    }

    #[test]
    fn a_short_alias_goes_before_a_prefix() {
        assert_eq!(find("0c", "0c"), Ok(TILL));
        assert_eq!(find("0c", "till"), Ok(KITCHEN));
        assert_eq!(find("beefy7", "beefy7"), Ok(TILL), "the alias and the prefix name one node");
    }

    #[test]
    fn a_name_that_nothing_has_is_not_found() {
        for text in ["", " ", "x", "0c5vtp2kk"] {
            assert_eq!(find(text, "till"), Err(LookupError::NotFound(NameKind::Node, text.to_owned())));
        }
    }
}
