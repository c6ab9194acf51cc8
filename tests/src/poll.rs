//! Looking again and again for what nobody announces: a file, a process that ends, what another process
//! shows.

use std::time::{Duration, Instant};

/// Looks until `condition` gives something, with a pause between two looks; `None` if it has not within
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
