//! What the API and the keeper hold of the daemon: a way to ask the one task that owns the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_core::id::GroupId;
use larder_core::node::{Node, Request, RequestError, RequestId, Response};
use larder_core::resource::ResourceName;
use larder_core::resource::observed::ObservedState;
use larder_core::store::Row;
use tokio::sync::{mpsc, oneshot};

use crate::error::{CliError, ExitKind};
use crate::limits;
use crate::store::StoreSnapshot;

/// A look at the machine, taken between two inputs.
pub(super) type NodeQuery = Box<dyn FnOnce(&mut Node) + Send>;

/// Something asked of the driver.
pub(super) enum OwnerCommand {
    /// A request to the machine, with the way back.
    Request(RequestId, Request, oneshot::Sender<Result<Response, RequestError>>),
    /// Whoever asked waits no longer.
    Cancel(RequestId),
    /// A look.
    Query(NodeQuery),
    /// What the providers found, and what this machine runs since.
    ReportObserved(GroupId, Vec<(ResourceName, ObservedState)>),
    /// Rows that are the daemon's own.
    StoreRows(Vec<Row>),
    /// What is durable now.
    Snapshot(oneshot::Sender<Result<StoreSnapshot, CliError>>),
}

/// The daemon is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct DaemonStopping;

impl From<DaemonStopping> for CliError {
    fn from(stopped: DaemonStopping) -> Self {
        Self::new(ExitKind::Unreachable, "stopping", stopped.to_string())
    }
}

/// A way to ask. Cheap to copy.
#[derive(Clone, Debug)]
pub struct DaemonHandle {
    commands: mpsc::Sender<OwnerCommand>,
    next_request_id: Arc<AtomicU64>,
}

/// Tells the driver when nobody waits for an answer any more.
struct CancelOnDrop {
    request_id: RequestId,
    commands: mpsc::Sender<OwnerCommand>,
    is_answered: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.is_answered {
            // Full means that the driver is behind; a hangup that is lost only costs an answer to nobody.
            drop(self.commands.try_send(OwnerCommand::Cancel(self.request_id)));
        }
    }
}

impl DaemonHandle {
    pub(super) fn new_pair() -> (Self, mpsc::Receiver<OwnerCommand>) {
        let (commands, receiver) = mpsc::channel(limits::COMMAND_QUEUE_LEN);
        (Self { commands, next_request_id: Arc::default() }, receiver)
    }

    /// Has the node carry out a request, and waits for its answer. Dropping the future cancels the request.
    pub async fn request_node(
        &self,
        request: Request,
    ) -> Result<Result<Response, RequestError>, DaemonStopping> {
        let request_id = RequestId(self.next_request_id.fetch_add(1, Ordering::Relaxed));
        let (response_sender, response) = oneshot::channel();
        self.send_command(OwnerCommand::Request(request_id, request, response_sender)).await?;
        let mut cancel_on_drop =
            CancelOnDrop { request_id, commands: self.commands.clone(), is_answered: false };
        let result = response.await.map_err(|_| DaemonStopping)?;
        cancel_on_drop.is_answered = true;
        Ok(result)
    }

    /// Looks at the machine.
    pub async fn query<T: Send + 'static>(
        &self,
        query_fn: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> Result<T, DaemonStopping> {
        let (result_sender, result) = oneshot::channel();
        let query: NodeQuery = Box::new(move |local_node| drop(result_sender.send(query_fn(local_node))));
        self.send_command(OwnerCommand::Query(query)).await?;
        result.await.map_err(|_| DaemonStopping)
    }

    /// Tells what the providers found.
    pub(super) async fn report_observed(
        &self,
        group: GroupId,
        observations: Vec<(ResourceName, ObservedState)>,
    ) -> Result<(), DaemonStopping> {
        self.send_command(OwnerCommand::ReportObserved(group, observations)).await
    }

    /// Writes rows of the daemon's own.
    pub(super) async fn store_rows(&self, rows: Vec<Row>) -> Result<(), DaemonStopping> {
        self.send_command(OwnerCommand::StoreRows(rows)).await
    }

    /// What is durable now: everything that was acknowledged before this is in it.
    pub async fn snapshot(&self) -> Result<StoreSnapshot, CliError> {
        let (result_sender, result) = oneshot::channel();
        self.send_command(OwnerCommand::Snapshot(result_sender)).await?;
        result.await.map_err(|_| DaemonStopping)?
    }

    async fn send_command(&self, ask: OwnerCommand) -> Result<(), DaemonStopping> {
        self.commands.send(ask).await.map_err(|_| DaemonStopping)
    }
}
