//! Rate limits by token bucket, one bucket per source, in a bounded table.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::limits;

/// The rate of one source: `burst` at once, and one more every `refill`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    pub(crate) burst: u32,
    pub(crate) refill: Duration,
}

impl RateLimit {
    /// A rate of `count` per second, up to `burst` at once.
    pub(crate) fn per_second(count: u32, burst: u32) -> Self {
        Self { burst, refill: Duration::from_secs(1) / count.max(1) }
    }

    /// Returns this rate times `factor`.
    pub(crate) fn scaled_by(self, factor: u32) -> Self {
        Self { burst: self.burst * factor, refill: self.refill / factor.max(1) }
    }
}

/// The bucket of one source, stored as the time at which it is full again.
#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    full_at: Instant,
}

/// The buckets of many sources.
pub(crate) struct KeyedRateLimiter<K> {
    buckets: HashMap<K, TokenBucket>,
}

impl<K> Default for KeyedRateLimiter<K> {
    fn default() -> Self {
        Self { buckets: HashMap::new() }
    }
}

impl<K: Eq + Hash + Copy> KeyedRateLimiter<K> {
    /// Takes one token from the bucket of `source`; false if it is empty.
    pub(crate) fn try_take(&mut self, source: K, rate: RateLimit, now: Instant) -> bool {
        if self.buckets.len() >= limits::MAX_RATE_LIMITED_SOURCES && !self.buckets.contains_key(&source) {
            self.evict(now);
        }
        let bucket = self.buckets.entry(source).or_insert(TokenBucket { full_at: now });
        let full_at = bucket.full_at.max(now) + rate.refill;
        let is_allowed = full_at <= now + rate.refill * rate.burst;
        if is_allowed {
            bucket.full_at = full_at;
        }
        is_allowed
    }

    /// Removes full buckets, which equal absent ones; if none is full, the fullest.
    fn evict(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| bucket.full_at > now);
        if self.buckets.len() >= limits::MAX_RATE_LIMITED_SOURCES {
            let fullest_source =
                self.buckets.iter().min_by_key(|(_, bucket)| bucket.full_at).map(|(source, _)| *source);
            fullest_source.and_then(|source| self.buckets.remove(&source));
        }
    }
}

/// The source that shares a bucket: an IPv4 address, or an IPv6 /64, from which one host can choose freely.
pub(crate) fn source_key(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: RateLimit = RateLimit { burst: 3, refill: Duration::from_millis(100) };

    #[test]
    fn a_source_gets_its_burst_and_then_one_per_refill() {
        let mut limiter = KeyedRateLimiter::default();
        let start = Instant::now();
        let allowed_count = |limiter: &mut KeyedRateLimiter<u8>, at_ms: u64, tries: u32| {
            (0..tries).filter(|_| limiter.try_take(1, RATE, start + Duration::from_millis(at_ms))).count()
        };
        assert_eq!(allowed_count(&mut limiter, 0, 10), 3);
        assert_eq!(allowed_count(&mut limiter, 99, 10), 0);
        assert_eq!(allowed_count(&mut limiter, 100, 10), 1);
        assert_eq!(allowed_count(&mut limiter, 10_000, 10), 3, "never more than the burst");
        assert!(limiter.try_take(2, RATE, start), "others are not touched");
    }

    #[test]
    fn the_table_of_sources_is_bounded() {
        let mut limiter = KeyedRateLimiter::default();
        let now = Instant::now();
        for source in 0..3 * limits::MAX_RATE_LIMITED_SOURCES {
            limiter.try_take(source, RATE, now);
        }
        assert!(limiter.buckets.len() <= limits::MAX_RATE_LIMITED_SOURCES);
    }

    #[test]
    fn all_addresses_of_one_ipv6_prefix_are_one_source() {
        let key_of = |text: &str| source_key(text.parse().unwrap());
        assert_eq!(key_of("fd00::1"), key_of("fd00::ffff:1"));
        assert_ne!(key_of("fd00::1"), key_of("fd00:0:0:1::1"));
    }
}
