//! The event bus: it wakes watchers when rows became durable, and carries transient events to them.
//!
//! Watchers read durable events from the journal themselves. The bus never waits for a watcher: a slow one
//! loses the oldest transient events, and learns how many.

use std::sync::{Arc, Mutex, PoisonError};

use larder_core::id::{GroupId, NodeId};
use larder_core::node::NodeEvent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::stop::stop_requested;
use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::store::StoreReader;
use crate::time::wall_clock_seconds;

/// An event that is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransientEvent {
    /// The group that the event is about.
    pub group: GroupId,
    /// The time in seconds since 1970, by this node's clock.
    pub time: i64,
    /// The member that the event is about, if there is one.
    pub peer: Option<NodeId>,
    /// The kind of the event.
    pub kind: TransientKind,
}

/// The kind of a transient event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransientKind {
    /// A link with a member opened.
    Linked,
    /// A link with a member closed.
    Unlinked,
    /// A member became reachable.
    Up,
    /// A member became unreachable.
    Away,
    /// This node has everything that a neighbour has.
    InSync,
    /// The damaged copy of a group is complete again.
    Refetched,
}

/// The event bus. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct EventBus(Arc<EventBusInner>);

#[derive(Debug)]
struct EventBusInner {
    reader: Mutex<StoreReader>,
    commits: watch::Sender<()>,
    inputs: watch::Sender<()>,
    transient: broadcast::Sender<TransientEvent>,
    stopping: watch::Receiver<bool>,
    watcher_slots: Arc<Semaphore>,
}

impl EventBus {
    pub(super) fn new(reader: StoreReader, stopping: watch::Receiver<bool>) -> Self {
        Self(Arc::new(EventBusInner {
            reader: Mutex::new(reader),
            commits: watch::Sender::new(()),
            inputs: watch::Sender::new(()),
            transient: broadcast::Sender::new(limits::TRANSIENT_EVENT_QUEUE_LEN),
            stopping,
            watcher_slots: Arc::new(Semaphore::new(limits::MAX_WATCHERS)),
        }))
    }

    /// Wakes the watchers after a commit.
    pub(super) fn on_stored(&self) {
        self.0.commits.send_replace(());
    }

    /// Wakes the subscribers of [`EventBus::subscribe_inputs`] after an input.
    pub(super) fn on_input_handled(&self) {
        if self.0.inputs.receiver_count() > 0 {
            self.0.inputs.send_replace(());
        }
    }

    /// Returns a receiver that changes after each input of the node, and one for the stop of the daemon.
    pub fn subscribe_inputs(&self) -> (watch::Receiver<()>, watch::Receiver<bool>) {
        (self.0.inputs.subscribe(), self.0.stopping.clone())
    }

    /// Returns a reader of the store.
    pub fn reader(&self) -> StoreReader {
        self.0.reader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the reader after the store was opened again.
    pub(super) fn on_store_reopened(&self, reader: StoreReader) {
        *self.0.reader.lock().unwrap_or_else(PoisonError::into_inner) = reader;
        self.on_stored();
    }

    /// True if there is a watcher.
    pub(super) fn is_watched(&self) -> bool {
        self.0.transient.receiver_count() > 0
    }

    pub(super) fn publish(&self, group: GroupId, peer: Option<NodeId>, kind: TransientKind) {
        // There may be no watcher.
        drop(self.0.transient.send(TransientEvent { group, time: wall_clock_seconds(), peer, kind }));
    }

    /// Publishes an event of the node, if watchers of a group see such events.
    pub(super) fn on_node_event(&self, event: &NodeEvent) {
        match event {
            NodeEvent::ReachabilityChanged { group, peer, is_reachable: up } => {
                self.publish(*group, Some(*peer), if *up { TransientKind::Up } else { TransientKind::Away });
            }
            NodeEvent::InSync { group, peer } => self.publish(*group, Some(*peer), TransientKind::InSync),
            NodeEvent::GroupRepaired { group } => self.publish(*group, None, TransientKind::Refetched),
            _ => {}
        }
    }

    /// Adds a watcher, unless there are too many.
    pub fn subscribe(&self) -> Result<EventWatcher, CliError> {
        let slot = Arc::clone(&self.0.watcher_slots).try_acquire_owned().map_err(|_| {
            CliError::new(ExitKind::Refused, "full", "too many commands watch this daemon")
                .with_hint("end another `larder watch` first")
        })?;
        Ok(EventWatcher {
            event_bus: self.clone(),
            commits: self.0.commits.subscribe(),
            transient: self.0.transient.subscribe(),
            stopping: self.0.stopping.clone(),
            _slot: slot,
        })
    }
}

/// A watcher of the bus.
#[derive(Debug)]
pub struct EventWatcher {
    event_bus: EventBus,
    commits: watch::Receiver<()>,
    transient: broadcast::Receiver<TransientEvent>,
    stopping: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
}

/// An item that a watcher receives.
#[derive(Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// Rows may have become durable.
    Committed,
    /// A transient event happened.
    Transient(TransientEvent),
    /// The watcher was too slow for this number of transient events.
    Lost(u64),
    /// The daemon stops.
    Stopping,
}

impl EventWatcher {
    /// Returns a reader of the store.
    pub fn reader(&self) -> StoreReader {
        self.event_bus.reader()
    }

    /// Lets [`EventWatcher::next`] report every commit from now on. Call it before reading what is durable.
    pub fn mark_commits_seen(&mut self) {
        self.commits.mark_unchanged();
    }

    /// Returns the next transient event that is waiting.
    pub fn try_next(&mut self) -> Option<WatchItem> {
        use broadcast::error::TryRecvError;
        match self.transient.try_recv() {
            Ok(event) => Some(WatchItem::Transient(event)),
            Err(TryRecvError::Lagged(lost)) => Some(WatchItem::Lost(lost)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// Waits for the next item.
    pub async fn next(&mut self) -> WatchItem {
        use broadcast::error::RecvError;
        tokio::select! {
            biased;
            () = stop_requested(&mut self.stopping) => WatchItem::Stopping,
            changed = self.commits.changed() => match changed {
                Ok(()) => WatchItem::Committed,
                Err(_) => WatchItem::Stopping,
            },
            event = self.transient.recv() => match event {
                Ok(event) => WatchItem::Transient(event),
                Err(RecvError::Lagged(lost)) => WatchItem::Lost(lost),
                Err(RecvError::Closed) => WatchItem::Stopping,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_watcher_loses_the_oldest_events_and_learns_how_many() {
        let (_stop, stopping) = watch::channel(false);
        let event_bus = EventBus::new(StoreReader::default(), stopping);
        let mut watcher = event_bus.subscribe().unwrap();
        let group = GroupId([1; 16]);
        for _ in 0..limits::TRANSIENT_EVENT_QUEUE_LEN + 3 {
            event_bus.publish(group, None, TransientKind::Refetched);
        }
        assert_eq!(watcher.next().await, WatchItem::Lost(3));
        for _ in 0..limits::TRANSIENT_EVENT_QUEUE_LEN {
            assert!(matches!(watcher.try_next(), Some(WatchItem::Transient(_))));
        }
        assert_eq!(watcher.try_next(), None);
        event_bus.on_stored();
        assert_eq!(watcher.next().await, WatchItem::Committed);
    }

    #[tokio::test]
    async fn watchers_are_limited_and_end_when_the_daemon_stops() {
        let (stop, stopping) = watch::channel(false);
        let event_bus = EventBus::new(StoreReader::default(), stopping);
        let mut watchers: Vec<EventWatcher> =
            (0..limits::MAX_WATCHERS).map(|_| event_bus.subscribe().unwrap()).collect();
        assert_eq!(event_bus.subscribe().unwrap_err().code, "full");
        watchers.pop();
        watchers.push(event_bus.subscribe().unwrap());
        stop.send(true).unwrap();
        for watcher in &mut watchers {
            assert_eq!(watcher.next().await, WatchItem::Stopping);
        }
    }
}
