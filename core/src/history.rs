//! Questions to the past of one group: which change is meant, what was written when, by whom, and over what.
//!
//! Every answer is a function of what the group holds, so nodes with equal digests answer alike, byte for byte. No
//! clock is asked: a time here is what an author's clock said, and orders nothing that causality orders.
//!
//! Who wrote what on what stands in the graph and costs next to nothing. Contents are read from the Automerge document
//! as of the last [`Group::flush`](crate::for_group::Group::flush), which is to be called first: what still waits for it is
//! listed without its contents, and not as verified.

mod applied_revision;
mod blame;
mod change_reader;
mod change_summary;
mod diff;
mod field_value;
mod id_lookup;
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
pub use id_lookup::{LookupError, find_by_id_prefix};
pub use log::{LogEntry, LogQuery, LogSource, find_entry, log};
pub use past_state::{heads_at_time, state_at, state_at_with_prefix};
pub use revert::{ResourceScope, RevertError, RevertRequest, plan_revert, scope_has_resources};
pub use undo::{UNDO_COMMAND_PREFIX, UndoableChange, newest_undoable_change};
