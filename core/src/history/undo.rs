//! What `undo` means: the newest thing that a node did and that is not undone yet.

use std::collections::BTreeSet;

use super::change_reader::no_stored_rows;
use super::log::{LogQuery, log};
use crate::group::Group;
use crate::id::{ChangeId, NodeId};
use crate::limits;

/// What the command of a change begins with that undoes another; the whole id of that follows.
pub const UNDO_COMMAND_PREFIX: &str = "undo ";

/// Something that was done and is not undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoableChange {
    /// The change.
    pub change: ChangeId,
    /// Newer changes of the same node that cancel each other: some, and those that undid them.
    pub cancelled: BTreeSet<ChangeId>,
}

/// The newest change of `desired` that this node wrote, without those that undo, those that were undone, and those that
/// only merge. So to undo twice is to undo two things. What undid something is itself undone by reverting it.
///
/// `None` if there is none among the node's newest [`limits::UNDO`] changes.
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
