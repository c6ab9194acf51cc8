//! The log messages for events of the node. They contain ids and names, and never a value, code or key.

use larder_core::node::NodeEvent;

/// Logs an event of the node.
pub(super) fn log_event(event: &NodeEvent) {
    match event {
        NodeEvent::IncompatibleVersion { peer, software } => {
            tracing::warn!(peer = %peer.short(), software = software.escape_default().to_string(), "no \
                common protocol version; upgrade this node or the peer");
        }
        NodeEvent::ProtocolViolation { peer, error } => {
            let error = error.to_string();
            tracing::warn!(peer = %peer.short(), error = %error.escape_default(), "a peer violated the \
                protocol");
        }
        NodeEvent::ReachabilityChanged { group, peer, is_reachable: true } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "a member is reachable");
        }
        NodeEvent::ReachabilityChanged { group, peer, is_reachable: false } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "a member is not reachable");
        }
        NodeEvent::InSync { group, peer } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "in sync with a member");
        }
        NodeEvent::MemberAdmitted { group, peer } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "admitted a new member");
        }
        NodeEvent::GroupEntered { group } => tracing::info!(group = %group.short(), "joined the group"),
        NodeEvent::IncarnationRenewed { group } => {
            tracing::warn!(group = %group.short(), "the data directory was copied, moved or restored; \
                this node starts new chains");
        }
        NodeEvent::DuplicateKey { group } => {
            tracing::error!(group = %group.short(), "another daemon uses this node's key, from a copied \
                data directory; stop one of the two daemons");
        }
        NodeEvent::GroupRepaired { group } => {
            tracing::info!(group = %group.short(), "the damaged data of this group was fetched again");
        }
        NodeEvent::ShardIsolated { group, reason: why } => {
            tracing::error!(group = %group.short(), why, "a shard is damaged and takes no more changes")
        }
        NodeEvent::StoreFailed { reason: why } => {
            tracing::error!(why, "the store failed; the node refuses writes until the disk works again");
        }
    }
}
