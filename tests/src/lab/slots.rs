//! How much of the machine labs may use at once.

use std::sync::{Condvar, Mutex, PoisonError};

/// Hosts at once in this process: two cores carry that many with times that still mean something. A larger
/// lab runs alone.
const MAX_HOSTS: usize = 12;

/// A small lab counts as this many.
const MIN_LAB_HOSTS: usize = 6;

static HOSTS_IN_USE: Mutex<usize> = Mutex::new(0);
static SLOTS_FREED: Condvar = Condvar::new();

/// Room for one lab, given back when dropped.
pub(super) struct LabSlots(usize);

impl LabSlots {
    /// Waits for room.
    pub(super) fn acquire(hosts: usize) -> Self {
        let cost = hosts.clamp(MIN_LAB_HOSTS, MAX_HOSTS);
        let used = HOSTS_IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used = SLOTS_FREED
            .wait_while(used, |used| *used + cost > MAX_HOSTS)
            .unwrap_or_else(PoisonError::into_inner);
        *used += cost;
        Self(cost)
    }
}

impl Drop for LabSlots {
    fn drop(&mut self) {
        *HOSTS_IN_USE.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        SLOTS_FREED.notify_all();
    }
}
