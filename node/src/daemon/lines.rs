//! What the daemon writes into its log. Ids and names only: never a value, a code or a key.

use larder_core::machine::Notice;

/// Writes a notice of the machine at the level that it deserves.
pub(super) fn notice(notice: &Notice) {
    match notice {
        Notice::Version { peer, software } => {
            tracing::warn!(peer = %peer.short(), software = software.escape_default().to_string(), "no common version: one of the two needs an upgrade");
        }
        Notice::Fault { peer, what } => {
            tracing::warn!(peer = %peer.short(), what = what.escape_default().to_string(), "a peer sent what it should not");
        }
        Notice::Neighbour { group, peer, up: true } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "up");
        }
        Notice::Neighbour { group, peer, up: false } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "away");
        }
        Notice::InSync { group, peer } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "in sync");
        }
        Notice::Admitted { group, peer } => {
            tracing::info!(group = %group.short(), peer = %peer.short(), "admitted");
        }
        Notice::Entered { group } => tracing::info!(group = %group.short(), "entered a group"),
        Notice::Reborn { group } => {
            tracing::warn!(group = %group.short(), "the data directory was copied, moved or restored: this node begins new chains");
        }
        Notice::Twin { group } => {
            tracing::error!(group = %group.short(), "another daemon runs with this node's key: a copied data directory; stop one of the two");
        }
        Notice::Refetched { group } => {
            tracing::info!(group = %group.short(), "what was damaged is here again");
        }
        Notice::Isolated { group, what } => {
            tracing::error!(group = %group.short(), what, "a shard is isolated")
        }
        Notice::Storage { why } => {
            tracing::error!(
                why,
                "the store failed: nothing is written until it works again; free or repair the disk"
            );
        }
    }
}
