//! How much of the machine labs may use at once.

use std::sync::{Condvar, Mutex, PoisonError};

/// Hosts at once in this process: two cores carry that many with times that still mean something. A larger lab runs
/// alone.
const ROOM: usize = 12;

/// A small lab counts as this many.
const LEAST: usize = 6;

static USED: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// Room for one lab, given back when dropped.
pub(super) struct Place(usize);

impl Place {
    /// Waits for room.
    pub(super) fn take(hosts: usize) -> Self {
        let cost = hosts.clamp(LEAST, ROOM);
        let used = USED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used =
            FREED.wait_while(used, |used| *used + cost > ROOM).unwrap_or_else(PoisonError::into_inner);
        *used += cost;
        Self(cost)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *USED.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        FREED.notify_all();
    }
}
