//! The daemon: the machine with a network, a disk, providers and a door around it.
//!
//! ```text
//!             larder-net            api (Unix socket)
//!        events |  ^ frames     asks |  ^ answers
//!               v  |                 v  |
//!            +--------------- driver ---------------+      one task owns the machine; nobody else sees it
//!            |  Input -> Machine::handle -> Effects  |
//!            +---------------------------------------+
//!          rows |  ^ stored       changed |  ^ reports
//!               v  |                      v  |
//!          store thread (redb)       keeper -> providers (blocking threads)
//! ```

mod changes;
mod driver;
mod handle;
mod keeper;
mod lines;
mod news;
mod opening;
mod rotate;
mod setup;

use tokio::sync::watch;

pub(crate) use driver::wall;
pub use handle::{Handle, Stopped};
pub use news::{Heard, News, Passing, Watcher, What};
pub use rotate::rotate;
pub use setup::{Daemon, Options};

/// Returns once the daemon is told to stop.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell is gone: that is a stop too.
    drop(stop.wait_for(|stop| *stop).await);
}
