//! Starts the tasks of links and guest streams, and counts those that run.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use larder_core::id::NodeId;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::sync::{mpsc, oneshot};

use crate::connections::PeerConnection;
use crate::event::{LinkId, LinkKind};
use crate::event_channel::EventSender;
use crate::limits;
use crate::link::hello::HelloRole;
use crate::link::link_task::{LinkEnded, LinkMsg, LinkTask};
use crate::link::registry::LinkRegistry;
use crate::link::send_queue::SendQueue;

/// The driver's handle of a link or guest stream that is open or opening.
pub(crate) struct StreamHandle {
    pub(crate) link: LinkId,
    pub(crate) connection: ConnectionId,
    pub(crate) queue: Arc<SendQueue>,
    /// True if this node opened the stream.
    pub(crate) is_opened_here: bool,
    /// Releases a held link.
    pub(crate) release: Option<oneshot::Sender<()>>,
}

impl StreamHandle {
    /// Creates the handle of a new stream.
    pub(crate) fn new(link: LinkId, connection: ConnectionId, kind: LinkKind, is_opened_here: bool) -> Self {
        Self { link, connection, queue: Arc::new(SendQueue::new(kind)), is_opened_here, release: None }
    }
}

/// A stream that is ready for a link task.
pub(crate) struct NewStream {
    pub(crate) peer: NodeId,
    pub(crate) kind: LinkKind,
    pub(crate) stream: Stream,
    pub(crate) hello_role: HelloRole,
}

/// The tasks of all links and guest streams.
pub(crate) struct LinkTasks {
    registry: LinkRegistry,
    event_sender: EventSender,
    msg_sender: mpsc::Sender<LinkMsg>,
    last_link_id: u64,
    running: BTreeMap<NodeId, usize>,
}

impl LinkTasks {
    /// Creates the table without tasks. Their messages arrive at the receiver.
    pub(crate) fn new(registry: LinkRegistry, event_sender: EventSender) -> (Self, mpsc::Receiver<LinkMsg>) {
        let (msg_sender, msgs) = mpsc::channel(limits::LINK_MSG_CHANNEL_CAPACITY);
        (Self { registry, event_sender, msg_sender, last_link_id: 0, running: BTreeMap::new() }, msgs)
    }

    /// Starts the task of a stream on `connection`. Its `LinkUp` waits for the end of `predecessor`, and
    /// `done_sender` is dropped when it has ended.
    pub(crate) fn spawn(
        &mut self,
        new_stream: NewStream,
        connection: &PeerConnection,
        predecessor: Option<LinkEnded>,
        done_sender: oneshot::Sender<Infallible>,
    ) -> StreamHandle {
        let NewStream { peer, kind, stream, hello_role } = new_stream;
        self.last_link_id += 1;
        let is_opened_here = matches!(hello_role, HelloRole::Opener);
        let handle = StreamHandle::new(LinkId(self.last_link_id), connection.id, kind, is_opened_here);
        let task = LinkTask {
            link: handle.link,
            peer,
            kind,
            is_opened_here,
            is_dialed_here: connection.is_dialed_here,
            addr: connection.addr.clone(),
            queue: Arc::clone(&handle.queue),
            registry: self.registry.clone(),
            event_sender: self.event_sender.clone(),
            link_msg_sender: self.msg_sender.clone(),
            predecessor,
        };
        *self.running.entry(peer).or_default() += 1;
        tokio::spawn(task.run(stream, hello_role, done_sender));
        handle
    }

    /// Records that a task of `peer` has ended.
    pub(crate) fn on_ended(&mut self, peer: NodeId) {
        if let Some(count) = self.running.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&peer);
            }
        }
    }

    /// True while a task of `peer` runs.
    pub(crate) fn is_running(&self, peer: NodeId) -> bool {
        self.running.contains_key(&peer)
    }

    /// True if no task runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}
