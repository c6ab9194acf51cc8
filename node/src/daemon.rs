//! The daemon: a node with its network, its store, its providers and the local API.
//!
//! ```text
//!           larder-net              api (Unix socket)
//!      events |   ^ frames     commands |   ^ responses
//!             v   |                     v   |
//!          +---------------- owner ----------------+     the only task that uses the node
//!          |  Input -> Node::handle -> Effects     |
//!          +---------------------------------------+
//!        rows |   ^ outcomes    dirty groups |   ^ reports
//!             v   |                          v   |
//!        store thread (redb)       reconciler -> providers (blocking threads)
//! ```

mod clock;
mod dirty_groups;
mod event_bus;
mod event_log;
mod handle;
mod open;
mod owner;
mod reconciler;
mod rotate;
mod setup;
mod stop;

pub use event_bus::{EventBus, EventWatcher, TransientEvent, TransientKind, WatchItem};
pub use handle::{DaemonHandle, DaemonStopping};
pub use rotate::rotate_key;
pub use setup::{Daemon, DaemonOptions};
pub(crate) use stop::stop_requested;
