//! Questions to the past of one group: which change is meant, what was written when, by whom, and over what.
//!
//! Every answer is a function of what the group holds, so nodes with equal digests answer alike, byte for byte. No
//! clock is asked: a time here is what an author's clock said, and orders nothing that causality orders.
//!
//! Who wrote what on what stands in the graph and costs next to nothing. Contents are read from the Automerge document
//! as of the last [`Group::flush`](crate::group::Group::flush), which is to be called first: what still waits for it is
//! listed without its contents, and not as verified.

mod back;
mod blame;
mod contents;
mod diff;
mod draw;
mod find;
mod lines;
mod log;
mod membership;
mod order;
mod past;
mod runs;
mod spot;
#[cfg(test)]
mod tests;
mod touch;
mod undo;

pub use back::{Back, BackError, Overwritten, Scope, is_known, put_back};
pub use blame::{Blame, Line, Origin, blame};
pub use contents::{Stored, nowhere};
pub use diff::{Edit, diff, show};
pub use draw::{Row, draw};
pub use find::{FindError, Found, find};
pub use log::{LogEntry, Query, Source, entry, log};
pub use past::{heads_at_time, part_at, state_at};
pub use runs::{Seen, last_applied, seen_at};
pub use touch::{Op, Touch};
pub use undo::{Done, UNDO, newest_done};
