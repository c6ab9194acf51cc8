//! Values of removed authors that an undo, revert or restore brought back.
//!
//! A value that only a removed member wrote is in conflict until an operator decides. The change that decides
//! may be taken back later. The change that takes it back writes the old value again, under the name of its
//! own author. Without this module, that value would pass as the author's. So such a put still counts as one
//! of the removed member, whose put is its *origin*.
//!
//! The origin follows from the history alone: it is the newest put of the same value to the same key below
//! the restoring change, without the changes that were taken back.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use super::state::VisibleValue;
use crate::delta::OpRef;
use crate::delta::change_note::ChangeNote;
use crate::id::ChangeId;
use crate::limits;
use crate::value::Value;

/// The first word of the commands of changes that write earlier values again.
const RESTORING_COMMANDS: [&str; 3] = ["undo", "revert", "restore"];

/// The command of a change with this message, if the change writes earlier values again.
pub(super) fn restoring_command(message: &str) -> Option<String> {
    let command = ChangeNote::decode(message, 0).command;
    let first_word = command.split(' ').next().unwrap_or_default();
    RESTORING_COMMANDS.contains(&first_word).then_some(command)
}

impl Shard {
    /// The visible puts of restoring changes whose value comes from a removed member, with their origins. The
    /// document must be flushed.
    pub(super) fn find_restored_puts(&self) -> BTreeMap<OpRef, OpRef> {
        let mut origins = BTreeMap::new();
        for change in self.restoring_commands.keys().filter(|change| !self.dependency_only.contains(*change))
        {
            let puts = self.read_delta(change).map(|delta| delta.puts).unwrap_or_default();
            for put in puts {
                let is_own = |visible: &&VisibleValue| {
                    self.graph.entry_of_op(&visible.op).is_some_and(|entry| entry.id == *change)
                };
                let Some(visible) = self.state.get(&put.key).iter().find(is_own) else { continue };
                let origin = self.find_origin(&put.key, &put.value, change);
                let origin = origin.filter(|origin| self.state.is_dependency_only(origin));
                origins.extend(origin.map(|origin| (visible.op, origin)));
            }
        }
        origins
    }

    /// The newest put of `value` to `key` below a restoring change, without the changes that it takes back.
    fn find_origin(&self, key: &str, value: &Value, restoring_change: &ChangeId) -> Option<OpRef> {
        let mut taken_back = self.changes_taken_back(restoring_change);
        let (mut pending, mut seen) = (vec![*restoring_change], BTreeSet::new());
        let mut newest: Option<OpRef> = None;
        while let Some(change) = pending.pop() {
            if !seen.insert(change) || seen.len() > limits::MAX_ORIGIN_SEARCH_CHANGES {
                continue;
            }
            let deps: Vec<ChangeId> = self.graph.deps(self.graph.get(&change)?).map(|dep| dep.id).collect();
            for visible in self.visible_at(key, &deps).ok()? {
                let writer = self.graph.entry_of_op(&visible.op)?.id;
                let is_taken_back = taken_back.contains(&writer);
                let is_restoring = self.restoring_commands.contains_key(&writer);
                if visible.value == *value && !is_taken_back && !is_restoring {
                    newest = newest.max(Some(visible.op));
                    continue;
                }
                if is_restoring && !is_taken_back {
                    taken_back.extend(self.changes_taken_back(&writer));
                }
                pending.push(writer);
            }
        }
        newest
    }

    /// The changes that an undo or revert names in its command, in full or by a prefix.
    fn changes_taken_back(&self, restoring_change: &ChangeId) -> BTreeSet<ChangeId> {
        let command = self.restoring_commands.get(restoring_change).map_or("", String::as_str);
        let names = command.split(' ').skip(1).filter(|_| !command.starts_with("restore"));
        names.flat_map(|name| self.graph.ids_with_prefix(name)).collect()
    }
}
