//! A link's task: hello, then frames both ways until one of many reasons ends it.
//!
//! It tells the daemon `LinkUp`, `Frame`, `Sent` and `LinkDown` itself, in this order, and waits for the daemon where
//! the daemon is slow: then it reads no more, and TCP holds the peer back. The driver hears of it by [`Note`]s.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::io::{BufReader, ReadHalf, WriteHalf};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use larder_core::id::NodeId;
use libp2p::Multiaddr;
use libp2p::swarm::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::event::{DownReason, Event, LinkId, LinkKind};
use crate::feed::Feed;
use crate::limits;
use crate::link::frame;
use crate::link::hello::{Greeting, greet};
use crate::link::queue::{Next, Queue};
use crate::link::registry::Registry;

/// Resolves (with an error) when a link has told its `LinkDown`.
pub(crate) type Done = oneshot::Receiver<Infallible>;

/// What a link's task tells the driver.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) link: LinkId,
    pub(crate) peer: NodeId,
    pub(crate) what: News,
}

/// What happened to the link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The other side does not count us as a member yet.
    OnHold,
    /// The hello is done.
    Up,
    /// The task ends. `None` for a link that never came up, else how long it was up.
    Down(Option<Duration>),
}

/// What a link's task needs to know.
pub(crate) struct Pump {
    pub(crate) link: LinkId,
    pub(crate) peer: NodeId,
    pub(crate) kind: LinkKind,
    /// True if the stream was asked for here.
    pub(crate) opened: bool,
    pub(crate) dialed: bool,
    pub(crate) addr: Multiaddr,
    pub(crate) queue: Arc<Queue>,
    pub(crate) registry: Registry,
    pub(crate) feed: Feed,
    pub(crate) notes: mpsc::Sender<Note>,
    /// The link that this one takes the place of: its `LinkDown` comes before our `LinkUp`.
    pub(crate) before: Option<Done>,
}

impl Pump {
    /// Runs the link to its end. `done` is dropped last.
    pub(crate) async fn run(mut self, stream: Stream, greeting: Greeting, done: oneshot::Sender<Infallible>) {
        let queue = Arc::clone(&self.queue);
        let opened = tokio::select! {
            biased;
            _ = queue.over() => None,
            stream = self.open(stream, greeting) => stream,
        };
        let mut lasted = None;
        if let Some(stream) = opened {
            let since = Instant::now();
            let reason = self.carry(stream).await;
            tracing::debug!(peer = %self.peer.short(), link = %self.link, kind = ?self.kind, %reason, "link down");
            self.registry.remove(self.link);
            let _ = self.feed.tell(Event::LinkDown { link: self.link, peer: self.peer, reason }).await;
            lasted = Some(since.elapsed());
        }
        self.registry.remove(self.link);
        // A link that never came up may stand between two others: the later one waits for the earlier through it.
        self.predecessor().await;
        self.note(News::Down(lasted)).await;
        drop(done);
    }

    async fn note(&self, what: News) {
        // The driver is gone only when everything ends.
        let _ = self.notes.send(Note { link: self.link, peer: self.peer, what }).await;
    }

    async fn predecessor(&mut self) {
        if let Some(done) = &mut self.before {
            let _ = done.await;
        }
        self.before = None;
    }

    /// Hello and `LinkUp`.
    async fn open(&mut self, mut stream: Stream, greeting: Greeting) -> Option<Stream> {
        greet(&mut stream, greeting, || self.note(News::OnHold)).await.ok()?;
        self.note(News::Up).await;
        self.predecessor().await;
        tracing::debug!(peer = %self.peer.short(), link = %self.link, kind = ?self.kind, addr = %self.addr, "link up");
        self.registry.add(self.link, self.kind, Arc::clone(&self.queue));
        let up = Event::LinkUp {
            link: self.link,
            peer: self.peer,
            kind: self.kind,
            opened: self.opened,
            dialed: self.dialed,
            addr: self.addr.clone(),
        };
        match self.feed.tell(up).await {
            Ok(()) => Some(stream),
            Err(_) => None,
        }
    }

    /// Frames both ways.
    async fn carry(&self, stream: Stream) -> DownReason {
        let (read, write) = stream.split();
        let life = match self.kind {
            LinkKind::Member => Duration::MAX,
            LinkKind::Stranger => limits::VISIT_LIFE,
        };
        tokio::select! {
            biased;
            reason = self.queue.over() => reason,
            reason = self.write(write) => reason,
            reason = self.read(read) => reason,
            () = tokio::time::sleep(life) => DownReason::Expired,
        }
    }

    async fn read(&self, stream: ReadHalf<Stream>) -> DownReason {
        let mut stream = BufReader::with_capacity(limits::READ, stream);
        let (max, silence) = match self.kind {
            LinkKind::Member => (limits::FRAME, limits::SILENCE),
            LinkKind::Stranger => (limits::VISIT_FRAME, limits::VISIT_SILENCE),
        };
        let (mut frames, mut total) = (0_u32, 0_usize);
        loop {
            let bytes = match frame::read(&mut stream, max, silence).await {
                Ok(bytes) => bytes,
                Err(reason) => return reason,
            };
            if self.kind == LinkKind::Stranger {
                if frames == 0 {
                    self.queue.hear();
                }
                frames += 1;
                total += bytes.len();
                if frames > limits::VISIT_FRAMES || total > limits::VISIT_BYTES {
                    return DownReason::TooMuch;
                }
            }
            if self.feed.frame(self.link, bytes).await.is_err() {
                return DownReason::Shutdown;
            }
        }
    }

    async fn write(&self, mut stream: WriteHalf<Stream>) -> DownReason {
        let mut out = Vec::new();
        loop {
            match self.queue.next().await {
                Next::Write(batch) => {
                    let bytes = batch.iter().map(Vec::len).sum();
                    out.clear();
                    if write_batch(&mut stream, &batch, &mut out).await.is_err() {
                        // The reader may still find frames and a goodbye in what has arrived; it ends the link.
                        return std::future::pending().await;
                    }
                    if self.feed.tell(Event::Sent { link: self.link, bytes }).await.is_err() {
                        return DownReason::Shutdown;
                    }
                }
                Next::End(reason) => {
                    let _ = goodbye(&mut stream).await;
                    return reason;
                }
            }
        }
    }
}

/// Small frames as one write; a large one is not copied once more.
async fn write_batch(
    stream: &mut WriteHalf<Stream>,
    batch: &[Vec<u8>],
    out: &mut Vec<u8>,
) -> Result<(), std::io::Error> {
    match batch {
        [large] if large.len() >= limits::BATCH => {
            let length = u32::try_from(large.len()).unwrap_or(u32::MAX);
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(large).await?;
        }
        many => {
            many.iter().for_each(|payload| frame::encode(payload, out));
            stream.write_all(out).await?;
        }
    }
    stream.flush().await
}

async fn goodbye(stream: &mut WriteHalf<Stream>) -> Result<(), std::io::Error> {
    stream.write_all(&frame::GOODBYE).await?;
    stream.flush().await?;
    stream.close().await
}
