//! What the handles of the daemon and the driver share.

use std::sync::Arc;

use larder_core::id::NodeId;

use crate::command_slot::CommandSlot;
use crate::connections::ConnectionCounts;
use crate::limit_stats::SharedLimitStats;
use crate::link::registry::LinkRegistry;

/// The state that handles and driver share. Clones share it too.
#[derive(Clone)]
pub(crate) struct SharedState {
    pub(crate) local_node: NodeId,
    pub(crate) commands: Arc<CommandSlot>,
    pub(crate) link_registry: LinkRegistry,
    pub(crate) connection_counts: ConnectionCounts,
    pub(crate) limit_stats: SharedLimitStats,
}

impl SharedState {
    /// Creates the state of a network that has not started.
    pub(crate) fn new(local_node: NodeId) -> Self {
        Self {
            local_node,
            commands: Arc::default(),
            link_registry: LinkRegistry::default(),
            connection_counts: ConnectionCounts::default(),
            limit_stats: SharedLimitStats::default(),
        }
    }
}
