//! The handle by which the API and the reconciler reach the owner task.

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

/// A function that reads the node between two inputs.
pub(super) type NodeQuery = Box<dyn FnOnce(&mut Node) + Send>;

/// A command to the owner task.
pub(super) enum OwnerCommand {
    /// A request to the node, and where to send the response.
    Request(RequestId, Request, oneshot::Sender<Result<Response, RequestError>>),
    /// The caller of a request no longer waits.
    Cancel(RequestId),
    /// A query of the node.
    Query(NodeQuery),
    /// The states of resources, as the providers found them.
    ReportObserved(GroupId, Vec<(ResourceName, ObservedState)>),
    /// Rows of the daemon itself.
    StoreRows(Vec<Row>),
    /// A request for a snapshot of the durable rows.
    Snapshot(oneshot::Sender<Result<StoreSnapshot, CliError>>),
}

/// The error of a command that came while the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct DaemonStopping;

impl From<DaemonStopping> for CliError {
    fn from(stopped: DaemonStopping) -> Self {
        Self::new(ExitKind::Unreachable, "stopping", stopped.to_string())
    }
}

/// The handle of the owner task. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct DaemonHandle {
    commands: mpsc::Sender<OwnerCommand>,
    next_request_id: Arc<AtomicU64>,
}

/// Cancels a request if its caller stops waiting.
struct CancelOnDrop {
    request_id: RequestId,
    commands: mpsc::Sender<OwnerCommand>,
    is_answered: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.is_answered {
            // If the queue is full, the request is not cancelled. Its response is then dropped.
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

    /// Runs a query of the node.
    pub async fn query<T: Send + 'static>(
        &self,
        query_fn: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> Result<T, DaemonStopping> {
        let (result_sender, result) = oneshot::channel();
        let query: NodeQuery = Box::new(move |local_node| drop(result_sender.send(query_fn(local_node))));
        self.send_command(OwnerCommand::Query(query)).await?;
        result.await.map_err(|_| DaemonStopping)
    }

    /// Reports the states of resources.
    pub(super) async fn report_observed(
        &self,
        group: GroupId,
        observations: Vec<(ResourceName, ObservedState)>,
    ) -> Result<(), DaemonStopping> {
        self.send_command(OwnerCommand::ReportObserved(group, observations)).await
    }

    /// Writes rows of the daemon itself.
    pub(super) async fn store_rows(&self, rows: Vec<Row>) -> Result<(), DaemonStopping> {
        self.send_command(OwnerCommand::StoreRows(rows)).await
    }

    /// Returns a snapshot of the durable rows. It has everything that was acknowledged before.
    pub async fn snapshot(&self) -> Result<StoreSnapshot, CliError> {
        let (result_sender, result) = oneshot::channel();
        self.send_command(OwnerCommand::Snapshot(result_sender)).await?;
        result.await.map_err(|_| DaemonStopping)?
    }

    async fn send_command(&self, command: OwnerCommand) -> Result<(), DaemonStopping> {
        self.commands.send(command).await.map_err(|_| DaemonStopping)
    }
}
