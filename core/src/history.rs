//! Queries about the past of one group: who wrote what and when, what it replaced, and how to revert it.
//!
//! Every result is a function of the group's data, so nodes with equal digests get equal results, byte for
//! byte. No query reads a clock. The time of a change is the time by its author's clock, and it never decides
//! the order of two changes if one builds on the other.
//!
//! The graph answers who wrote which change and on what it builds. Contents come from the Automerge document
//! as of the last [`Group::flush_documents`](crate::group::Group::flush_documents), which the caller should
//! call first. A change that is not flushed yet is listed without contents and as not verified.

mod applied_revision;
mod blame;
mod change_reader;
mod change_summary;
mod diff;
mod field_value;
mod line_blame;
mod log;
mod past_state;
mod revert;
#[cfg(test)]
mod tests;
mod topo_order;
mod undo;

pub use applied_revision::{ObservedPoint, find_observed_point, last_applied_state};
pub use blame::{ChangeOrigin, FieldBlame, LineBlame, blame};
pub use change_reader::{ChangeRowReader, no_stored_rows};
pub use change_summary::{FieldChanges, FieldOp};
pub use diff::{FieldDiff, diff, diff_of_change};
pub use log::{LogEntry, LogQuery, LogSource, find_entry, log};
pub use past_state::{heads_at_time, state_at, state_at_with_prefix};
pub use revert::{ResourceScope, RevertError, RevertRequest, plan_revert, scope_has_resources};
pub use undo::{UNDO_COMMAND_PREFIX, UndoableChange, newest_undoable_change};
