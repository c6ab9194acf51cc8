//! Decides when to dial one peer. Pure: the caller passes the time.

use std::time::{Duration, Instant};

use larder_core::backoff::Backoff;
use libp2p::swarm::ConnectionId;

use crate::jitter::with_jitter;
use crate::limits;

/// A dial in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DialInFlight {
    pub(crate) connection: ConnectionId,
    pub(crate) started_at: Instant,
    pub(crate) deadline: Instant,
}

/// The dial state of one peer.
#[derive(Debug)]
pub(crate) struct DialState {
    backoff: Backoff,
    next_at: Option<Instant>,
    last_started_at: Option<Instant>,
    in_flight: Option<DialInFlight>,
    /// True if a link came up since the last loss of the connection.
    had_link: bool,
}

impl DialState {
    pub(crate) fn new() -> Self {
        let backoff = Backoff::new(limits::MIN_REDIAL_DELAY, limits::MAX_REDIAL_DELAY);
        Self { backoff, next_at: None, last_started_at: None, in_flight: None, had_link: false }
    }

    /// The dial in progress.
    pub(crate) fn in_flight(&self) -> Option<DialInFlight> {
        self.in_flight
    }

    /// Plans a dial at `at`, or keeps an earlier plan.
    pub(crate) fn plan_no_later_than(&mut self, at: Instant) {
        self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
    }

    /// Handles a discovery of the peer: resets the backoff and plans a dial, unless a recent one is in
    /// progress. Returns true if the caller should abort the dial in progress because it is stale.
    pub(crate) fn on_peer_discovered(&mut self, now: Instant, head_start: Duration) -> bool {
        self.backoff.reset();
        let is_stale = self
            .in_flight
            .is_some_and(|f| now.saturating_duration_since(f.started_at) >= limits::STALE_DIAL_AGE);
        if self.in_flight.is_none() || is_stale {
            let earliest = self.last_started_at.map_or(now, |last| last + limits::MIN_DIAL_INTERVAL);
            self.plan_no_later_than((now + head_start).max(earliest));
        }
        is_stale
    }

    /// The time at which to start the planned dial or abandon the one in progress.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.in_flight {
            Some(flight) => Some(flight.deadline),
            None => self.next_at,
        }
    }

    /// Records that a dial has started.
    pub(crate) fn on_dial_started(&mut self, connection: ConnectionId, now: Instant) {
        let timeout = if self.backoff.failures() < limits::SHORT_DIAL_ATTEMPTS {
            limits::DIAL_TIMEOUT
        } else {
            limits::LONG_DIAL_TIMEOUT
        };
        self.in_flight = Some(DialInFlight { connection, started_at: now, deadline: now + timeout });
        self.last_started_at = Some(now);
        self.next_at = None;
    }

    /// Handles a failed dial. False if `connection` was abandoned before.
    pub(crate) fn on_dial_failed(&mut self, connection: ConnectionId, now: Instant) -> bool {
        if self.in_flight.is_none_or(|flight| flight.connection != connection) {
            return false;
        }
        self.abandon_and_back_off(now);
        true
    }

    /// Abandons the dial in progress, or one that could not start, and plans the next.
    pub(crate) fn abandon_and_back_off(&mut self, now: Instant) {
        self.in_flight = None;
        let delay = with_jitter(self.backoff.next_delay());
        self.plan_no_later_than(now + delay);
    }

    /// Abandons the dial in progress in favor of the planned one.
    pub(crate) fn clear_in_flight(&mut self) {
        self.in_flight = None;
    }

    /// Cancels everything: the peer is connected.
    pub(crate) fn clear(&mut self) {
        self.in_flight = None;
        self.next_at = None;
    }

    /// Resets the backoff, because a link came up. A connection alone does not, because a peer that does not
    /// know this node closes it again and again.
    pub(crate) fn on_link_up(&mut self) {
        self.had_link = true;
        self.backoff.reset();
    }

    /// Plans the next dial after a lost connection: after `head_start` if it had a link, otherwise after a
    /// backoff.
    pub(crate) fn on_connection_lost(&mut self, now: Instant, head_start: Duration) {
        let had_link = std::mem::take(&mut self.had_link);
        let delay =
            if had_link { head_start } else { with_jitter(self.backoff.next_delay()).max(head_start) };
        self.plan_no_later_than(now + delay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn connection_id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    #[test]
    fn a_beacon_replaces_a_stale_dial_and_leaves_a_recent_one() {
        let mut dial = DialState::new();
        let now = Instant::now();
        assert!(!dial.on_peer_discovered(now, Duration::ZERO));
        assert_eq!(dial.due(), Some(now));
        dial.on_dial_started(connection_id(1), now);
        assert!(!dial.on_peer_discovered(now + 199 * MS, Duration::ZERO));
        assert_eq!(dial.due(), Some(now + limits::DIAL_TIMEOUT));
        assert!(dial.on_peer_discovered(now + 200 * MS, Duration::ZERO));
        dial.clear_in_flight();
        assert_eq!(dial.due(), Some(now + 200 * MS));
        dial.on_dial_started(connection_id(2), now + 200 * MS);
        assert!(!dial.on_dial_failed(connection_id(1), now + 201 * MS), "an abandoned dial does not count");
        assert!(dial.on_dial_failed(connection_id(2), now + 201 * MS));
    }

    #[test]
    fn forged_beacons_cannot_make_us_dial_without_pause() {
        let mut dial = DialState::new();
        let start = Instant::now();
        let mut dials = 0;
        for ms in 0..1000 {
            let now = start + ms * MS;
            dial.on_peer_discovered(now, Duration::ZERO);
            if dial.in_flight().is_none() && dial.due().is_some_and(|due| due <= now) {
                dial.on_dial_started(connection_id(dials), now);
                dial.on_dial_failed(connection_id(dials), now);
                dials += 1;
            }
        }
        assert!(dials <= 11, "{dials}");
    }

    #[test]
    fn a_peer_whose_link_never_comes_up_is_dialled_with_growing_delays() {
        let mut dial = DialState::new();
        let mut now = Instant::now();
        for n in 0..12 {
            dial.on_dial_started(connection_id(n), now);
            dial.clear();
            dial.on_connection_lost(now, Duration::ZERO);
            now = dial.due().unwrap();
        }
        let before = now;
        dial.on_dial_started(connection_id(99), now);
        dial.clear();
        dial.on_connection_lost(now, Duration::ZERO);
        assert!(dial.due().unwrap() - before > 20_000 * MS);
        dial.on_link_up();
        dial.clear();
        dial.on_connection_lost(now, Duration::ZERO);
        assert_eq!(dial.due(), Some(now));
    }
}
