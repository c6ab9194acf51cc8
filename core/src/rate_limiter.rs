//! Rate limits by token bucket: one bucket for each key, in a bounded table. Pure: the caller passes the
//! time.

use std::collections::BTreeMap;
use std::ops::Add;
use std::time::Duration;

/// The rate of one key: `burst` at once, and one more after every `refill`.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    /// The tokens of a full bucket.
    pub burst: u32,
    /// The time in which a bucket gains one token.
    pub refill: Duration,
}

impl RateLimit {
    /// A rate of `count` per second, up to `burst` at once.
    pub fn per_second(count: u32, burst: u32) -> Self {
        Self { burst, refill: Duration::from_secs(1) / count.max(1) }
    }

    /// This rate times `factor`.
    pub fn scaled_by(self, factor: u32) -> Self {
        Self { burst: self.burst.saturating_mul(factor), refill: self.refill / factor.max(1) }
    }
}

/// The buckets of at most so many keys. `T` is a point in time.
///
/// A bucket is stored as the time at which it is full again.
#[derive(Clone, Debug)]
pub struct KeyedRateLimiter<K, T> {
    full_at: BTreeMap<K, T>,
    max_keys: usize,
}

impl<K: Ord + Copy, T: Ord + Copy + Add<Duration, Output = T>> KeyedRateLimiter<K, T> {
    /// Creates a limiter whose buckets are all full.
    pub fn new(max_keys: usize) -> Self {
        Self { full_at: BTreeMap::new(), max_keys }
    }

    /// Takes one token from the bucket of `key`. False if it is empty.
    pub fn try_take(&mut self, key: K, rate: RateLimit, now: T) -> bool {
        if self.full_at.len() >= self.max_keys && !self.full_at.contains_key(&key) {
            self.evict(now);
        }
        let bucket = self.full_at.entry(key).or_insert(now);
        let full_at = (*bucket).max(now) + rate.refill;
        let is_allowed = full_at <= now + rate.refill.saturating_mul(rate.burst);
        if is_allowed {
            *bucket = full_at;
        }
        is_allowed
    }

    /// Removes full buckets, which equal absent ones; if none is full, the fullest.
    fn evict(&mut self, now: T) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= self.max_keys {
            let fullest = self.full_at.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| *key);
            fullest.and_then(|key| self.full_at.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: RateLimit = RateLimit { burst: 3, refill: Duration::from_millis(100) };

    /// The points in time of these tests: milliseconds from some start.
    fn at_ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_key_gets_its_burst_and_then_one_per_refill() {
        let mut limiter = KeyedRateLimiter::new(8);
        let allowed_count = |limiter: &mut KeyedRateLimiter<u8, Duration>, ms: u64, tries: u32| {
            (0..tries).filter(|_| limiter.try_take(1, RATE, at_ms(ms))).count()
        };
        assert_eq!(allowed_count(&mut limiter, 0, 10), 3);
        assert_eq!(allowed_count(&mut limiter, 99, 10), 0);
        assert_eq!(allowed_count(&mut limiter, 100, 10), 1);
        assert_eq!(allowed_count(&mut limiter, 10_000, 10), 3, "never more than the burst");
        assert!(limiter.try_take(2, RATE, at_ms(0)), "other keys have their own bucket");
    }

    #[test]
    fn the_table_of_keys_is_bounded_and_the_emptiest_buckets_stay() {
        let mut limiter = KeyedRateLimiter::new(4);
        while limiter.try_take(1000, RATE, at_ms(0)) {}
        for key in 0..100 {
            limiter.try_take(key, RATE, at_ms(0));
            assert!(limiter.full_at.len() <= 4);
        }
        assert!(!limiter.try_take(1000, RATE, at_ms(0)), "an empty bucket is not forgotten for a fuller one");
    }
}
