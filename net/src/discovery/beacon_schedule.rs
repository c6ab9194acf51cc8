//! Decides when to send the beacon. Pure: the caller passes the time.

use std::time::{Duration, Instant};

use larder_core::backoff::Backoff;

use crate::connections::MissingMembers;
use crate::jitter::random_delay;
use crate::limits;

/// The schedule of the beacons of this node.
pub(crate) struct BeaconSchedule {
    last_sent: Option<Instant>,
    next_at: Option<Instant>,
    burst_left: u8,
    /// The interval while no member is missing; it grows until something changes.
    complete_interval: Backoff,
}

/// The interval between regular beacons; `complete_interval` is the shortest one while no member is missing.
fn beacon_interval(missing_members: MissingMembers, complete_interval: Duration) -> Duration {
    let host_count = u32::try_from(missing_members.member_count).unwrap_or(u32::MAX).saturating_add(1);
    let (shortest, per_host) = match missing_members.newest_missing_for {
        Some(missing_for) if missing_for < limits::LONG_MISSING_AFTER => {
            (limits::BEACON_INTERVAL_WHILE_MISSING, limits::BEACON_INTERVAL_PER_HOST)
        }
        Some(_) => {
            (limits::BEACON_INTERVAL_WHILE_LONG_MISSING, limits::BEACON_INTERVAL_PER_HOST_WHILE_LONG_MISSING)
        }
        None => (complete_interval, limits::BEACON_INTERVAL_PER_HOST),
    };
    shortest.max(per_host.saturating_mul(host_count))
}

impl BeaconSchedule {
    /// Creates a schedule that is idle until [`BeaconSchedule::start_burst`].
    pub(crate) fn new() -> Self {
        let complete_interval = Backoff::new(
            limits::MIN_BEACON_INTERVAL_WHILE_COMPLETE,
            limits::MAX_BEACON_INTERVAL_WHILE_COMPLETE,
        );
        Self { last_sent: None, next_at: None, burst_left: 0, complete_interval }
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
    fn plan_after(&mut self, now: Instant, jitter: Duration) {
        self.complete_interval.reset();
        let earliest = self.last_sent.map_or(now, |last| last + limits::MIN_BEACON_INTERVAL);
        let planned_at = (now + jitter).max(earliest);
        self.next_at = Some(self.next_at.map_or(planned_at, |next| next.min(planned_at)));
    }

    /// Plans a beacon after a short random delay, if the schedule runs: others must learn of this node.
    pub(crate) fn plan_soon(&mut self, now: Instant) {
        if self.next_at.is_some() {
            self.plan_after(now, random_delay(limits::MAX_BEACON_REPLY_DELAY));
        }
    }

    /// When the next beacon is due; `None` while stopped.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Plans the beacon after the one being sent. `random_fraction` in 0..1 keeps hosts out of step.
    pub(crate) fn on_sent(&mut self, now: Instant, missing_members: MissingMembers, random_fraction: f64) {
        self.last_sent = Some(now);
        let interval = if self.burst_left > 0 {
            self.burst_left -= 1;
            limits::BEACON_INTERVAL_WHILE_MISSING
        } else {
            beacon_interval(missing_members, self.complete_interval.next_delay())
        };
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
        let interval =
            |count, missing_for_secs| beacon_interval(missing_members(count, missing_for_secs), 6000 * MS);
        assert_eq!(interval(1, Some(0)), 250 * MS);
        assert_eq!(interval(29, Some(3599)), 1500 * MS);
        assert_eq!(interval(1, Some(3600)), 1000 * MS);
        assert_eq!(interval(29, Some(3600)), 3000 * MS);
        assert_eq!(interval(0, None), 6000 * MS);
        assert_eq!(interval(999, None), 50_000 * MS);
    }

    #[test]
    fn beacons_keep_the_minimum_interval_and_are_never_postponed() {
        let mut schedule = BeaconSchedule::new();
        let start = Instant::now();
        assert_eq!(schedule.next_at(), None);
        schedule.plan_soon(start);
        assert_eq!(schedule.next_at(), None, "there is no interface to send on");
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
    fn without_a_change_beacons_become_rarer_but_never_wake_an_idle_node_within_five_seconds() {
        let mut schedule = BeaconSchedule::new();
        let start = Instant::now();
        schedule.start_burst(start);
        let next_interval = |schedule: &mut BeaconSchedule, random_fraction| {
            let now = schedule.next_at().unwrap();
            schedule.on_sent(now, missing_members(0, None), random_fraction);
            schedule.next_at().unwrap() - now
        };
        for _ in 0..limits::BEACON_BURST_COUNT {
            assert_eq!(next_interval(&mut schedule, 0.5), 250 * MS);
        }
        assert_eq!(next_interval(&mut schedule, 0.0), 5400 * MS);
        let later: Vec<_> = (0..3).map(|_| next_interval(&mut schedule, 0.5)).collect();
        assert_eq!(later, [12_000, 20_000, 20_000].map(Duration::from_millis));
        schedule.plan_soon(start);
        assert_eq!(next_interval(&mut schedule, 0.5), 6000 * MS, "something changed");
    }

    #[test]
    fn a_newly_missing_member_is_announced_within_ten_milliseconds_and_then_often() {
        let mut schedule = BeaconSchedule::new();
        let start = Instant::now();
        schedule.start_burst(start);
        for n in 0..10 {
            schedule.on_sent(start + n * 1000 * MS, missing_members(1, None), 0.5);
        }
        let lost_at = start + 9500 * MS;
        assert!(schedule.next_at().unwrap() > lost_at + 5000 * MS);
        schedule.plan_soon(lost_at);
        let sent_at = schedule.next_at().unwrap();
        assert!(sent_at <= lost_at + limits::MAX_BEACON_REPLY_DELAY);
        schedule.on_sent(sent_at, missing_members(1, Some(0)), 0.5);
        assert_eq!(schedule.next_at(), Some(sent_at + 250 * MS));
    }
}
