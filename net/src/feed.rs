//! The way up to the daemon: one channel, bounded in events and in bytes of frames.
//!
//! Links wait for room here before they read on, so a slow daemon holds the senders back by TCP. The driver never
//! waits: its own events go through the [`outbox`](crate::outbox).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::event::{Event, LinkId};
use crate::limits;

struct Item {
    event: Event,
    /// Given back when the daemon takes the event.
    _hold: Option<OwnedSemaphorePermit>,
}

/// The receiving end of all events. Dropping it ends the network.
pub struct Events {
    items: mpsc::Receiver<Item>,
}

impl Events {
    /// The next event, in order; `None` once the network has ended. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Event> {
        self.items.recv().await.map(|item| item.event)
    }

    /// The next event if one waits.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.items.try_recv().ok().map(|item| item.event)
    }
}

/// A sending end: one in the driver, one in each link.
#[derive(Clone)]
pub(crate) struct Feed {
    items: mpsc::Sender<Item>,
    bytes: Arc<Semaphore>,
}

/// The daemon no longer listens: there is nobody to tell, so the teller ends.
#[derive(Debug)]
pub(crate) struct Deaf;

/// Both ends.
pub(crate) fn feed() -> (Feed, Events) {
    let (sender, items) = mpsc::channel(limits::EVENTS);
    (Feed { items: sender, bytes: Arc::new(Semaphore::new(limits::EVENTS_BYTES)) }, Events { items })
}

impl Feed {
    /// Waits for room and tells `event`.
    pub(crate) async fn tell(&self, event: Event) -> Result<(), Deaf> {
        self.items.send(Item { event, _hold: None }).await.map_err(|_| Deaf)
    }

    /// Waits for room and hands over a frame.
    pub(crate) async fn frame(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), Deaf> {
        let size = u32::try_from(bytes.len().min(limits::EVENTS_BYTES)).unwrap_or(u32::MAX);
        let hold = Arc::clone(&self.bytes).acquire_many_owned(size).await.map_err(|_| Deaf)?;
        let item = Item { event: Event::Frame { link, bytes }, _hold: Some(hold) };
        self.items.send(item).await.map_err(|_| Deaf)
    }

    /// Waits until there is room, then tells what `next` gives. For a select: cancelling it loses nothing.
    pub(crate) async fn tell_next(&self, next: impl FnOnce() -> Option<Event>) -> Result<(), Deaf> {
        let room = self.items.reserve().await.map_err(|_| Deaf)?;
        if let Some(event) = next() {
            room.send(Item { event, _hold: None });
        }
        Ok(())
    }

    /// Ends when the daemon has dropped its [`Events`].
    pub(crate) async fn deaf(&self) {
        self.items.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_wait_for_bytes_not_only_for_places() {
        let (feed, mut events) = feed();
        let link = LinkId(1);
        let whole = limits::EVENTS_BYTES / limits::FRAME;
        for _ in 0..whole {
            feed.frame(link, vec![0; limits::FRAME]).await.unwrap();
        }
        let more = tokio::spawn({
            let feed = feed.clone();
            async move { feed.frame(link, vec![0; limits::FRAME]).await }
        });
        tokio::task::yield_now().await;
        assert!(!more.is_finished(), "no byte is left");
        feed.tell(Event::Sent { link, bytes: 1 }).await.unwrap();
        assert!(matches!(events.recv().await, Some(Event::Frame { .. })));
        more.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_dropped_daemon_is_noticed() {
        let (feed, events) = feed();
        drop(events);
        feed.deaf().await;
        assert!(feed.tell(Event::Listening { addrs: vec![] }).await.is_err());
    }
}
