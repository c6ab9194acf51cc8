//! What the API and the keeper hold of the daemon: a way to ask the one task that owns the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_core::id::GroupId;
use larder_core::machine::{Answer, Caller, Declined, Machine, Request};
use larder_core::resource::ResourceName;
use larder_core::resource::observed::Observed;
use larder_core::store::Row;
use tokio::sync::{mpsc, oneshot};

use crate::failure::{Exit, Failure};
use crate::limits;
use crate::store::Snapshot;

/// A look at the machine, taken between two inputs.
pub(super) type Look = Box<dyn FnOnce(&mut Machine) + Send>;

/// Something asked of the driver.
pub(super) enum Ask {
    /// A request to the machine, with the way back.
    Request(Caller, Request, oneshot::Sender<Result<Answer, Declined>>),
    /// Whoever asked waits no longer.
    Hangup(Caller),
    /// A look.
    Look(Look),
    /// What the providers found, and what this machine runs since.
    Observed(GroupId, Vec<(ResourceName, Observed)>),
    /// Rows that are the daemon's own.
    Store(Vec<Row>),
    /// What is durable now.
    Snapshot(oneshot::Sender<Result<Snapshot, Failure>>),
}

/// The daemon is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Stopped;

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Self::new(Exit::Unreachable, "stopping", stopped.to_string())
    }
}

/// A way to ask. Cheap to copy.
#[derive(Clone, Debug)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    callers: Arc<AtomicU64>,
}

/// Tells the driver when nobody waits for an answer any more.
struct Waiting {
    caller: Caller,
    asks: mpsc::Sender<Ask>,
    answered: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            // Full means that the driver is behind; a hangup that is lost only costs an answer to nobody.
            drop(self.asks.try_send(Ask::Hangup(self.caller)));
        }
    }
}

impl Handle {
    pub(super) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(limits::ASKS);
        (Self { asks, callers: Arc::default() }, asked)
    }

    /// Asks the machine. Dropping the future hangs up.
    pub async fn request(&self, request: Request) -> Result<Answer, Failure> {
        let caller = Caller(self.callers.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Request(caller, request, answer)).await?;
        let mut waiting = Waiting { caller, asks: self.asks.clone(), answered: false };
        let answer = answered.await.map_err(|_| Stopped)?;
        waiting.answered = true;
        answer.map_err(Failure::from)
    }

    /// Looks at the machine.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Machine) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        let look: Look = Box::new(move |machine| drop(answer.send(look(machine))));
        self.ask(Ask::Look(look)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Tells what the providers found.
    pub(super) async fn observed(
        &self,
        group: GroupId,
        reports: Vec<(ResourceName, Observed)>,
    ) -> Result<(), Stopped> {
        self.ask(Ask::Observed(group, reports)).await
    }

    /// Writes rows of the daemon's own.
    pub(super) async fn store(&self, rows: Vec<Row>) -> Result<(), Stopped> {
        self.ask(Ask::Store(rows)).await
    }

    /// What is durable now: everything that was acknowledged before this is in it.
    pub async fn snapshot(&self) -> Result<Snapshot, Failure> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Snapshot(answer)).await?;
        answered.await.map_err(|_| Stopped)?
    }

    async fn ask(&self, ask: Ask) -> Result<(), Stopped> {
        self.asks.send(ask).await.map_err(|_| Stopped)
    }
}
