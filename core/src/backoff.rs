//! The growing delay between attempts that fail. Pure: the caller adds the delay to its own clock.

use std::time::Duration;

/// A delay that doubles with every failure, up to a limit.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    failures: u32,
}

impl Backoff {
    /// Creates a backoff without failures.
    pub const fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit, failures: 0 }
    }

    /// Counts one more failure, and returns the delay after it.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(factor).min(self.limit)
    }

    /// The number of failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Starts again with the first delay.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_delays_double_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(7));
        let delays: Vec<_> = (0..40).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays[..4], [2, 4, 7, 7]);
        assert!(delays[4..].iter().all(|delay| *delay == 7));
        assert_eq!(backoff.failures(), 40);
        backoff.reset();
        assert_eq!(backoff.next_delay().as_secs(), 2);
    }
}
