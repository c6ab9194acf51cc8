//! The commands of the daemon that the driver has not taken yet.
//!
//! This is not a queue: it keeps only the newest command of each kind. It cannot overflow, and submitting
//! never waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use larder_core::id::NodeId;
use libp2p::Multiaddr;
use tokio::sync::Notify;

use crate::limits;

/// The commands that the driver has not taken yet.
#[derive(Default)]
pub(crate) struct PendingCommands {
    pub(crate) members: Option<BTreeSet<NodeId>>,
    pub(crate) learned_addresses: BTreeMap<NodeId, Vec<Multiaddr>>,
    pub(crate) guest_streams: VecDeque<NodeId>,
    pub(crate) shutdown: bool,
}

/// Shares the pending commands between the handles and the driver.
#[derive(Default)]
pub(crate) struct CommandSlot {
    pending: Mutex<PendingCommands>,
    changed: Notify,
}

impl CommandSlot {
    fn lock_pending(&self) -> MutexGuard<'_, PendingCommands> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the pending commands and wakes the driver.
    pub(crate) fn submit<T>(&self, change: impl FnOnce(&mut PendingCommands) -> T) -> T {
        let result = change(&mut self.lock_pending());
        self.changed.notify_one();
        result
    }

    /// Waits for a change. Cancel safe: only the driver waits, and a change in between is remembered.
    pub(crate) async fn wait_changed(&self) {
        self.changed.notified().await;
    }

    /// Takes all pending commands.
    pub(crate) fn take_pending(&self) -> PendingCommands {
        std::mem::take(&mut self.lock_pending())
    }
}

impl PendingCommands {
    /// Replaces the addresses learned for a node. Ignores more nodes than can be members.
    pub(crate) fn add_addresses(&mut self, node: NodeId, mut addrs: Vec<Multiaddr>) {
        addrs.truncate(limits::MAX_ADDRESSES_PER_NODE);
        if self.learned_addresses.len() < limits::MAX_MEMBERS || self.learned_addresses.contains_key(&node) {
            self.learned_addresses.insert(node, addrs);
        }
    }

    /// Queues a guest stream to `node`. False if too many wait.
    pub(crate) fn add_guest_stream(&mut self, node: NodeId) -> bool {
        let is_queued = self.guest_streams.contains(&node);
        let is_below_limit = self.guest_streams.len() < limits::MAX_WAITING_GUEST_STREAMS;
        if is_below_limit && !is_queued {
            self.guest_streams.push_back(node);
        }
        is_below_limit || is_queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_commands_are_merged_and_bounded() {
        let slot = CommandSlot::default();
        for seed in 0..=255 {
            slot.submit(|pending| pending.members = Some([NodeId([seed; 32])].into()));
            for _ in 0..2 {
                assert!(slot.submit(|pending| pending.add_guest_stream(NodeId([seed; 32]))));
            }
        }
        let mut one_too_many = [0; 32];
        one_too_many[31] = 1;
        assert!(!slot.submit(|pending| pending.add_guest_stream(NodeId(one_too_many))));
        let pending = slot.take_pending();
        assert_eq!(pending.members, Some([NodeId([255; 32])].into()));
        assert_eq!(pending.guest_streams.len(), limits::MAX_WAITING_GUEST_STREAMS);
        assert!(slot.take_pending().members.is_none());
    }
}
