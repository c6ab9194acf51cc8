//! The send queue of one link.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::event::{DownReason, LinkKind};
use crate::limits;

/// The frames that wait to be sent on one link, bounded in bytes. The daemon fills the queue and the link
/// task empties it. The queue also holds what both need to know: why the link ends, and whether the peer has
/// sent a frame.
pub(crate) struct SendQueue {
    state: Mutex<QueueState>,
    changed: Notify,
    created_at: Instant,
}

struct QueueState {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    limit_bytes: usize,
    end_reason: Option<DownReason>,
    has_peer_spoken: bool,
}

/// The next action of the link task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum QueueAction {
    /// Write these frames.
    WriteFrames(Vec<Vec<u8>>),
    /// The queue is empty and the link ends.
    EndLink(DownReason),
}

impl SendQueue {
    /// Creates an empty queue for a link of this kind.
    pub(crate) fn new(kind: LinkKind) -> Self {
        let limit_bytes = match kind {
            LinkKind::Member => limits::MAX_MEMBER_QUEUE_BYTES,
            LinkKind::Guest => limits::MAX_GUEST_QUEUE_BYTES,
        };
        let state = QueueState {
            frames: VecDeque::new(),
            bytes: 0,
            limit_bytes,
            end_reason: None,
            has_peer_spoken: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), created_at: Instant::now() }
    }

    /// Records that the peer of a guest stream has sent its first frame.
    pub(crate) fn mark_peer_spoken(&self) {
        self.lock_state().has_peer_spoken = true;
    }

    /// Since when the peer of a guest stream has been silent; `None` if it has sent a frame, or the link is
    /// ending.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        let state = self.lock_state();
        (!state.has_peer_spoken && state.end_reason.is_none()).then_some(self.created_at)
    }

    /// True if the link is ending.
    pub(crate) fn is_ending(&self) -> bool {
        self.lock_state().end_reason.is_some()
    }

    fn lock_state(&self) -> MutexGuard<'_, QueueState> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame. Ignores an empty frame, whose length would be the goodbye. If the queue is full, ends
    /// the link and returns false.
    pub(crate) fn push(&self, frame: Vec<u8>) -> bool {
        let mut state = self.lock_state();
        if frame.is_empty() || state.end_reason.is_some() {
            return true;
        }
        let cost_bytes = frame.len() + limits::QUEUED_FRAME_OVERHEAD_BYTES;
        let fits = state.bytes + cost_bytes <= state.limit_bytes;
        if fits {
            state.bytes += cost_bytes;
            state.frames.push_back(frame);
        } else {
            state.set_end_reason(DownReason::QueueFull);
        }
        drop(state);
        self.changed.notify_waiters();
        fits
    }

    /// Ends the link: after the queue is written for [`DownReason::Closed`], [`DownReason::Removed`] and
    /// [`DownReason::Shutdown`], else at once. The first reason counts.
    pub(crate) fn end_link(&self, reason: DownReason) {
        self.lock_state().set_end_reason(reason);
        self.changed.notify_waiters();
    }

    /// Waits for the next action. Cancel safe.
    pub(crate) async fn next_action(&self) -> QueueAction {
        loop {
            // Created before the state is read, so that it is notified of every later change, even before it
            // is polled.
            let changed = self.changed.notified();
            if let Some(action) = self.lock_state().take_action() {
                return action;
            }
            changed.await;
        }
    }

    /// Waits until the link must stop: at once for most reasons, after the flush timeout for the others.
    /// Cancel safe.
    pub(crate) async fn wait_link_over(&self) -> DownReason {
        let reason = loop {
            let changed = self.changed.notified();
            let end_reason = self.lock_state().end_reason;
            match end_reason {
                Some(reason) => break reason,
                None => changed.await,
            }
        };
        if is_flushed_first(reason) {
            tokio::time::sleep(limits::FLUSH_TIMEOUT).await;
        }
        reason
    }
}

/// True if queued frames are sent before the link ends.
fn is_flushed_first(reason: DownReason) -> bool {
    // The queue of a removed member may hold the records of its removal.
    matches!(reason, DownReason::Closed | DownReason::Removed | DownReason::Shutdown)
}

impl QueueState {
    fn set_end_reason(&mut self, reason: DownReason) {
        if self.end_reason.is_none() {
            self.end_reason = Some(reason);
        }
        if !self.end_reason.is_some_and(is_flushed_first) {
            self.frames.clear();
            self.bytes = 0;
        }
    }

    /// Takes the next batch: many small frames, or one large one.
    fn take_action(&mut self) -> Option<QueueAction> {
        let mut batch = Vec::new();
        let mut size = 0;
        while let Some(frame) = self.frames.front() {
            if !batch.is_empty() && size + frame.len() > limits::WRITE_BATCH_BYTES {
                break;
            }
            size += frame.len();
            self.bytes -= frame.len() + limits::QUEUED_FRAME_OVERHEAD_BYTES;
            batch.extend(self.frames.pop_front());
        }
        if batch.is_empty() {
            self.end_reason.map(QueueAction::EndLink)
        } else {
            Some(QueueAction::WriteFrames(batch))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_frames_are_batched_and_large_ones_are_written_alone() {
        let queue = SendQueue::new(LinkKind::Member);
        for size in [10, 20, limits::WRITE_BATCH_BYTES, 5] {
            queue.push(vec![1; size]);
        }
        assert_eq!(queue.next_action().await, QueueAction::WriteFrames(vec![vec![1; 10], vec![1; 20]]));
        assert_eq!(
            queue.next_action().await,
            QueueAction::WriteFrames(vec![vec![1; limits::WRITE_BATCH_BYTES]])
        );
        queue.end_link(DownReason::Closed);
        assert_eq!(
            queue.next_action().await,
            QueueAction::WriteFrames(vec![vec![1; 5]]),
            "what waits is still sent"
        );
        assert_eq!(queue.next_action().await, QueueAction::EndLink(DownReason::Closed));
    }

    #[tokio::test]
    async fn a_full_queue_ends_the_link_and_frees_its_memory() {
        let queue = SendQueue::new(LinkKind::Member);
        for _ in 0..3 {
            queue.push(vec![0; limits::MAX_MEMBER_FRAME_BYTES]);
        }
        assert_eq!(queue.next_action().await, QueueAction::EndLink(DownReason::QueueFull));
        assert_eq!(queue.wait_link_over().await, DownReason::QueueFull);
        assert_eq!(queue.lock_state().bytes, 0);
    }

    #[test]
    fn many_tiny_frames_fill_the_queue() {
        let queue = SendQueue::new(LinkKind::Guest);
        for _ in 0..limits::MAX_GUEST_QUEUE_BYTES {
            queue.push(vec![0]);
        }
        assert_eq!(queue.lock_state().end_reason, Some(DownReason::QueueFull));
    }
}
