//! The channel of events to the daemon, bounded in events and in frame bytes.
//!
//! Link tasks wait for room here before they read on, so TCP slows down the senders when the daemon is slow.
//! The driver never waits: its events go through the [`event_backlog`](crate::event_backlog).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::event::{LinkId, NetEvent};
use crate::limits;

struct QueuedEvent {
    event: NetEvent,
    /// Released when the daemon takes the event.
    _byte_permit: Option<OwnedSemaphorePermit>,
}

/// The receiver of all events. Dropping it stops the network.
pub struct EventReceiver {
    queue: mpsc::Receiver<QueuedEvent>,
}

impl EventReceiver {
    /// Returns the next event, in order; `None` after the network has stopped. Cancel safe.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        self.queue.recv().await.map(|item| item.event)
    }
}

/// A sender of events: one in the driver, one in each link task.
#[derive(Clone)]
pub(crate) struct EventSender {
    queue: mpsc::Sender<QueuedEvent>,
    byte_budget: Arc<Semaphore>,
}

/// The daemon dropped its receiver, so the sender stops.
#[derive(Debug)]
pub(crate) struct ReceiverDropped;

/// Creates both ends of the channel.
pub(crate) fn event_channel() -> (EventSender, EventReceiver) {
    let (sender, receiver) = mpsc::channel(limits::EVENT_CHANNEL_CAPACITY);
    (
        EventSender { queue: sender, byte_budget: Arc::new(Semaphore::new(limits::MAX_WAITING_FRAME_BYTES)) },
        EventReceiver { queue: receiver },
    )
}

impl EventSender {
    /// Waits for room and sends `event`.
    pub(crate) async fn send(&self, event: NetEvent) -> Result<(), ReceiverDropped> {
        self.queue.send(QueuedEvent { event, _byte_permit: None }).await.map_err(|_| ReceiverDropped)
    }

    /// Waits for room and sends a received frame.
    pub(crate) async fn send_frame(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), ReceiverDropped> {
        let size = u32::try_from(bytes.len().min(limits::MAX_WAITING_FRAME_BYTES)).unwrap_or(u32::MAX);
        let byte_permit =
            Arc::clone(&self.byte_budget).acquire_many_owned(size).await.map_err(|_| ReceiverDropped)?;
        let item =
            QueuedEvent { event: NetEvent::FrameReceived { link, bytes }, _byte_permit: Some(byte_permit) };
        self.queue.send(item).await.map_err(|_| ReceiverDropped)
    }

    /// Waits for room, then sends what `next_event` returns. Cancel safe, for use in a select.
    pub(crate) async fn send_next(
        &self,
        next_event: impl FnOnce() -> Option<NetEvent>,
    ) -> Result<(), ReceiverDropped> {
        let permit = self.queue.reserve().await.map_err(|_| ReceiverDropped)?;
        if let Some(event) = next_event() {
            permit.send(QueuedEvent { event, _byte_permit: None });
        }
        Ok(())
    }

    /// Waits until the daemon has dropped its [`EventReceiver`].
    pub(crate) async fn receiver_dropped(&self) {
        self.queue.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_waits_when_the_byte_budget_is_used_up() {
        let (event_sender, mut events) = event_channel();
        let link = LinkId(1);
        let frames_that_fit = limits::MAX_WAITING_FRAME_BYTES / limits::MAX_MEMBER_FRAME_BYTES;
        for _ in 0..frames_that_fit {
            event_sender.send_frame(link, vec![0; limits::MAX_MEMBER_FRAME_BYTES]).await.unwrap();
        }
        let waiting_send = tokio::spawn({
            let event_sender = event_sender.clone();
            async move { event_sender.send_frame(link, vec![0; limits::MAX_MEMBER_FRAME_BYTES]).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting_send.is_finished(), "no byte is left");
        event_sender.send(NetEvent::BytesSent { link, bytes: 1 }).await.unwrap();
        assert!(matches!(events.recv().await, Some(NetEvent::FrameReceived { .. })));
        waiting_send.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn dropping_the_receiver_is_reported_to_the_sender() {
        let (event_sender, events) = event_channel();
        drop(events);
        event_sender.receiver_dropped().await;
        assert!(event_sender.send(NetEvent::Listening { addrs: vec![] }).await.is_err());
    }
}
