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

mod dirty_groups;
mod event_bus;
mod event_log;
mod handle;
mod open;
mod owner;
mod reconciler;
mod rotate;
mod setup;

use tokio::sync::watch;

pub use event_bus::{EventBus, EventWatcher, TransientEvent, TransientKind, WatchItem};
pub use handle::{DaemonHandle, DaemonStopping};
pub(crate) use owner::wall_clock_seconds;
pub use rotate::rotate_key;
pub use setup::{Daemon, DaemonOptions};

/// Returns once the daemon is told to stop.
pub(crate) async fn stop_requested(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell is gone: that is a stop too.
    drop(stop.wait_for(|stop| *stop).await);
}
