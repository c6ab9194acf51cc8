//! Writes to the desired state of a group: edits, reverts of earlier changes, and the replacement of a node.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{RequestError, Response};
use super::group_state::{GroupContext, GroupState};
use super::input::{RevertCommand, RevertTarget, WriteRequest};
use super::name_lookup::{self, find_changes, find_heads};
use super::{Node, NodeInfo, NodeState};
use crate::delta::change_note::{ChangeNote, truncate_marked};
use crate::history::{self, RevertRequest, UNDO_COMMAND_PREFIX, UndoableChange};
use crate::id::{ChangeId, HistoryEntryId, NodeId};
use crate::limits;
use crate::resource::edit_transaction;
use crate::resource::node_replacement::plan_node_replacement;
use crate::shard::root::ShardName;
use crate::typed_name::{GroupName, NodeName};
use crate::value::Value;

/// Writes edits as one change.
pub(super) fn write_edits(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    request: WriteRequest,
) -> Result<Response, RequestError> {
    let note = request.note.clone();
    let puts = plan_write(state, request)?;
    write_change(state, ctx, puts, note).map(Response::Written)
}

/// The values that a write would put. Nothing is written.
pub fn plan_write(
    state: &GroupState,
    request: WriteRequest,
) -> Result<BTreeMap<String, Value>, RequestError> {
    let desired = state.desired_shard()?;
    let edits = name_lookup::resolve_edits(state, request.edits)?;
    if let Some(expected_heads) = request.expected_heads {
        let mut expected_heads = find_changes(desired, &expected_heads)?;
        expected_heads.sort_unstable();
        if expected_heads != desired.graph().heads() {
            return Err(RequestError::HeadsChanged(short_ids(&expected_heads).join(", ")));
        }
    }
    Ok(edit_transaction::plan_edits(desired, &edits, request.allow_unknown)?)
}

/// Writes the change that takes back earlier changes.
pub(super) fn revert(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    command: RevertCommand,
) -> Result<Response, RequestError> {
    let RevertPlan { sources, puts, note } = plan_revert(state, &ctx.own_id, command)?;
    let change = write_change(state, ctx, puts, note)?;
    Ok(Response::Reverted { change, sources })
}

/// What a revert, undo or restore would write.
#[derive(Clone, Debug)]
pub struct RevertPlan {
    /// The changes that are taken back, or the heads that are restored.
    pub sources: Vec<ChangeId>,
    /// The values that are put; empty if nothing differs.
    pub puts: BTreeMap<String, Value>,
    /// The note of the change.
    pub note: ChangeNote,
}

/// What a revert, undo or restore by the node `own_id` would write. Nothing is written.
pub fn plan_revert(
    state: &mut GroupState,
    own_id: &NodeId,
    command: RevertCommand,
) -> Result<RevertPlan, RequestError> {
    let RevertCommand { target, mut note, .. } = command;
    // Earlier values are read from the document.
    state.group.flush_documents();
    let desired = state.desired_shard()?;
    let (request, sources, verb) = match target {
        RevertTarget::Undo => {
            let undoable = history::newest_undoable_change(&state.group, own_id);
            let UndoableChange { change, cancelled } = undoable.ok_or(RequestError::NothingToUndo)?;
            note.command = format!("{UNDO_COMMAND_PREFIX}{change}");
            let request = RevertRequest::Revert { changes: BTreeSet::from([change]), cancelled };
            (request, vec![change], "undoes")
        }
        RevertTarget::Revert(names) => {
            let changes = name_lookup::find_reverted(state, &names)?;
            note.command = format!("revert {}", short_ids(&changes).join(" "));
            let (reverted, cancelled) = (changes.iter().copied().collect(), BTreeSet::new());
            (RevertRequest::Revert { changes: reverted, cancelled }, changes, "reverts")
        }
        RevertTarget::Restore { point, scope } => {
            let heads = find_heads(desired, &point)?;
            if !history::scope_has_resources(desired, &scope) {
                return Err(RequestError::EmptyScope(scope.to_string()));
            }
            (RevertRequest::Restore { heads: heads.clone(), scope }, heads, "restores")
        }
    };
    if note.message.is_empty() {
        note.message = default_revert_message(state, verb, &sources);
    }
    let puts = history::plan_revert(desired, state.group.members(), &request)?;
    Ok(RevertPlan { sources, puts, note })
}

/// Writes values as one change of this node.
fn write_change(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    puts: BTreeMap<String, Value>,
    mut note: ChangeNote,
) -> Result<Option<ChangeId>, RequestError> {
    note.time = ctx.now.unix_secs;
    let incarnation = ctx.rng.next_incarnation();
    let written = state.group.write(ctx.secret, ShardName::Desired, puts, &note, incarnation)?;
    let change_id = written.change_id;
    state.on_written(ctx, written);
    Ok(change_id)
}

impl Node {
    /// Gives this node the alias, the labels and the per-node values of another.
    pub(super) fn replace_node(
        &mut self,
        group: &GroupName,
        old_node: &NodeName,
        note: ChangeNote,
    ) -> Result<Response, RequestError> {
        let (group, own_id) = (self.find_own_group(group)?, self.own_id);
        let state = self.groups.get(&group).ok_or(RequestError::UnknownGroup)?;
        let old_id = name_lookup::find_member_or_former(state, old_node)?;
        if old_id == own_id {
            return Err(RequestError::CannotReplaceSelf);
        }
        let is_old_up = |info: &NodeInfo| info.id == old_id && info.state == NodeState::Up;
        if self.member_infos(state).iter().any(is_old_up) {
            return Err(RequestError::ReplacedNodeIsUp(old_node.to_string()));
        }
        let (desired, members) = (state.desired_shard()?, state.group.members());
        let is_member = members.is_member(&old_id);
        let replacement = plan_node_replacement(desired.state(), members, &old_id, &own_id);
        // The values are in the document already, even those that this version does not know.
        let puts = edit_transaction::plan_edits(desired, &replacement.edits, true)?;
        let change = self.with_group(&group.into(), |state, ctx| write_change(state, ctx, puts, note))?;
        Ok(Response::NodeReplaced { old_id, is_member, replacement, change })
    }
}

fn short_ids(ids: &[ChangeId]) -> Vec<String> {
    ids.iter().map(ChangeId::short).collect()
}

/// The message of a change that takes others back, if the operator gives none.
fn default_revert_message(state: &GroupState, verb: &str, changes: &[ChangeId]) -> String {
    let summary = format!("{verb} {}", short_ids(changes).join(" "));
    let [one] = changes else { return summary };
    let shard_id = state.group.desired().map(|shard| shard.root().shard_id());
    let entry = shard_id.and_then(|shard_id| {
        history::find_entry(&state.group, &HistoryEntryId::Change { shard_id, id: *one })
    });
    match entry.as_ref().and_then(|entry| entry.note.message.lines().next()) {
        Some(first_line) if !first_line.is_empty() => {
            truncate_marked(&format!("{summary}: {first_line}"), limits::MAX_TRAILER_BYTES)
        }
        _ => summary,
    }
}
