//! The stages of the shutdown: the links end, then the connections close.

use std::time::Instant;

use crate::limits;

/// The stage of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShutdownState {
    Running,
    /// Links send their queues and a goodbye until this time.
    ClosingLinks(Instant),
    /// Connections flush and close until this time.
    ClosingConnections(Instant),
    Finished,
}

impl ShutdownState {
    pub(super) fn is_finished(self) -> bool {
        self == Self::Finished
    }

    pub(super) fn is_shutting_down(self) -> bool {
        self != Self::Running
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::ClosingLinks(deadline) | Self::ClosingConnections(deadline) => Some(deadline),
            Self::Running | Self::Finished => None,
        }
    }

    /// Starts the shutdown. False if it has started before.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let is_first = *self == Self::Running;
        if is_first {
            *self = Self::ClosingLinks(now + 2 * limits::FLUSH_TIMEOUT);
        }
        is_first
    }

    /// Enters the next stage when this one is complete or timed out. True if the connections close from now
    /// on.
    pub(super) fn advance(&mut self, has_links: bool, has_connections: bool, now: Instant) -> bool {
        match *self {
            Self::ClosingLinks(deadline) if deadline <= now || !has_links => {
                *self = Self::ClosingConnections(now + limits::FLUSH_TIMEOUT);
                true
            }
            Self::ClosingConnections(deadline) if deadline <= now || !has_connections => {
                *self = Self::Finished;
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_ends_when_it_is_complete_or_times_out() {
        let now = Instant::now();
        let mut state = ShutdownState::Running;
        assert!(!state.advance(false, false, now) && !state.is_shutting_down());
        assert!(state.begin(now) && !state.begin(now));
        assert!(!state.advance(true, true, now), "links still send");
        assert!(state.advance(false, true, now), "now the connections close");
        assert!(!state.advance(false, true, now) && !state.is_finished());
        state.advance(false, false, now);
        assert!(state.is_finished() && state.deadline().is_none());
        let mut state = ShutdownState::Running;
        state.begin(now);
        let late = now + 2 * limits::FLUSH_TIMEOUT;
        assert!(state.advance(true, true, late));
        state.advance(true, true, late + limits::FLUSH_TIMEOUT);
        assert!(state.is_finished());
    }
}
