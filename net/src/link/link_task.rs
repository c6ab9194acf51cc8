//! The task of one link or guest stream: the hello, then frames in both directions until the link ends.
//!
//! The task sends `LinkUp`, `FrameReceived`, `BytesSent` and `LinkDown` to the daemon itself, in this order.
//! While the daemon is slow, the task waits and reads no more, so TCP slows down the peer. It reports to the
//! driver by [`LinkMsg`]s.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::io::{BufReader, ReadHalf, WriteHalf};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use larder_core::id::NodeId;
use libp2p::Multiaddr;
use libp2p::swarm::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::event::{DownReason, LinkId, LinkKind, NetEvent};
use crate::event_channel::EventSender;
use crate::limits;
use crate::link::frame;
use crate::link::hello::{HelloRole, run_hello};
use crate::link::registry::LinkRegistry;
use crate::link::send_queue::{QueueAction, SendQueue};

/// Resolves (with an error) after a link has sent its `LinkDown`.
pub(crate) type LinkEnded = oneshot::Receiver<Infallible>;

/// A message of a link task to the driver.
#[derive(Debug)]
pub(crate) struct LinkMsg {
    pub(crate) link: LinkId,
    pub(crate) peer: NodeId,
    pub(crate) status: LinkStatus,
}

/// A change of the state of a link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkStatus {
    /// The peer does not know this node as a member yet.
    HeldByPeer,
    /// The hello has succeeded.
    Up,
    /// The task ends. `None` for a link that never came up, else how long it was up.
    Down(Option<Duration>),
}

/// The task of one link or guest stream.
pub(crate) struct LinkTask {
    pub(crate) link: LinkId,
    pub(crate) peer: NodeId,
    pub(crate) kind: LinkKind,
    /// True if this node opened the stream.
    pub(crate) is_opened_here: bool,
    pub(crate) is_dialed_here: bool,
    pub(crate) addr: Multiaddr,
    pub(crate) queue: Arc<SendQueue>,
    pub(crate) registry: LinkRegistry,
    pub(crate) event_sender: EventSender,
    pub(crate) link_msg_sender: mpsc::Sender<LinkMsg>,
    /// The end of the link that this one replaces: its `LinkDown` comes before this `LinkUp`.
    pub(crate) predecessor: Option<LinkEnded>,
}

impl LinkTask {
    /// Runs the link until it ends. Drops `done_sender` last.
    pub(crate) async fn run(
        mut self,
        stream: Stream,
        hello_role: HelloRole,
        done_sender: oneshot::Sender<Infallible>,
    ) {
        let queue = Arc::clone(&self.queue);
        let open_stream = tokio::select! {
            biased;
            _ = queue.wait_link_over() => None,
            stream = self.run_hello_and_report_up(stream, hello_role) => stream,
        };
        let mut up_for = None;
        if let Some(stream) = open_stream {
            let up_since = Instant::now();
            let reason = self.exchange_frames(stream).await;
            tracing::debug!(peer = %self.peer.short(), link = %self.link, kind = ?self.kind, %reason, "link \
                down");
            self.registry.remove(self.link);
            let _ =
                self.event_sender.send(NetEvent::LinkDown { link: self.link, peer: self.peer, reason }).await;
            up_for = Some(up_since.elapsed());
        }
        self.registry.remove(self.link);
        // A link that never came up may stand between two others: the later waits for the earlier through it.
        self.await_predecessor().await;
        self.report_status(LinkStatus::Down(up_for)).await;
        drop(done_sender);
    }

    async fn report_status(&self, status: LinkStatus) {
        // The driver is only gone when the whole network stops.
        let _ = self.link_msg_sender.send(LinkMsg { link: self.link, peer: self.peer, status }).await;
    }

    async fn await_predecessor(&mut self) {
        if let Some(predecessor_ended) = &mut self.predecessor {
            let _ = predecessor_ended.await;
        }
        self.predecessor = None;
    }

    /// Runs the hello and sends `LinkUp`.
    async fn run_hello_and_report_up(&mut self, mut stream: Stream, hello_role: HelloRole) -> Option<Stream> {
        run_hello(&mut stream, hello_role, || self.report_status(LinkStatus::HeldByPeer)).await.ok()?;
        self.report_status(LinkStatus::Up).await;
        self.await_predecessor().await;
        let peer = self.peer.short();
        tracing::debug!(%peer, link = %self.link, kind = ?self.kind, addr = %self.addr, "link up");
        self.registry.insert(self.link, self.kind, Arc::clone(&self.queue));
        let link_up = NetEvent::LinkUp {
            link: self.link,
            peer: self.peer,
            kind: self.kind,
            is_opened_here: self.is_opened_here,
            is_dialed_here: self.is_dialed_here,
            addr: self.addr.clone(),
        };
        match self.event_sender.send(link_up).await {
            Ok(()) => Some(stream),
            Err(_) => None,
        }
    }

    /// Exchanges frames until the link ends; returns the reason.
    async fn exchange_frames(&self, stream: Stream) -> DownReason {
        let (read, write) = stream.split();
        let lifetime = match self.kind {
            LinkKind::Member => Duration::MAX,
            LinkKind::Guest => limits::GUEST_STREAM_LIFETIME,
        };
        tokio::select! {
            biased;
            reason = self.queue.wait_link_over() => reason,
            reason = self.write_frames(write) => reason,
            reason = self.read_frames(read) => reason,
            () = tokio::time::sleep(lifetime) => DownReason::Expired,
        }
    }

    async fn read_frames(&self, stream: ReadHalf<Stream>) -> DownReason {
        let mut stream = BufReader::with_capacity(limits::READ_BUFFER_BYTES, stream);
        let (max_frame_bytes, silence_timeout) = match self.kind {
            LinkKind::Member => (limits::MAX_MEMBER_FRAME_BYTES, limits::MEMBER_SILENCE_TIMEOUT),
            LinkKind::Guest => (limits::MAX_GUEST_FRAME_BYTES, limits::GUEST_SILENCE_TIMEOUT),
        };
        let (mut frame_count, mut total_bytes) = (0_u32, 0_usize);
        loop {
            let bytes = match frame::read_frame(&mut stream, max_frame_bytes, silence_timeout).await {
                Ok(bytes) => bytes,
                Err(reason) => return reason,
            };
            if self.kind == LinkKind::Guest {
                if frame_count == 0 {
                    self.queue.mark_peer_spoken();
                }
                frame_count += 1;
                total_bytes += bytes.len();
                if frame_count > limits::MAX_GUEST_FRAMES || total_bytes > limits::MAX_GUEST_STREAM_BYTES {
                    return DownReason::GuestQuotaExceeded;
                }
            }
            if self.event_sender.send_frame(self.link, bytes).await.is_err() {
                return DownReason::Shutdown;
            }
        }
    }

    async fn write_frames(&self, mut stream: WriteHalf<Stream>) -> DownReason {
        let mut buffer = Vec::new();
        loop {
            match self.queue.next_action().await {
                QueueAction::WriteFrames(batch) => {
                    let bytes = batch.iter().map(Vec::len).sum();
                    buffer.clear();
                    if write_batch(&mut stream, &batch, &mut buffer).await.is_err() {
                        // The reader may still find frames and a goodbye among the bytes that arrived; it
                        // ends the link.
                        return std::future::pending().await;
                    }
                    if self.event_sender.send(NetEvent::BytesSent { link: self.link, bytes }).await.is_err() {
                        return DownReason::Shutdown;
                    }
                }
                QueueAction::EndLink(reason) => {
                    let _ = write_goodbye(&mut stream).await;
                    return reason;
                }
            }
        }
    }
}

/// Writes small frames as one buffer, and a large one without a copy.
async fn write_batch(
    stream: &mut WriteHalf<Stream>,
    batch: &[Vec<u8>],
    buffer: &mut Vec<u8>,
) -> Result<(), std::io::Error> {
    match batch {
        [large_frame] if large_frame.len() >= limits::WRITE_BATCH_BYTES => {
            let length = u32::try_from(large_frame.len()).unwrap_or(u32::MAX);
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(large_frame).await?;
        }
        small_frames => {
            small_frames.iter().for_each(|payload| frame::encode_frame(payload, buffer));
            stream.write_all(buffer).await?;
        }
    }
    stream.flush().await
}

async fn write_goodbye(stream: &mut WriteHalf<Stream>) -> Result<(), std::io::Error> {
    stream.write_all(&frame::GOODBYE).await?;
    stream.flush().await?;
    stream.close().await
}
