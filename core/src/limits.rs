//! Every bound of the core, with its unit and its reason.
//!
//! * `frozen`: bounds that decide whether a change or a record is valid. Every node must decide alike for
//!   ever, so they are part of the format version and never change within it.
//! * `local`: bounds that only delay, split or evict. They may differ between nodes and between versions.

mod frozen;
mod local;

pub use frozen::*;
pub use local::*;
