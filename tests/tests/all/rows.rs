//! What a user sees, with real daemons on separate hosts. Each test names what it shows.

mod backup;
mod damage;
mod document;
mod editor;
mod endurance;
mod history;
mod input;
mod meeting;
mod membership;
mod merge;
mod network;
mod nodes;
mod past;
mod readme;
mod replacement;
mod resources;
mod rotation;
mod villain;
mod watch;
mod writes;

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
