//! What the daemon wants, on its way to the driver.
//!
//! Not a queue of commands but the newest wish of each kind: it cannot overflow, and asking never waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use larder_core::id::NodeId;
use libp2p::Multiaddr;
use tokio::sync::Notify;

use crate::limits;

/// Wishes that the driver has not taken yet.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) members: Option<BTreeSet<NodeId>>,
    pub(crate) learned: BTreeMap<NodeId, Vec<Multiaddr>>,
    pub(crate) visits: VecDeque<NodeId>,
    pub(crate) peers: Option<Vec<Multiaddr>>,
    pub(crate) hurry: bool,
    pub(crate) stop: bool,
}

/// Holds the wishes between daemon and driver.
#[derive(Default)]
pub(crate) struct Mailbox {
    wishes: Mutex<Wishes>,
    changed: Notify,
}

impl Mailbox {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the wishes and wakes the driver.
    pub(crate) fn wish<T>(&self, change: impl FnOnce(&mut Wishes) -> T) -> T {
        let result = change(&mut self.wishes());
        self.changed.notify_one();
        result
    }

    /// Waits for a change. Safe to cancel: one waiter only, and a change in between is remembered.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes all wishes.
    pub(crate) fn take(&self) -> Wishes {
        std::mem::take(&mut self.wishes())
    }
}

impl Wishes {
    /// Adds addresses of a node; the newest word stands. More nodes than can be members are not taken in.
    pub(crate) fn learn(&mut self, node: NodeId, mut addrs: Vec<Multiaddr>) {
        addrs.truncate(limits::ADDRESSES);
        if self.learned.len() < limits::MEMBERS || self.learned.contains_key(&node) {
            self.learned.insert(node, addrs);
        }
    }

    /// Adds a visit. False if too many wait.
    pub(crate) fn visit(&mut self, node: NodeId) -> bool {
        let waits = self.visits.contains(&node);
        let room = self.visits.len() < limits::VISITS_WAITING;
        if room && !waits {
            self.visits.push_back(node);
        }
        room || waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_merged_and_bounded() {
        let mailbox = Mailbox::default();
        for seed in 0..=255 {
            mailbox.wish(|w| w.members = Some([NodeId([seed; 32])].into()));
            for _ in 0..2 {
                assert!(mailbox.wish(|w| w.visit(NodeId([seed; 32]))));
            }
        }
        let mut other = [0; 32];
        other[31] = 1;
        assert!(!mailbox.wish(|w| w.visit(NodeId(other))));
        let wishes = mailbox.take();
        assert_eq!(wishes.members, Some([NodeId([255; 32])].into()));
        assert_eq!(wishes.visits.len(), limits::VISITS_WAITING);
        assert!(mailbox.take().members.is_none());
    }
}
