//! When to send the beacon. Pure: told the time, asked what is due.

use std::time::{Duration, Instant};

use crate::limits;

/// The clock of our beacons.
pub(crate) struct Pace {
    last: Option<Instant>,
    next: Option<Instant>,
    burst: u8,
}

/// How many members there are, and since when the newest missing one is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Absence {
    pub(crate) members: usize,
    pub(crate) missing: Option<Duration>,
}

impl Absence {
    /// Time between beacons that nothing special calls for.
    pub(crate) fn period(self) -> Duration {
        let hosts = u32::try_from(self.members).unwrap_or(u32::MAX).saturating_add(1);
        let share = |one: Duration| one.saturating_mul(hosts);
        match self.missing {
            Some(since) if since < limits::MISSING_LONG => {
                limits::BEACON_FAST.max(share(limits::BEACON_SHARE))
            }
            Some(_) => limits::BEACON_LONG.max(share(limits::BEACON_LONG_SHARE)),
            None => limits::BEACON_SLOW.max(share(limits::BEACON_SHARE)),
        }
    }
}

impl Pace {
    /// Nothing is sent before the first [`Pace::start`].
    pub(crate) fn new() -> Self {
        Self { last: None, next: None, burst: 0 }
    }

    /// An interface appeared or came back: at once, and a few more soon after.
    pub(crate) fn start(&mut self, now: Instant) {
        self.burst = limits::BEACON_BURST;
        self.soon(now, Duration::ZERO);
    }

    /// There is no interface to send on.
    pub(crate) fn stop(&mut self) {
        self.next = None;
        self.burst = 0;
    }

    /// Somebody should hear of us: after `jitter`, yet never within [`limits::BEACON_SPACING`] of the last one.
    pub(crate) fn soon(&mut self, now: Instant, jitter: Duration) {
        let earliest = self.last.map_or(now, |last| last + limits::BEACON_SPACING);
        let at = (now + jitter).max(earliest);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// As [`Pace::soon`], after the usual jitter, if there is an interface at all.
    pub(crate) fn soon_if_started(&mut self, now: Instant) {
        if self.next.is_some() {
            self.soon(now, limits::BEACON_JITTER.mul_f64(rand::random()));
        }
    }

    /// The number of the missing changed: what is planned must not lie beyond the new period.
    pub(crate) fn adjust(&mut self, now: Instant, absence: Absence) {
        if let Some(next) = &mut self.next {
            *next = (*next).min(now + absence.period());
        }
    }

    /// When the next one is due; `None` while there is no interface.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// One is being sent: plans the following. `spread` in 0..1 keeps hosts from beating together.
    pub(crate) fn sent(&mut self, now: Instant, absence: Absence, spread: f64) {
        self.last = Some(now);
        let mut period = absence.period();
        if self.burst > 0 {
            self.burst -= 1;
            period = period.min(limits::BEACON_FAST);
        }
        self.next = Some(now + period.mul_f64(0.9 + 0.2 * spread));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn absence(members: usize, missing: Option<u64>) -> Absence {
        Absence { members, missing: missing.map(Duration::from_secs) }
    }

    #[test]
    fn a_group_of_any_size_sends_about_twenty_a_second() {
        assert_eq!(absence(1, Some(0)).period(), 250 * MS);
        assert_eq!(absence(29, Some(3599)).period(), 1500 * MS);
        assert_eq!(absence(1, Some(3600)).period(), 1000 * MS);
        assert_eq!(absence(29, Some(3600)).period(), 3000 * MS);
        assert_eq!(absence(0, None).period(), 5000 * MS);
        assert_eq!(absence(999, None).period(), 50_000 * MS);
    }

    #[test]
    fn answers_keep_their_distance() {
        let mut pace = Pace::new();
        let start = Instant::now();
        assert_eq!(pace.next(), None);
        pace.start(start);
        assert_eq!(pace.next(), Some(start));
        pace.sent(start, absence(1, None), 0.5);
        assert_eq!(pace.next(), Some(start + 250 * MS), "the burst");
        pace.soon(start + 10 * MS, 5 * MS);
        assert_eq!(pace.next(), Some(start + limits::BEACON_SPACING));
        pace.soon(start + 20 * MS, 100 * MS);
        assert_eq!(pace.next(), Some(start + limits::BEACON_SPACING), "never later than planned");
    }

    #[test]
    fn a_new_absence_brings_the_next_one_forward() {
        let mut pace = Pace::new();
        let start = Instant::now();
        pace.start(start);
        for n in 0..10 {
            pace.sent(start + n * 1000 * MS, absence(1, None), 0.5);
        }
        assert_eq!(pace.next(), Some(start + 14_000 * MS));
        pace.adjust(start + 9500 * MS, absence(1, Some(0)));
        assert_eq!(pace.next(), Some(start + 9750 * MS));
    }
}
