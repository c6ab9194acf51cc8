//! What those who watch wait for: that something became durable, which they read from the journal themselves,
//! and what passes and is written down nowhere.
//!
//! Nobody waits for them. A watcher that is slow reads the journal when it can; of what passes it loses the
//! oldest, and is told how much.

use std::sync::{Arc, Mutex, PoisonError};

use larder_core::id::{GroupId, NodeId};
use larder_core::node::NodeEvent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::owner::wall_clock_seconds;
use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::store::StoreReader;

/// Something that happened and is written down nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransientEvent {
    /// In which group.
    pub group: GroupId,
    /// When, by this node's clock, in seconds since 1970.
    pub time: i64,
    /// With whom, if with anybody.
    pub peer: Option<NodeId>,
    /// What.
    pub kind: TransientKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransientKind {
    /// A link with a member stands.
    Linked,
    /// It ended.
    Unlinked,
    /// A member can be heard again,
    Up,
    /// or not any more.
    Away,
    /// Everything that a neighbour has is here.
    InSync,
    /// What was damaged in this copy is whole again.
    Refetched,
}

/// Where it is told. Cheap to copy.
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

    /// Something became durable.
    pub(super) fn on_stored(&self) {
        self.0.commits.send_replace(());
    }

    /// The machine took in something: what it shows may be another than before.
    pub(super) fn on_input_handled(&self) {
        if self.0.inputs.receiver_count() > 0 {
            self.0.inputs.send_replace(());
        }
    }

    /// Changes each time that the machine takes in something, and when the daemon stops.
    pub fn subscribe_inputs(&self) -> (watch::Receiver<()>, watch::Receiver<bool>) {
        (self.0.inputs.subscribe(), self.0.stopping.clone())
    }

    /// A way to read the store as it is now.
    pub fn reader(&self) -> StoreReader {
        self.0.reader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store was opened anew.
    pub(super) fn on_store_reopened(&self, reader: StoreReader) {
        *self.0.reader.lock().unwrap_or_else(PoisonError::into_inner) = reader;
        self.on_stored();
    }

    /// True if anybody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.0.transient.receiver_count() > 0
    }

    pub(super) fn publish(&self, group: GroupId, peer: Option<NodeId>, kind: TransientKind) {
        // Nobody may be watching.
        drop(self.0.transient.send(TransientEvent { group, time: wall_clock_seconds(), peer, kind }));
    }

    /// Tells of a notice, if it is news for a group.
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

    /// Begins to watch; a failure if too many do.
    pub fn subscribe(&self) -> Result<EventWatcher, CliError> {
        let slot = Arc::clone(&self.0.watcher_slots).try_acquire_owned().map_err(|_| {
            CliError::new(ExitKind::Refused, "full", "as many commands watch this daemon as may")
                .with_hint("end one of them first")
        })?;
        let (durable, passing) = (self.0.commits.subscribe(), self.0.transient.subscribe());
        let stopping = self.0.stopping.clone();
        Ok(EventWatcher {
            event_bus: self.clone(),
            commits: durable,
            transient: passing,
            stopping,
            _slot: slot,
        })
    }
}

/// One who watches.
#[derive(Debug)]
pub struct EventWatcher {
    event_bus: EventBus,
    commits: watch::Receiver<()>,
    transient: broadcast::Receiver<TransientEvent>,
    stopping: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
}

/// What a watcher gets.
#[derive(Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// Something may be durable that was not before.
    Committed,
    /// Something passed.
    Transient(TransientEvent),
    /// So many things passed that it was too slow for.
    Lost(u64),
    /// The daemon stops.
    Stopping,
}

impl EventWatcher {
    /// A way to read the store.
    pub fn reader(&self) -> StoreReader {
        self.event_bus.reader()
    }

    /// Lets [`EventWatcher::next`] report every commit from now on. Call it before reading what is durable.
    pub fn mark_commits_seen(&mut self) {
        self.commits.mark_unchanged();
    }

    /// What has passed already, if anything has.
    pub fn try_next(&mut self) -> Option<WatchItem> {
        use broadcast::error::TryRecvError;
        match self.transient.try_recv() {
            Ok(event) => Some(WatchItem::Transient(event)),
            Err(TryRecvError::Lagged(lost)) => Some(WatchItem::Lost(lost)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// Waits for the next.
    pub async fn next(&mut self) -> WatchItem {
        use broadcast::error::RecvError;
        tokio::select! {
            biased;
            () = super::stop_requested(&mut self.stopping) => WatchItem::Stopping,
            changed = self.commits.changed() => match changed {
                Ok(()) => WatchItem::Committed,
                Err(_) => WatchItem::Stopping,
            },
            passing = self.transient.recv() => match passing {
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
