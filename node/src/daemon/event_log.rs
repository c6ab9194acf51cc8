//! What the daemon writes into its log. Ids and names only: never a value, a code or a key.

use larder_core::node::NodeEvent;

/// Writes a notice of the machine at the level that it deserves.
pub(super) fn log_event(event: &NodeEvent) {
    match event {
        NodeEvent::IncompatibleVersion { peer, software } => {
            tracing::warn!(peer = %peer.short(), software = software.escape_default().to_string(), "no \
                common version: one of the two needs an upgrade");
        }
        NodeEvent::ProtocolViolation { peer, error } => {
            let error = error.to_string();
            tracing::warn!(peer = %peer.short(), error = %error.escape_default(), "a peer violated the \
                protocol");
        }
        NodeEvent::ReachabilityChanged { group, peer, is_reachable: true } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "up");
        }
        NodeEvent::ReachabilityChanged { group, peer, is_reachable: false } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "away");
        }
        NodeEvent::InSync { group, peer } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "in sync");
        }
        NodeEvent::MemberAdmitted { group, peer } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "admitted");
        }
        NodeEvent::GroupEntered { group } => tracing::info!(group = %group.short(), "entered a group"),
        NodeEvent::IncarnationRenewed { group } => {
            tracing::warn!(group = %group.short(), "the data directory was copied, moved or restored: this \
                node begins new chains");
        }
        NodeEvent::DuplicateKey { group } => {
            tracing::error!(group = %group.short(), "another daemon runs with this node's key: a copied \
                data directory; stop one of the two");
        }
        NodeEvent::GroupRepaired { group } => {
            tracing::info!(group = %group.short(), "what was damaged is here again");
        }
        NodeEvent::ShardIsolated { group, reason: what } => {
            tracing::error!(group = %group.short(), what, "a shard is isolated")
        }
        NodeEvent::StoreFailed { reason: why } => {
            tracing::error!(
                why,
                "the store failed: nothing is written until it works again; free or repair the disk"
            );
        }
    }
}
