//! Token buckets, one for each source, in a table of bounded size.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::limits;

/// How much one source may do: `burst` at once, and one more every `refill`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) refill: Duration,
}

impl Rate {
    /// `count` a second, up to `burst` at once.
    pub(crate) fn per_second(count: u32, burst: u32) -> Self {
        Self { burst, refill: Duration::from_secs(1) / count.max(1) }
    }

    /// This rate, `factor` times over.
    pub(crate) fn times(self, factor: u32) -> Self {
        Self { burst: self.burst * factor, refill: self.refill / factor.max(1) }
    }
}

/// One source's bucket, kept as the moment at which it will be full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full: Instant,
}

/// Buckets of many sources.
pub(crate) struct Budget<K> {
    buckets: HashMap<K, Bucket>,
}

impl<K> Default for Budget<K> {
    fn default() -> Self {
        Self { buckets: HashMap::new() }
    }
}

impl<K: Eq + Hash + Copy> Budget<K> {
    /// Takes one from `source`'s bucket, if there is one.
    pub(crate) fn take(&mut self, source: K, rate: Rate, now: Instant) -> bool {
        if self.buckets.len() >= limits::SOURCES && !self.buckets.contains_key(&source) {
            self.forget(now);
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket { full: now });
        let full = bucket.full.max(now) + rate.refill;
        let allowed = full <= now + rate.refill * rate.burst;
        if allowed {
            bucket.full = full;
        }
        allowed
    }

    /// Makes room: full buckets say nothing, and of the others the fullest says least.
    fn forget(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| bucket.full > now);
        if self.buckets.len() >= limits::SOURCES {
            let fullest =
                self.buckets.iter().min_by_key(|(_, bucket)| bucket.full).map(|(source, _)| *source);
            fullest.and_then(|source| self.buckets.remove(&source));
        }
    }
}

/// Who shares a budget: an IPv4 address, or the /64 that one IPv6 host can choose from freely.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
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

    const RATE: Rate = Rate { burst: 3, refill: Duration::from_millis(100) };

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut budget = Budget::default();
        let start = Instant::now();
        let taken = |budget: &mut Budget<u8>, at: u64, tries: u32| {
            (0..tries).filter(|_| budget.take(1, RATE, start + Duration::from_millis(at))).count()
        };
        assert_eq!(taken(&mut budget, 0, 10), 3);
        assert_eq!(taken(&mut budget, 99, 10), 0);
        assert_eq!(taken(&mut budget, 100, 10), 1);
        assert_eq!(taken(&mut budget, 10_000, 10), 3, "never more than the burst");
        assert!(budget.take(2, RATE, start), "others are not touched");
    }

    #[test]
    fn the_table_is_bounded() {
        let mut budget = Budget::default();
        let now = Instant::now();
        for source in 0..3 * limits::SOURCES {
            budget.take(source, RATE, now);
        }
        assert!(budget.buckets.len() <= limits::SOURCES);
    }

    #[test]
    fn one_ipv6_host_is_one_source() {
        let ip = |text: &str| source(text.parse().unwrap());
        assert_eq!(ip("fd00::1"), ip("fd00::ffff:1"));
        assert_ne!(ip("fd00::1"), ip("fd00:0:0:1::1"));
    }
}
