//! What a user sees, with real daemons on separate hosts. Each test names what it shows.

mod adversary;
mod backup;
mod cli_errors;
mod damage;
mod document;
mod durability;
mod editor;
mod history;
mod late_introduction;
mod membership;
mod merge;
mod network;
mod node_identity;
mod readme;
mod replacement;
mod resources;
mod rotation;
mod soak;
mod time_travel;
mod watch;

/// The `larder` that was built for these tests.
pub(crate) const LARDER: &str = env!("CARGO_BIN_EXE_larder-under-test");

/// A lab, or the end of the test where none is to be had; that is said loudly.
macro_rules! lab {
    ($count:expr, $name:expr) => {
        match larder_tests::lab::Lab::or_skip($count, $name) {
            Some(lab) => lab,
            None => return,
        }
    };
}
use lab;
