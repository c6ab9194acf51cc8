//! The way up to the daemon: one channel, bounded in events and in bytes of frames.
//!
//! Links wait for room here before they read on, so a slow daemon holds the senders back by TCP. The driver never
//! waits: its own events go through the [`outbox`](crate::event_backlog).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::event::{LinkId, NetEvent};
use crate::limits;

struct QueuedEvent {
    event: NetEvent,
    /// Given back when the daemon takes the event.
    _byte_permit: Option<OwnedSemaphorePermit>,
}

/// The receiving end of all events. Dropping it ends the network.
pub struct EventReceiver {
    queue: mpsc::Receiver<QueuedEvent>,
}

impl EventReceiver {
    /// The next event, in order; `None` once the network has ended. Safe to cancel.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        self.queue.recv().await.map(|item| item.event)
    }

    /// The next event if one waits.
    pub fn try_recv(&mut self) -> Option<NetEvent> {
        self.queue.try_recv().ok().map(|item| item.event)
    }
}

/// A sending end: one in the driver, one in each link.
#[derive(Clone)]
pub(crate) struct EventSender {
    queue: mpsc::Sender<QueuedEvent>,
    byte_budget: Arc<Semaphore>,
}

/// The daemon no longer listens: there is nobody to tell, so the teller ends.
#[derive(Debug)]
pub(crate) struct ReceiverDropped;

/// Both ends.
pub(crate) fn event_channel() -> (EventSender, EventReceiver) {
    let (sender, receiver) = mpsc::channel(limits::EVENT_CHANNEL_CAPACITY);
    (
        EventSender { queue: sender, byte_budget: Arc::new(Semaphore::new(limits::MAX_WAITING_FRAME_BYTES)) },
        EventReceiver { queue: receiver },
    )
}

impl EventSender {
    /// Waits for room and tells `event`.
    pub(crate) async fn send(&self, event: NetEvent) -> Result<(), ReceiverDropped> {
        self.queue.send(QueuedEvent { event, _byte_permit: None }).await.map_err(|_| ReceiverDropped)
    }

    /// Waits for room and hands over a frame.
    pub(crate) async fn send_frame(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), ReceiverDropped> {
        let size = u32::try_from(bytes.len().min(limits::MAX_WAITING_FRAME_BYTES)).unwrap_or(u32::MAX);
        let byte_permit =
            Arc::clone(&self.byte_budget).acquire_many_owned(size).await.map_err(|_| ReceiverDropped)?;
        let item =
            QueuedEvent { event: NetEvent::FrameReceived { link, bytes }, _byte_permit: Some(byte_permit) };
        self.queue.send(item).await.map_err(|_| ReceiverDropped)
    }

    /// Waits until there is room, then tells what `next` gives. For a select: cancelling it loses nothing.
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

    /// Ends when the daemon has dropped its [`EventReceiver`].
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
