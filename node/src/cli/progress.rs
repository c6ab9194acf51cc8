//! A progress line on standard error, on a terminal only.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

use super::context::CommandContext;
use crate::limits;

/// A line that is replaced at most once in [`limits::PROGRESS_INTERVAL`]. A task that ends sooner shows none.
pub(super) struct ProgressLine {
    is_enabled: bool,
    last_update: Instant,
    is_shown: bool,
}

impl ProgressLine {
    pub(super) fn new(context: &CommandContext) -> Self {
        let is_enabled = !context.json && stderr().is_terminal();
        Self { is_enabled, last_update: Instant::now(), is_shown: false }
    }

    pub(super) fn update(&mut self, text: impl FnOnce() -> String) {
        if !self.is_enabled || self.last_update.elapsed() < limits::PROGRESS_INTERVAL {
            return;
        }
        (self.last_update, self.is_shown) = (Instant::now(), true);
        // A terminal that takes no output does not stop the task.
        let mut err = stderr().lock();
        drop(write!(err, "\r{}\u{1b}[K", text()).and_then(|()| err.flush()));
    }

    pub(super) fn clear(&self) {
        if self.is_shown {
            drop(write!(stderr(), "\r\u{1b}[K"));
        }
    }
}

/// A number of bytes, for people.
pub(super) fn format_bytes(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// The state of a copy of about `total` bytes.
pub(super) fn describe_copy(copied: u64, total: u64) -> String {
    format!("copied {} of about {} ...", format_bytes(copied), format_bytes(total.max(copied)))
}
