//! What waits to be sent on one link.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::event::{DownReason, LinkKind};
use crate::limits;

/// Frames on their way to one link, bounded in bytes. Filled by the daemon's thread, emptied by the link's task. And
/// what else both have to know: whether it goes on, and whether the other side has said anything.
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    made: Instant,
}

struct State {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    limit: usize,
    end: Option<DownReason>,
    heard: bool,
}

/// What the link's task is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write these frames.
    Write(Vec<Vec<u8>>),
    /// Nothing waits any more and the link is to end.
    End(DownReason),
}

impl Queue {
    /// An empty queue for a link of this kind.
    pub(crate) fn new(kind: LinkKind) -> Self {
        let limit = match kind {
            LinkKind::Member => limits::QUEUE,
            LinkKind::Stranger => limits::VISIT_QUEUE,
        };
        let state = State { frames: VecDeque::new(), bytes: 0, limit, end: None, heard: false };
        Self { state: Mutex::new(state), changed: Notify::new(), made: Instant::now() }
    }

    /// A visit: the other side said its first word.
    pub(crate) fn hear(&self) {
        self.state().heard = true;
    }

    /// Since when the other side of a visit owes a first word; `None` if it said one, or the link is about to end.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        let state = self.state();
        (!state.heard && state.end.is_none()).then_some(self.made)
    }

    /// True if the link is about to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.state().end.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame. An empty one is nothing to send (its length is the goodbye). One too many ends the link: then false.
    pub(crate) fn push(&self, frame: Vec<u8>) -> bool {
        let mut state = self.state();
        if frame.is_empty() || state.end.is_some() {
            return true;
        }
        let cost = frame.len() + limits::FRAME_COST;
        let fits = state.bytes + cost <= state.limit;
        if fits {
            state.bytes += cost;
            state.frames.push_back(frame);
        } else {
            state.end(DownReason::QueueFull);
        }
        drop(state);
        self.changed.notify_waiters();
        fits
    }

    /// Ends the link: after what waits is written for [`DownReason::Closed`], [`DownReason::Removed`] and
    /// [`DownReason::Shutdown`], else at once. The first reason stands.
    pub(crate) fn end(&self, reason: DownReason) {
        self.state().end(reason);
        self.changed.notify_waiters();
    }

    /// Waits for something to do. Safe to cancel.
    pub(crate) async fn next(&self) -> Next {
        loop {
            // Made before the look at the state: it then hears of every later change, also while not yet polled.
            let changed = self.changed.notified();
            if let Some(next) = self.state().take() {
                return next;
            }
            changed.await;
        }
    }

    /// Waits until the link may not go on: at once for most reasons, after the time for a flush for polite ones. Safe
    /// to cancel.
    pub(crate) async fn over(&self) -> DownReason {
        let reason = loop {
            let changed = self.changed.notified();
            let end = self.state().end;
            match end {
                Some(reason) => break reason,
                None => changed.await,
            }
        };
        if polite(reason) {
            tokio::time::sleep(limits::FLUSH).await;
        }
        reason
    }
}

/// True if frames that wait are still to be sent.
fn polite(reason: DownReason) -> bool {
    // Whoever is no member any more was told of it by what waits, if by anything.
    matches!(reason, DownReason::Closed | DownReason::Removed | DownReason::Shutdown)
}

impl State {
    fn end(&mut self, reason: DownReason) {
        if self.end.is_none() {
            self.end = Some(reason);
        }
        if !self.end.is_some_and(polite) {
            self.frames.clear();
            self.bytes = 0;
        }
    }

    /// The next batch: many small frames, or one large.
    fn take(&mut self) -> Option<Next> {
        let mut batch = Vec::new();
        let mut size = 0;
        while let Some(frame) = self.frames.front() {
            if !batch.is_empty() && size + frame.len() > limits::BATCH {
                break;
            }
            size += frame.len();
            self.bytes -= frame.len() + limits::FRAME_COST;
            batch.extend(self.frames.pop_front());
        }
        if batch.is_empty() { self.end.map(Next::End) } else { Some(Next::Write(batch)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_frames_go_together_and_large_ones_alone() {
        let queue = Queue::new(LinkKind::Member);
        for size in [10, 20, limits::BATCH, 5] {
            queue.push(vec![1; size]);
        }
        assert_eq!(queue.next().await, Next::Write(vec![vec![1; 10], vec![1; 20]]));
        assert_eq!(queue.next().await, Next::Write(vec![vec![1; limits::BATCH]]));
        queue.end(DownReason::Closed);
        assert_eq!(queue.next().await, Next::Write(vec![vec![1; 5]]), "what waits is still sent");
        assert_eq!(queue.next().await, Next::End(DownReason::Closed));
    }

    #[tokio::test]
    async fn a_full_queue_ends_the_link_and_frees_its_memory() {
        let queue = Queue::new(LinkKind::Member);
        for _ in 0..3 {
            queue.push(vec![0; limits::FRAME]);
        }
        assert_eq!(queue.next().await, Next::End(DownReason::QueueFull));
        assert_eq!(queue.over().await, DownReason::QueueFull);
        assert_eq!(queue.state().bytes, 0);
    }

    #[test]
    fn tiny_frames_are_not_free() {
        let queue = Queue::new(LinkKind::Stranger);
        for _ in 0..limits::VISIT_QUEUE {
            queue.push(vec![0]);
        }
        assert_eq!(queue.state().end, Some(DownReason::QueueFull));
    }
}
