//! The one task that owns the machine: everything that happens becomes an input, every effect is carried out in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use larder_core::id::NodeId;
use larder_core::machine::{Answer, Caller, Declined, Effect, Input, LinkId, LinkKind, Machine, Moment, Now};
use larder_core::store::{Row, Table, key};
use larder_net::{Event, Events, Multiaddr, Net};
use tokio::sync::{mpsc, oneshot, watch};

use super::changes::Changes;
use super::handle::Ask;
use super::news::{News, What};
use super::opening::{Opened, Opening, start_writer};
use super::{lines, told_to_stop};
use crate::failure::Failure;
use crate::limits;
use crate::store::{Batch, Outcome, Snapshot, Writer};

/// Everything around the machine.
pub(super) struct Driver {
    pub(super) machine: Machine,
    pub(super) net: Net,
    pub(super) events: Events,
    pub(super) writer: Writer,
    pub(super) outcomes: mpsc::UnboundedReceiver<Outcome>,
    pub(super) asked: mpsc::Receiver<Ask>,
    pub(super) changes: Arc<Changes>,
    pub(super) news: News,
    /// The port to ask for at the next start, told by whoever made the driver if it is to be kept up.
    pub(super) keep_port: bool,
    pub(super) book: BTreeMap<NodeId, Vec<String>>,
    pub(super) callers: BTreeMap<Caller, oneshot::Sender<Result<Answer, Declined>>>,
    pub(super) clock: Clock,
    /// Where this node listens.
    pub(super) addresses: Vec<String>,
    /// The links that stand.
    pub(super) links: BTreeSet<LinkId>,
    /// How to open the store again.
    pub(super) opening: Opening,
    /// Set while the store does not work.
    pub(super) broken: Option<Broken>,
}

/// A store that failed.
pub(super) struct Broken {
    /// When it is tried next, and how long to wait after that.
    again: tokio::time::Instant,
    wait: Duration,
    /// The daemon's own rows that are still to be written: the newest of each place, as many as there are places.
    rows: BTreeMap<(Table, Vec<u8>), Row>,
}

/// The process's clock: monotonic time from its start, and the machine's wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Now {
        let mono = Moment(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX));
        Now { mono, wall: wall() }
    }

    fn instant(self, moment: Moment) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.0 + std::time::Duration::from_micros(moment.0))
    }
}

/// Returns when a store that failed is to be tried again; never while it works.
async fn due(broken: Option<&Broken>) {
    match broken {
        Some(broken) => tokio::time::sleep_until(broken.again).await,
        None => std::future::pending().await,
    }
}

/// Seconds since 1970; 0 before that.
pub(crate) fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Driver {
    /// Runs until told to stop; then says goodbye, and waits until everything is on the disk.
    pub(super) async fn run(mut self, first: Vec<Effect>, mut stop: watch::Receiver<bool>) {
        self.carry_out(first);
        loop {
            let wake = self.clock.instant(self.machine.next_wake());
            tokio::select! {
                biased;
                () = told_to_stop(&mut stop) => break,
                () = due(self.broken.as_ref()) => self.reopen(),
                // After a failure the writer is gone, and the daemon goes on without: it says so to whoever writes.
                Some(outcome) = self.outcomes.recv() => self.stored(outcome),
                () = tokio::time::sleep_until(wake) => self.tick(),
                ask = self.asked.recv() => match ask {
                    Some(ask) => self.answer(ask),
                    None => break,
                },
                event = self.events.recv() => match event {
                    Some(event) => self.hear(event),
                    None => break,
                },
            }
        }
        self.end().await;
    }

    async fn end(mut self) {
        self.net.shutdown();
        let goodbye = async { while self.events.recv().await.is_some() {} };
        drop(tokio::time::timeout(limits::GOODBYE, goodbye).await);
        let mut writer = self.writer;
        drop(tokio::task::spawn_blocking(move || writer.finish()).await);
    }

    fn input(&mut self, input: Input) {
        let effects = self.machine.handle(self.clock.now(), input);
        self.carry_out(effects);
        self.news.moved();
    }

    fn tick(&mut self) {
        for larder_net::Reached { of, most, hits } in self.net.reached() {
            self.input(Input::Reached { of, most, hits });
        }
        self.input(Input::Tick);
    }

    fn stored(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Stored(token) => {
                self.input(Input::Stored { token });
                self.news.stored();
            }
            Outcome::Failed { why, rows } => {
                let again = tokio::time::Instant::now() + limits::REOPEN;
                self.broken = Some(Broken { again, wait: limits::REOPEN, rows: BTreeMap::new() });
                self.write(rows);
                self.input(Input::StoreFailed { why });
            }
        }
    }

    /// Tries whether the store works again. If so, the node is opened anew from what is durable: what was in memory
    /// beyond that was told to nobody.
    fn reopen(&mut self) {
        let Some(mut broken) = self.broken.take() else { return };
        match tokio::task::block_in_place(|| self.try_open(&broken.rows)) {
            Ok(()) => tracing::info!("the store works again"),
            Err(failure) => {
                tracing::debug!(why = failure.text, "the store does not work yet");
                broken.wait = (broken.wait * 2).min(limits::REOPEN_MOST);
                broken.again = tokio::time::Instant::now() + broken.wait;
                self.broken = Some(broken);
            }
        }
    }

    fn try_open(&mut self, rows: &BTreeMap<(Table, Vec<u8>), Row>) -> Result<(), Failure> {
        // The thread lets go of the file as it ends.
        self.writer.finish();
        let Opened { machine, first, kept, store, .. } = self.opening.open()?;
        let rows: Vec<Row> = rows.values().cloned().chain(kept.mark).collect();
        let reader = store.reader();
        (self.writer, self.outcomes) = start_writer(store, &self.opening.place, &rows)?;
        self.machine = machine;
        // Whoever still waits asked a machine that is gone.
        for (_, way) in std::mem::take(&mut self.callers) {
            drop(way.send(Err(Declined::Busy)));
        }
        // Neighbours believe to know what this node has: sessions begin anew.
        for link in std::mem::take(&mut self.links) {
            self.net.close(larder_net::LinkId(link.0));
        }
        self.carry_out(first);
        self.input(Input::Addresses(self.addresses.clone()));
        self.news.reopened(reader);
        Ok(())
    }

    /// Writes rows of the daemon's own, or keeps them until the store works again.
    fn write(&mut self, rows: Vec<Row>) {
        match &mut self.broken {
            Some(broken) => {
                broken.rows.extend(rows.into_iter().map(|row| ((row.table, row.key.clone()), row)));
            }
            None => self.writer.write(Batch { token: None, rows }),
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Request(caller, request, answer) => {
                self.callers.insert(caller, answer);
                self.input(Input::Request { caller, request });
            }
            Ask::Hangup(caller) => {
                if self.callers.remove(&caller).is_some() {
                    self.input(Input::Hangup { caller });
                }
            }
            Ask::Look(look) => look(&mut self.machine),
            Ask::Observed(group, reports) => self.input(Input::Observed { group, reports }),
            Ask::Store(rows) => self.write(rows),
            // Whoever asked may have gone.
            Ask::Snapshot(answer) => drop(answer.send(self.snapshot())),
        }
    }

    fn snapshot(&self) -> Result<Snapshot, Failure> {
        let snapshot = self.writer.snapshot().filter(|_| self.broken.is_none());
        let snapshot =
            snapshot.ok_or_else(|| Failure::failed("the store does not work; see the daemon's log"))?;
        snapshot.map_err(|error| Failure::failed(error.to_string()))
    }

    fn hear(&mut self, event: Event) {
        let texts = |addrs: &[Multiaddr]| addrs.iter().map(Multiaddr::to_string).collect::<Vec<_>>();
        let id = |link: larder_net::LinkId| LinkId(link.0);
        match event {
            Event::Listening { addrs } => {
                self.remember_port(&addrs);
                tracing::info!(addresses = texts(&addrs).join(" "), "listening");
                self.addresses = texts(&addrs);
                self.input(Input::Addresses(texts(&addrs)));
            }
            Event::Seen { peer, addrs, .. } => self.input(Input::Seen { peer, addresses: texts(&addrs) }),
            Event::LinkUp { link, peer, kind, opened, .. } => {
                tracing::debug!(link = link.0, peer = %peer.short(), ?kind, "link up");
                let kind = match kind {
                    larder_net::LinkKind::Member => LinkKind::Member,
                    larder_net::LinkKind::Stranger => LinkKind::Visit,
                };
                self.links.insert(id(link));
                self.tell_link(kind, peer, What::Linked);
                self.input(Input::LinkUp { link: id(link), peer, kind, opened });
            }
            Event::LinkDown { link, peer, reason } => {
                tracing::debug!(link = link.0, peer = %peer.short(), %reason, "link down");
                self.links.remove(&id(link));
                self.tell_link(LinkKind::Member, peer, What::Unlinked);
                self.input(Input::LinkDown { link: id(link) });
            }
            Event::Frame { link, bytes } => self.input(Input::Frame { link: id(link), bytes }),
            Event::Sent { link, bytes } => self.input(Input::Sent { link: id(link), bytes }),
            Event::Refused { peer, .. } => self.input(Input::Refused { peer }),
            Event::VisitFailed { peer, .. } => self.input(Input::VisitFailed { peer }),
            Event::Address { peer, addr } => self.remember(peer, addr.to_string()),
        }
    }

    /// Tells whoever watches a group that the link with a member of it stands or ended.
    fn tell_link(&self, kind: LinkKind, peer: NodeId, what: What) {
        if kind != LinkKind::Member || !self.news.is_watched() {
            return;
        }
        for of in self.machine.groups().filter(|of| of.group.members().contains(&peer)) {
            self.news.tell(of.group.id(), Some(peer), what);
        }
    }

    /// Keeps where a node was reached, for the next start.
    fn remember(&mut self, peer: NodeId, address: String) {
        let known = self.book.entry(peer).or_default();
        if known.first() == Some(&address) {
            return;
        }
        known.retain(|old| *old != address);
        known.insert(0, address);
        known.truncate(limits::BOOK_ADDRESSES);
        let row = Row::put_layout(Table::Addresses, key::node(peer), known);
        let mut rows = vec![row];
        if self.book.len() > limits::BOOK_NODES {
            // Members are few; what is forgotten first is a stranger, or anybody.
            let stranger = self.book.keys().find(|node| !self.machine.is_member(node)).copied();
            if let Some(gone) = stranger.or_else(|| self.book.keys().next().copied()) {
                self.book.remove(&gone);
                rows.push(Row::remove(Table::Addresses, key::node(gone)));
            }
        }
        self.write(rows);
    }

    fn remember_port(&mut self, addrs: &[Multiaddr]) {
        if !std::mem::take(&mut self.keep_port) {
            return;
        }
        let port = addrs.iter().find_map(|addr| {
            let text = addr.to_string();
            text.split_once("/tcp/").and_then(|(_, rest)| rest.split('/').next()?.parse::<u16>().ok())
        });
        if let Some(port) = port {
            let row = Row::put(Table::Meta, b"port".to_vec(), port.to_be_bytes().to_vec());
            self.write(vec![row]);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store { token, rows } => self.writer.write(Batch { token: Some(token), rows }),
                // A link that is gone has told so, or is about to.
                Effect::Send { link, bytes } => drop(self.net.send(larder_net::LinkId(link.0), bytes)),
                Effect::Close { link, why } => {
                    tracing::debug!(link = link.0, why = why.escape_default().to_string(), "closing a link");
                    self.net.close(larder_net::LinkId(link.0));
                }
                Effect::Visit { peer } => {
                    // Too many visits wait already: the machine asks again.
                    let _ = self.net.visit(peer);
                }
                Effect::Members(members) => self.net.members(members),
                Effect::Learn { peer, addresses } => {
                    let addrs = addresses.iter().filter_map(|text| text.parse().ok()).collect();
                    self.net.learn(peer, addrs);
                }
                Effect::Answer { caller, answer } => {
                    if let Some(way) = self.callers.remove(&caller) {
                        drop(way.send(answer));
                    }
                }
                Effect::Changed { group } => self.changes.note(group),
                Effect::Notice(notice) => {
                    lines::notice(&notice);
                    self.news.notice(&notice);
                }
            }
        }
    }
}
