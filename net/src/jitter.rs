//! Random delays, which keep hosts out of step.

use std::time::Duration;

/// Returns a random delay up to `limit`.
pub(crate) fn random_delay(limit: Duration) -> Duration {
    limit.mul_f64(rand::random::<f64>())
}

/// Returns 3/4 to 5/4 of `delay`.
pub(crate) fn with_jitter(delay: Duration) -> Duration {
    delay.mul_f64(0.75 + 0.5 * rand::random::<f64>())
}
