//! The change that `undo` reverts: the node's newest change that is not undone.

use std::collections::BTreeSet;

use super::change_reader::no_stored_rows;
use super::log::{LogQuery, log};
use crate::group::Group;
use crate::id::{ChangeId, NodeId};
use crate::limits;

/// The beginning of the command of a change that undoes another one. The full id of the undone change
/// follows.
pub const UNDO_COMMAND_PREFIX: &str = "undo ";

/// The newest change that is not undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoableChange {
    /// The change to undo.
    pub change: ChangeId,
    /// Newer changes of the same node that cancel each other: undone changes, and those that undid them.
    pub cancelled: BTreeSet<ChangeId>,
}

/// The newest change of `desired` by this node that is neither undone, nor an undo, nor a mere merge. So
/// undoing twice undoes two changes. An undo is itself undone by reverting it.
///
/// `None` if there is no such change among the node's newest [`limits::MAX_UNDO_SEARCH_CHANGES`] changes.
pub fn newest_undoable_change(group: &Group, node: &NodeId) -> Option<UndoableChange> {
    let query = LogQuery {
        nodes: Some(BTreeSet::from([*node])),
        limit: Some(limits::MAX_UNDO_SEARCH_CHANGES),
        ..LogQuery::default()
    };
    let mut cancelled: BTreeSet<ChangeId> = BTreeSet::new();
    for entry in log(group, &query, &no_stored_rows) {
        let id = ChangeId::parse(&entry.id)?;
        let undone_id = entry.note.command.strip_prefix(UNDO_COMMAND_PREFIX).and_then(ChangeId::parse);
        match undone_id {
            Some(other) => cancelled.extend([id, other]),
            None if entry.field_changes.is_empty() || cancelled.contains(&id) => {}
            None => return Some(UndoableChange { change: id, cancelled }),
        }
    }
    None
}
