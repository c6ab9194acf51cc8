//! Decides when to send the beacon. Pure: the caller passes the time.

use std::time::{Duration, Instant};

use crate::limits;

/// The schedule of the beacons of this node.
pub(crate) struct BeaconSchedule {
    last_sent: Option<Instant>,
    next_at: Option<Instant>,
    burst_left: u8,
}

/// The number of members, and how long the newest missing member has been missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MissingMembers {
    pub(crate) member_count: usize,
    pub(crate) newest_missing_for: Option<Duration>,
}

impl MissingMembers {
    /// The interval between regular beacons.
    pub(crate) fn beacon_interval(self) -> Duration {
        let host_count = u32::try_from(self.member_count).unwrap_or(u32::MAX).saturating_add(1);
        let shared_interval = |per_host: Duration| per_host.saturating_mul(host_count);
        match self.newest_missing_for {
            Some(missing_for) if missing_for < limits::LONG_MISSING_AFTER => {
                limits::BEACON_INTERVAL_WHILE_MISSING.max(shared_interval(limits::BEACON_INTERVAL_PER_HOST))
            }
            Some(_) => limits::BEACON_INTERVAL_WHILE_LONG_MISSING
                .max(shared_interval(limits::BEACON_INTERVAL_PER_HOST_WHILE_LONG_MISSING)),
            None => {
                limits::BEACON_INTERVAL_WHILE_COMPLETE.max(shared_interval(limits::BEACON_INTERVAL_PER_HOST))
            }
        }
    }
}

impl BeaconSchedule {
    /// Creates a schedule that is idle until [`BeaconSchedule::start_burst`].
    pub(crate) fn new() -> Self {
        Self { last_sent: None, next_at: None, burst_left: 0 }
    }

    /// Plans a beacon now and a few more soon, because an interface appeared or regained its carrier.
    pub(crate) fn start_burst(&mut self, now: Instant) {
        self.burst_left = limits::BEACON_BURST_COUNT;
        self.plan_after(now, Duration::ZERO);
    }

    /// Stops the schedule, because there is no interface to send on.
    pub(crate) fn stop(&mut self) {
        self.next_at = None;
        self.burst_left = 0;
    }

    /// Plans a beacon after `jitter`, but at least [`limits::MIN_BEACON_INTERVAL`] after the last.
    pub(crate) fn plan_after(&mut self, now: Instant, jitter: Duration) {
        let earliest = self.last_sent.map_or(now, |last| last + limits::MIN_BEACON_INTERVAL);
        let planned_at = (now + jitter).max(earliest);
        self.next_at = Some(self.next_at.map_or(planned_at, |next| next.min(planned_at)));
    }

    /// Plans a beacon after the usual jitter, if the schedule runs.
    pub(crate) fn plan_soon_if_started(&mut self, now: Instant) {
        if self.next_at.is_some() {
            self.plan_after(now, limits::MAX_BEACON_REPLY_DELAY.mul_f64(rand::random()));
        }
    }

    /// Moves the next beacon forward if the interval became shorter.
    pub(crate) fn on_missing_changed(&mut self, now: Instant, missing_members: MissingMembers) {
        if let Some(next) = &mut self.next_at {
            *next = (*next).min(now + missing_members.beacon_interval());
        }
    }

    /// When the next beacon is due; `None` while stopped.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Plans the beacon after the one being sent. `random_fraction` in 0..1 keeps hosts out of step.
    pub(crate) fn on_sent(&mut self, now: Instant, missing_members: MissingMembers, random_fraction: f64) {
        self.last_sent = Some(now);
        let mut interval = missing_members.beacon_interval();
        if self.burst_left > 0 {
            self.burst_left -= 1;
            interval = interval.min(limits::BEACON_INTERVAL_WHILE_MISSING);
        }
        self.next_at = Some(now + interval.mul_f64(0.9 + 0.2 * random_fraction));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn missing_members(member_count: usize, missing_for_secs: Option<u64>) -> MissingMembers {
        MissingMembers { member_count, newest_missing_for: missing_for_secs.map(Duration::from_secs) }
    }

    #[test]
    fn the_beacon_interval_grows_with_the_number_of_members() {
        assert_eq!(missing_members(1, Some(0)).beacon_interval(), 250 * MS);
        assert_eq!(missing_members(29, Some(3599)).beacon_interval(), 1500 * MS);
        assert_eq!(missing_members(1, Some(3600)).beacon_interval(), 1000 * MS);
        assert_eq!(missing_members(29, Some(3600)).beacon_interval(), 3000 * MS);
        assert_eq!(missing_members(0, None).beacon_interval(), 5000 * MS);
        assert_eq!(missing_members(999, None).beacon_interval(), 50_000 * MS);
    }

    #[test]
    fn beacons_keep_the_minimum_interval_and_are_never_postponed() {
        let mut schedule = BeaconSchedule::new();
        let start = Instant::now();
        assert_eq!(schedule.next_at(), None);
        schedule.start_burst(start);
        assert_eq!(schedule.next_at(), Some(start));
        schedule.on_sent(start, missing_members(1, None), 0.5);
        assert_eq!(schedule.next_at(), Some(start + 250 * MS), "the burst");
        schedule.plan_after(start + 10 * MS, 5 * MS);
        assert_eq!(schedule.next_at(), Some(start + limits::MIN_BEACON_INTERVAL));
        schedule.plan_after(start + 20 * MS, 100 * MS);
        assert_eq!(schedule.next_at(), Some(start + limits::MIN_BEACON_INTERVAL), "never later than planned");
    }

    #[test]
    fn a_newly_missing_member_brings_the_next_beacon_forward() {
        let mut schedule = BeaconSchedule::new();
        let start = Instant::now();
        schedule.start_burst(start);
        for n in 0..10 {
            schedule.on_sent(start + n * 1000 * MS, missing_members(1, None), 0.5);
        }
        assert_eq!(schedule.next_at(), Some(start + 14_000 * MS));
        schedule.on_missing_changed(start + 9500 * MS, missing_members(1, Some(0)));
        assert_eq!(schedule.next_at(), Some(start + 9750 * MS));
    }
}
