//! Warnings about a group, which `nodes` and `status` print.

use larder_core::id::GroupId;
use larder_core::node::{GroupState, MembershipEnd, MembershipStatus, Node, RequestError};
use larder_core::resource::view::NodeLabels;

use crate::error::{CliError, ExitKind};
use crate::time;

/// The sign that a copy of this node runs or ran.
pub(super) const DUPLICATE_KEY: &str =
    "other nodes have changes that were signed with this node's key, but that this node did not write";
/// The cause of [`DUPLICATE_KEY`], with advice.
pub(super) const DUPLICATE_KEY_HINT: &str = "a copy of the data directory is in use, or this one was \
    restored from a backup; if there is a copy, stop one of the two daemons";

/// The sign that this node may be a copy.
pub(super) const STORE_WAS_COPIED: &str =
    "this data directory was copied, moved or restored before this start, so the node started new chains";
/// The advice for [`STORE_WAS_COPIED`].
pub(super) const STORE_WAS_COPIED_HINT: &str =
    "if the daemon on the original directory still runs, stop one of the two";

/// A sentence for each member whose history forked.
pub(super) fn forked_member_warnings(state: &GroupState) -> impl Iterator<Item = String> {
    let (shards, records) = (state.group.shard_states(), state.group.records());
    state.group.members().nodes().filter(|key| shards.has_forked(key, records)).map(|key| {
        let name = state.alias_of(&key).unwrap_or_else(|| key.short());
        format!("the history of {name} forked: its data directory was copied or restored")
    })
}

/// All warnings about a group.
pub(super) fn group_warnings(local_node: &Node, state: &GroupState) -> Vec<String> {
    let mut lines: Vec<String> = not_member_reason(local_node, state).into_iter().collect();
    if state.has_duplicate_key {
        lines.push(format!("{DUPLICATE_KEY}: {DUPLICATE_KEY_HINT}"));
    }
    if state.store_was_copied {
        lines.push(format!("{STORE_WAS_COPIED}; {STORE_WAS_COPIED_HINT}"));
    }
    lines.extend(
        forked_member_warnings(state)
            .map(|text| format!("{text}; `larder quarantine list` shows the other branches")),
    );
    lines.extend(ignored_alias_warnings(state));
    for id in state.group.members().unsupported() {
        lines.push(format!("membership record {} is of a kind that this version does not know", id.short()));
    }
    let unaccepted_count = unaccepted_desired_count(state);
    if unaccepted_count > 0 {
        let changes = crate::output::pluralize(unaccepted_count, "unaccepted change");
        lines.push(format!("{changes} without effect: see `larder quarantine list`"));
    }
    for (limit, stats) in local_node.limit_stats().iter() {
        lines.push(format!("{limit}: the limit of {} was reached, {} times", stats.limit, stats.count));
    }
    lines
}

/// The members whose alias is ignored, a sentence each.
fn ignored_alias_warnings(state: &GroupState) -> impl Iterator<Item = String> {
    let members = state.group.members();
    let desired = state.group.desired();
    members.nodes().filter_map(move |node| {
        let alias = NodeLabels::read(desired?.state(), members, &node).ignored_alias?;
        let owner = members.node_with_id_prefix(&alias, &node)?;
        Some(format!(
            "the alias `{alias}` of {} is ignored: the id of {} begins with it; `larder alias` sets another",
            node.short(),
            owner.short()
        ))
    })
}

/// The number of unaccepted changes of the desired state. Those of observed states need no warning.
pub(super) fn unaccepted_desired_count(state: &GroupState) -> usize {
    let shard_id = state.group.desired().map(|desired| desired.root().shard_id());
    shard_id
        .and_then(|shard_id| state.group.unaccepted_in(&shard_id))
        .map_or(0, |unaccepted| unaccepted.iter().count())
}

/// The reason why this node is not a member, if it is not.
pub(super) fn not_member_reason(local_node: &Node, state: &GroupState) -> Option<String> {
    let (own_id, name) = (local_node.own_id(), state.group.name());
    let status = MembershipStatus::for_key(state.group.members(), &own_id);
    let revocation = MembershipEnd::for_key(&state.group, &own_id);
    let revoked_by = revocation.as_ref().map(|revocation| {
        let name_of_revoker = match &revocation.signer {
            Some(key) => state.alias_of(key).unwrap_or_else(|| key.short()),
            None => "the recovery key".to_owned(),
        };
        let user = if revocation.note.user.is_empty() {
            String::new()
        } else {
            format!("{}@", revocation.note.user)
        };
        let when = if revocation.note.time == 0 {
            String::new()
        } else {
            format!(" on {}", time::local(revocation.note.time))
        };
        let why = if revocation.note.message.is_empty() {
            String::new()
        } else {
            format!(": {}", revocation.note.message)
        };
        (format!("by {user}{name_of_revoker}{when}{why}"), when)
    });
    let (revoked_by, on_date) = revoked_by.unwrap_or_default();
    let rest = "its data stays readable here, but is no longer updated";
    match status {
        MembershipStatus::Member => None,
        MembershipStatus::Left => Some(format!("this node left group `{name}`{on_date}; {rest}")),
        MembershipStatus::Removed => {
            Some(format!("this node was removed from group `{name}` {revoked_by}; {rest}"))
        }
        MembershipStatus::Dissolved => Some(format!("group `{name}` was deleted {revoked_by}; {rest}")),
        MembershipStatus::Stranger => Some(format!("this node is not a member of group `{name}`; {rest}")),
    }
}

/// The error of a request to a group that this node is no longer a member of.
pub(super) fn membership_error(local_node: &Node, group: &GroupId) -> CliError {
    let reason = local_node.group(group).and_then(|state| not_member_reason(local_node, state));
    let text = reason.unwrap_or_else(|| RequestError::MembershipEnded(*group).to_string());
    CliError::new(ExitKind::Refused, "no-member", text)
        .with_hint("ask an admin for an invite code, and run `larder join CODE`")
}
