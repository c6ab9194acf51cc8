//! Limits the number of lab hosts that run at the same time.

use std::sync::{Condvar, Mutex, PoisonError};

/// The largest number of hosts in this process at the same time. With more, timings on two cores mean little.
/// A larger lab runs alone.
const MAX_HOSTS: usize = 12;

/// The number of hosts that a small lab counts as.
const MIN_LAB_HOSTS: usize = 6;

static HOSTS_IN_USE: Mutex<usize> = Mutex::new(0);
static SLOTS_FREED: Condvar = Condvar::new();

/// The share of one lab, freed when dropped.
pub(super) struct LabSlots(usize);

impl LabSlots {
    /// Waits until enough hosts are free.
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
