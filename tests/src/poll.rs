//! Waiting for conditions that send no notification: a file, the end of a process, the output of another
//! process.

use std::time::{Duration, Instant};

/// Checks `condition` repeatedly, with a pause between checks. Returns `None` if it returned no value within
/// `deadline`.
pub fn poll<T>(
    deadline: Duration,
    interval: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        let found = condition();
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        std::thread::sleep(interval);
    }
}
