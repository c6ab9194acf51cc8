//! Points between two steps on the disk. Tests stop a provider there, as `kill -9` would.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    /// The number of crash points that the thread still passes; `None` for all.
    static STEPS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The payload of the panic at a crash point.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct Crashed;

/// Marks a point between two steps on the disk.
#[cfg(not(test))]
pub(super) fn crash_point() {}

/// Marks a point between two steps on the disk. It unwinds if the test chose it.
#[cfg(test)]
pub(super) fn crash_point() {
    if let Some(left) = STEPS_LEFT.get() {
        if left == 0 {
            STEPS_LEFT.set(None);
            std::panic::resume_unwind(Box::new(Crashed));
        }
        STEPS_LEFT.set(Some(left - 1));
    }
}

/// Sets after how many crash points this thread stops.
#[cfg(test)]
pub(super) fn crash_after(steps: Option<u32>) {
    STEPS_LEFT.set(steps);
}
