//! When to dial one peer. Pure: told the time, asked what is due.

use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;

use crate::limits;

/// A pause that doubles up to a cap, with jitter so that hosts do not beat together.
#[derive(Clone, Debug)]
pub(crate) struct Pause {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Pause {
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    /// The pause after one more failure: between 3/4 and 5/4 of the doubled one.
    pub(crate) fn next(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures.min(16)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.cap).mul_f64(0.75 + 0.5 * rand::random::<f64>())
    }

    /// Begins anew.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

/// A dial on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) connection: ConnectionId,
    pub(crate) since: Instant,
    pub(crate) until: Instant,
}

/// The dialling of one peer.
#[derive(Debug)]
pub(crate) struct Dial {
    pause: Pause,
    next: Option<Instant>,
    last: Option<Instant>,
    flight: Option<Flight>,
}

impl Dial {
    pub(crate) fn new() -> Self {
        let pause = Pause::new(limits::REDIAL, limits::REDIAL_CAP);
        Self { pause, next: None, last: None, flight: None }
    }

    /// The dial under way.
    pub(crate) fn flight(&self) -> Option<Flight> {
        self.flight
    }

    /// Dial at `at`, or earlier if that is planned.
    pub(crate) fn plan(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// The peer was heard: earlier failures say nothing any more. A dial in flight is given up if it is old enough
    /// to be doomed. True if it should be aborted now; the next dial is planned either way.
    pub(crate) fn heard(&mut self, now: Instant, head_start: Duration) -> bool {
        self.pause.reset();
        let doomed =
            self.flight.is_some_and(|f| now.saturating_duration_since(f.since) >= limits::DIAL_DOOMED);
        if self.flight.is_none() || doomed {
            let spaced = self.last.map_or(now, |last| last + limits::DIAL_SPACING);
            self.plan((now + head_start).max(spaced));
        }
        doomed
    }

    /// When there is something to do: a dial to begin, or one to give up.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.flight {
            Some(flight) => Some(flight.until),
            None => self.next,
        }
    }

    /// A dial has begun.
    pub(crate) fn flying(&mut self, connection: ConnectionId, now: Instant) {
        let patience =
            if self.pause.failures() < limits::DIAL_SHORT { limits::DIAL } else { limits::DIAL_PATIENT };
        self.flight = Some(Flight { connection, since: now, until: now + patience });
        self.last = Some(now);
        self.next = None;
    }

    /// The dial `connection` failed. False if it is not the one under way, but one that was given up before.
    pub(crate) fn failed(&mut self, connection: ConnectionId, now: Instant) -> bool {
        if self.flight.is_none_or(|flight| flight.connection != connection) {
            return false;
        }
        self.give_up(now);
        true
    }

    /// The dial under way is given up, or could not begin; the next one is planned.
    pub(crate) fn give_up(&mut self, now: Instant) {
        self.flight = None;
        let pause = self.pause.next();
        self.plan(now + pause);
    }

    /// The dial under way is given up in favour of the one that is planned already.
    pub(crate) fn abort(&mut self) {
        self.flight = None;
    }

    /// There is a connection: nothing to dial.
    pub(crate) fn rest(&mut self) {
        self.flight = None;
        self.next = None;
    }

    /// There is a *link*: the next loss begins with short pauses. A mere connection does not count, since a peer
    /// that does not know us closes it again and again.
    pub(crate) fn success(&mut self) {
        self.pause.reset();
    }

    /// A connection ended without ever having carried a link, or with one (`linked`): the next dial after
    /// `head_start`, or after a pause.
    pub(crate) fn lost(&mut self, now: Instant, linked: bool, head_start: Duration) {
        let pause = if linked { head_start } else { self.pause.next().max(head_start) };
        self.plan(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        let mut pause = Pause::new(250 * MS, 30_000 * MS);
        let first = pause.next();
        assert!((187 * MS..313 * MS).contains(&first), "{first:?}");
        for _ in 0..40 {
            assert!(pause.next() <= 37_500 * MS);
        }
        assert!(pause.next() >= 22_500 * MS);
        pause.reset();
        assert!(pause.next() < 313 * MS);
    }

    #[test]
    fn a_beacon_replaces_a_doomed_dial_and_leaves_a_young_one() {
        let mut dial = Dial::new();
        let now = Instant::now();
        assert!(!dial.heard(now, Duration::ZERO));
        assert_eq!(dial.due(), Some(now));
        dial.flying(id(1), now);
        assert!(!dial.heard(now + 199 * MS, Duration::ZERO));
        assert_eq!(dial.due(), Some(now + limits::DIAL));
        assert!(dial.heard(now + 200 * MS, Duration::ZERO));
        dial.abort();
        assert_eq!(dial.due(), Some(now + 200 * MS));
        dial.flying(id(2), now + 200 * MS);
        assert!(!dial.failed(id(1), now + 201 * MS), "the aborted one says nothing about the new one");
        assert!(dial.failed(id(2), now + 201 * MS));
    }

    #[test]
    fn forged_beacons_cannot_make_us_dial_without_pause() {
        let mut dial = Dial::new();
        let start = Instant::now();
        let mut dials = 0;
        for ms in 0..1000 {
            let now = start + ms * MS;
            dial.heard(now, Duration::ZERO);
            if dial.flight().is_none() && dial.due().is_some_and(|due| due <= now) {
                dial.flying(id(dials), now);
                dial.failed(id(dials), now);
                dials += 1;
            }
        }
        assert!(dials <= 11, "{dials}");
    }

    #[test]
    fn a_peer_that_never_links_is_dialled_ever_more_rarely() {
        let mut dial = Dial::new();
        let mut now = Instant::now();
        for n in 0..12 {
            dial.flying(id(n), now);
            dial.rest();
            dial.lost(now, false, Duration::ZERO);
            now = dial.due().unwrap();
        }
        let before = now;
        dial.flying(id(99), now);
        dial.rest();
        dial.lost(now, false, Duration::ZERO);
        assert!(dial.due().unwrap() - before > 20_000 * MS);
        dial.success();
        dial.rest();
        dial.lost(now, true, Duration::ZERO);
        assert_eq!(dial.due(), Some(now));
    }
}
