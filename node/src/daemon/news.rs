//! What those who watch wait for: that something became durable, which they read from the journal themselves, and what
//! passes and is written down nowhere.
//!
//! Nobody waits for them. A watcher that is slow reads the journal when it can; of what passes it loses the oldest, and is
//! told how much.

use std::sync::{Arc, Mutex, PoisonError};

use larder_core::id::{GroupId, NodeId};
use larder_core::machine::Notice;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::driver::wall;
use crate::failure::{Exit, Failure};
use crate::limits;
use crate::store::Reader;

/// Something that happened and is written down nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// In which group.
    pub group: GroupId,
    /// When, by this node's clock, in seconds since 1970.
    pub time: i64,
    /// With whom, if with anybody.
    pub peer: Option<NodeId>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
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
pub struct News(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reader: Mutex<Reader>,
    durable: watch::Sender<()>,
    moved: watch::Sender<()>,
    passing: broadcast::Sender<Passing>,
    stopping: watch::Receiver<bool>,
    places: Arc<Semaphore>,
}

impl News {
    pub(super) fn new(reader: Reader, stopping: watch::Receiver<bool>) -> Self {
        Self(Arc::new(Inner {
            reader: Mutex::new(reader),
            durable: watch::Sender::new(()),
            moved: watch::Sender::new(()),
            passing: broadcast::Sender::new(limits::PASSING),
            stopping,
            places: Arc::new(Semaphore::new(limits::WATCHERS)),
        }))
    }

    /// Something became durable.
    pub(super) fn stored(&self) {
        self.0.durable.send_replace(());
    }

    /// The machine took in something: what it shows may be another than before.
    pub(super) fn moved(&self) {
        if self.0.moved.receiver_count() > 0 {
            self.0.moved.send_replace(());
        }
    }

    /// Changes each time that the machine takes in something, and when the daemon stops.
    pub fn moves(&self) -> (watch::Receiver<()>, watch::Receiver<bool>) {
        (self.0.moved.subscribe(), self.0.stopping.clone())
    }

    /// A way to read the store as it is now.
    pub fn reader(&self) -> Reader {
        self.0.reader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store was opened anew.
    pub(super) fn reopened(&self, reader: Reader) {
        *self.0.reader.lock().unwrap_or_else(PoisonError::into_inner) = reader;
        self.stored();
    }

    /// True if anybody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.0.passing.receiver_count() > 0
    }

    pub(super) fn tell(&self, group: GroupId, peer: Option<NodeId>, what: What) {
        // Nobody may be watching.
        drop(self.0.passing.send(Passing { group, time: wall(), peer, what }));
    }

    /// Tells of a notice, if it is news for a group.
    pub(super) fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Neighbour { group, peer, up } => {
                self.tell(*group, Some(*peer), if *up { What::Up } else { What::Away });
            }
            Notice::InSync { group, peer } => self.tell(*group, Some(*peer), What::InSync),
            Notice::Refetched { group } => self.tell(*group, None, What::Refetched),
            _ => {}
        }
    }

    /// Begins to watch; a failure if too many do.
    pub fn watch(&self) -> Result<Watcher, Failure> {
        let place = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| {
            Failure::new(Exit::Refused, "full", "as many commands watch this daemon as may")
                .hint("end one of them first")
        })?;
        let (durable, passing) = (self.0.durable.subscribe(), self.0.passing.subscribe());
        let stopping = self.0.stopping.clone();
        Ok(Watcher { news: self.clone(), durable, passing, stopping, _place: place })
    }
}

/// One who watches.
#[derive(Debug)]
pub struct Watcher {
    news: News,
    durable: watch::Receiver<()>,
    passing: broadcast::Receiver<Passing>,
    stopping: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// What a watcher gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something may be durable that was not before.
    Durable,
    /// Something passed.
    Passing(Passing),
    /// So many things passed that it was too slow for.
    Lost(u64),
    /// The daemon stops.
    Stopping,
}

impl Watcher {
    /// A way to read the store.
    pub fn reader(&self) -> Reader {
        self.news.reader()
    }

    /// What is told from now on is heard by [`Watcher::hear`]: to be called before reading what is durable.
    pub fn mark(&mut self) {
        self.durable.mark_unchanged();
    }

    /// What has passed already, if anything has.
    pub fn hear_now(&mut self) -> Option<Heard> {
        use broadcast::error::TryRecvError;
        match self.passing.try_recv() {
            Ok(passing) => Some(Heard::Passing(passing)),
            Err(TryRecvError::Lagged(lost)) => Some(Heard::Lost(lost)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// Waits for the next.
    pub async fn hear(&mut self) -> Heard {
        use broadcast::error::RecvError;
        tokio::select! {
            biased;
            () = super::told_to_stop(&mut self.stopping) => Heard::Stopping,
            changed = self.durable.changed() => if changed.is_ok() { Heard::Durable } else { Heard::Stopping },
            passing = self.passing.recv() => match passing {
                Ok(passing) => Heard::Passing(passing),
                Err(RecvError::Lagged(lost)) => Heard::Lost(lost),
                Err(RecvError::Closed) => Heard::Stopping,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_watcher_loses_the_oldest_and_is_told_how_much() {
        let (_stop, stopping) = watch::channel(false);
        let news = News::new(Reader::default(), stopping);
        let mut watcher = news.watch().unwrap();
        let group = GroupId([1; 16]);
        for _ in 0..limits::PASSING + 3 {
            news.tell(group, None, What::Refetched);
        }
        assert_eq!(watcher.hear().await, Heard::Lost(3));
        for _ in 0..limits::PASSING {
            assert!(matches!(watcher.hear_now(), Some(Heard::Passing(_))));
        }
        assert_eq!(watcher.hear_now(), None);
        news.stored();
        assert_eq!(watcher.hear().await, Heard::Durable);
    }

    #[tokio::test]
    async fn as_many_watch_as_may_and_all_end_with_the_daemon() {
        let (stop, stopping) = watch::channel(false);
        let news = News::new(Reader::default(), stopping);
        let mut all: Vec<Watcher> = (0..limits::WATCHERS).map(|_| news.watch().unwrap()).collect();
        assert_eq!(news.watch().unwrap_err().code, "full");
        all.pop();
        all.push(news.watch().unwrap());
        stop.send(true).unwrap();
        for watcher in &mut all {
            assert_eq!(watcher.hear().await, Heard::Stopping);
        }
    }
}
