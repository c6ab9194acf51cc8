//! The clock of the process.

use std::time::{Duration, Instant};

use larder_core::node::{ClockReading, MonoTime};

use crate::time::wall_clock_seconds;

/// Monotonic time from the start of the process, and the host's wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessClock(Instant);

impl ProcessClock {
    pub(super) fn start_now() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> ClockReading {
        let mono = MonoTime(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX));
        ClockReading { mono, unix_secs: wall_clock_seconds() }
    }

    pub(super) fn to_instant(self, mono_time: MonoTime) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.0 + Duration::from_micros(mono_time.0))
    }
}
