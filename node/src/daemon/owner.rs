//! The owner task: it alone calls `Node::handle`, turns every event into an input, and carries out the
//! effects in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use larder_core::backoff::Backoff;
use larder_core::id::NodeId;
use larder_core::node::{Effect, Input, LinkId, LinkKind, Node, RequestError, RequestId, Response};
use larder_core::store::{Row, Table, key};
use larder_net::{EventReceiver, Multiaddr, NetEvent, NetHandle};
use tokio::sync::{mpsc, oneshot, watch};

use super::clock::ProcessClock;
use super::dirty_groups::DirtyGroups;
use super::event_bus::{EventBus, TransientKind};
use super::event_log;
use super::handle::OwnerCommand;
use super::open::{OpenArgs, OpenedNode};
use super::stop::stop_requested;
use crate::error::CliError;
use crate::limits;
use crate::store::{CommitOutcome, StoreSnapshot, StoreWriter, WriteBatch};

/// The node with all that carries out its effects.
pub(super) struct Owner {
    pub(super) node: Node,
    pub(super) net: NetHandle,
    pub(super) net_events: EventReceiver,
    pub(super) writer: StoreWriter,
    pub(super) commit_outcomes: mpsc::UnboundedReceiver<CommitOutcome>,
    pub(super) commands: mpsc::Receiver<OwnerCommand>,
    pub(super) dirty_groups: Arc<DirtyGroups>,
    pub(super) event_bus: EventBus,
    /// True until the listen port is saved for the next start.
    pub(super) save_port: bool,
    pub(super) addresses_by_node: BTreeMap<NodeId, Vec<String>>,
    pub(super) response_senders: BTreeMap<RequestId, oneshot::Sender<Result<Response, RequestError>>>,
    pub(super) clock: ProcessClock,
    /// The multiaddresses at which this node listens.
    pub(super) listen_addresses: Vec<String>,
    /// The open links and guest streams.
    pub(super) links: BTreeSet<LinkId>,
    /// The arguments to open the store again.
    pub(super) open_args: OpenArgs,
    /// Set while the store is out of order.
    pub(super) outage: Option<StoreOutage>,
}

/// The state of a store that failed, until it works again.
pub(super) struct StoreOutage {
    /// When the store is opened next.
    retry_at: tokio::time::Instant,
    backoff: Backoff,
    /// The daemon's own rows that are still to be written: the newest of each key.
    unwritten_rows: BTreeMap<(Table, Vec<u8>), Row>,
}

/// Returns at `deadline`, or never if there is none.
async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Owner {
    /// Runs until `stop` is set. Then it closes the links and waits until all rows are durable.
    pub(super) async fn run(mut self, initial_effects: Vec<Effect>, mut stop: watch::Receiver<bool>) {
        self.apply_effects(initial_effects);
        loop {
            let retry_at = self.outage.as_ref().map(|outage| outage.retry_at);
            let next_wake = self.node.next_wake_at().map(|at| self.clock.to_instant(at));
            tokio::select! {
                biased;
                () = stop_requested(&mut stop) => break,
                () = sleep_until(retry_at) => self.try_reopen_store(),
                // After a failure the writer task is gone. The daemon continues and refuses writes.
                Some(outcome) = self.commit_outcomes.recv() => self.on_commit_outcome(outcome),
                () = sleep_until(next_wake) => self.handle_input(Input::Tick),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                event = self.net_events.recv() => match event {
                    Some(event) => self.on_net_event(event),
                    None => break,
                },
            }
        }
        self.shut_down().await;
    }

    async fn shut_down(mut self) {
        self.net.shutdown();
        let drain_events = async { while self.net_events.recv().await.is_some() {} };
        drop(tokio::time::timeout(limits::SHUTDOWN_TIMEOUT, drain_events).await);
        let mut writer = self.writer;
        drop(tokio::task::spawn_blocking(move || writer.close()).await);
    }

    fn handle_input(&mut self, input: Input) {
        let effects = self.node.handle(self.clock.now(), input);
        self.apply_effects(effects);
        self.event_bus.on_input_handled();
    }

    /// Passes the network's limit hits to the node, so that a query sees them.
    fn collect_limit_hits(&mut self) {
        for (limit_name, hit) in self.net.take_limit_hits().iter() {
            self.handle_input(Input::LimitHit { limit_name, limit: hit.limit, hits: hit.count });
        }
    }

    fn on_commit_outcome(&mut self, outcome: CommitOutcome) {
        match outcome {
            CommitOutcome::Stored(batch_id) => {
                self.handle_input(Input::Stored { batch_id });
                self.event_bus.on_stored();
            }
            CommitOutcome::Failed { reason, unwritten_rows: rows } => {
                let mut backoff = Backoff::new(limits::STORE_REOPEN_DELAY, limits::STORE_REOPEN_MAX_DELAY);
                let retry_at = tokio::time::Instant::now() + backoff.next_delay();
                self.outage = Some(StoreOutage { retry_at, backoff, unwritten_rows: BTreeMap::new() });
                self.write_own_rows(rows);
                self.handle_input(Input::StoreFailed { reason });
            }
        }
    }

    /// Tries to open the store. If it works, the node is opened again from what is durable; what was in
    /// memory beyond that has left the node nowhere.
    fn try_reopen_store(&mut self) {
        let Some(mut outage) = self.outage.take() else { return };
        match tokio::task::block_in_place(|| self.reopen_from_disk(&outage.unwritten_rows)) {
            Ok(()) => tracing::info!("the store works again"),
            Err(failure) => {
                tracing::debug!(why = failure.text, "the store does not work yet");
                outage.retry_at = tokio::time::Instant::now() + outage.backoff.next_delay();
                self.outage = Some(outage);
            }
        }
    }

    fn reopen_from_disk(&mut self, unwritten_rows: &BTreeMap<(Table, Vec<u8>), Row>) -> Result<(), CliError> {
        // The writer thread releases the file as it ends.
        self.writer.close();
        let OpenedNode { node, initial_effects, daemon_rows, store, .. } = self.open_args.open()?;
        let rows: Vec<Row> = unwritten_rows.values().cloned().chain(daemon_rows.identity_rows).collect();
        let reader = store.reader();
        (self.writer, self.commit_outcomes) = StoreWriter::start(store, &self.open_args.data_dir, &rows)?;
        self.node = node;
        // The node that had these requests is gone.
        for (_, sender) in std::mem::take(&mut self.response_senders) {
            drop(sender.send(Err(RequestError::TooManyPendingWrites)));
        }
        // Neighbours rely on what this node had before, so all sessions begin again.
        for link in std::mem::take(&mut self.links) {
            self.net.close_link(link);
        }
        self.apply_effects(initial_effects);
        self.handle_input(Input::OwnAddresses(self.listen_addresses.clone()));
        self.event_bus.on_store_reopened(reader);
        Ok(())
    }

    /// Writes the daemon's own rows, or keeps them until the store works again.
    fn write_own_rows(&mut self, rows: Vec<Row>) {
        match &mut self.outage {
            Some(outage) => {
                outage.unwritten_rows.extend(rows.into_iter().map(|row| ((row.table, row.key.clone()), row)));
            }
            None => self.writer.queue(WriteBatch { id: None, rows }),
        }
    }

    fn on_command(&mut self, command: OwnerCommand) {
        match command {
            OwnerCommand::Request(request_id, request, response_sender) => {
                self.response_senders.insert(request_id, response_sender);
                self.handle_input(Input::Request { request_id, request });
            }
            OwnerCommand::Cancel(request_id) => {
                if self.response_senders.remove(&request_id).is_some() {
                    self.handle_input(Input::RequestCancelled { request_id });
                }
            }
            OwnerCommand::Query(query) => {
                self.collect_limit_hits();
                query(&mut self.node);
            }
            OwnerCommand::ReportObserved(group, observations) => {
                self.handle_input(Input::Observations { group, observations })
            }
            OwnerCommand::StoreRows(rows) => self.write_own_rows(rows),
            // The receiver may be gone.
            OwnerCommand::Snapshot(response_sender) => drop(response_sender.send(self.snapshot())),
        }
    }

    fn snapshot(&self) -> Result<StoreSnapshot, CliError> {
        let snapshot = self.writer.snapshot().filter(|_| self.outage.is_none());
        let snapshot =
            snapshot.ok_or_else(|| CliError::failed("the store does not work; see the daemon's log"))?;
        snapshot.map_err(|error| CliError::failed(error.to_string()))
    }

    fn on_net_event(&mut self, event: NetEvent) {
        let to_strings = |addrs: &[Multiaddr]| addrs.iter().map(Multiaddr::to_string).collect::<Vec<_>>();
        match event {
            NetEvent::Listening { addrs } => {
                self.save_listen_port(&addrs);
                tracing::info!(addresses = to_strings(&addrs).join(" "), "listening");
                self.listen_addresses = to_strings(&addrs);
                self.handle_input(Input::OwnAddresses(to_strings(&addrs)));
            }
            NetEvent::NodeDiscovered { peer, addrs, .. } => {
                self.handle_input(Input::NodeDiscovered { peer, addresses: to_strings(&addrs) })
            }
            NetEvent::LinkUp { link, peer, kind, is_opened_here: opened, .. } => {
                tracing::debug!(link = link.0, peer = %peer.short(), ?kind, "link up");
                self.links.insert(link);
                self.publish_link_event(kind, peer, TransientKind::Linked);
                self.handle_input(Input::LinkUp { link, peer, kind, is_opened_here: opened });
            }
            NetEvent::LinkDown { link, peer, reason } => {
                tracing::debug!(link = link.0, peer = %peer.short(), %reason, "link down");
                self.links.remove(&link);
                self.publish_link_event(LinkKind::Member, peer, TransientKind::Unlinked);
                self.handle_input(Input::LinkDown { link });
            }
            NetEvent::FrameReceived { link, bytes } => {
                self.handle_input(Input::FrameReceived { link, bytes })
            }
            NetEvent::BytesSent { link, bytes } => self.handle_input(Input::BytesSent { link, bytes }),
            NetEvent::LinkRefused { peer, .. } => self.handle_input(Input::LinkRefused { peer }),
            NetEvent::GuestStreamFailed { peer, .. } => self.handle_input(Input::GuestStreamFailed { peer }),
            NetEvent::AddressConfirmed { peer, addr } => self.remember_address(peer, addr.to_string()),
        }
    }

    /// Publishes to the watchers of a group that the link with a member opened or closed.
    fn publish_link_event(&self, kind: LinkKind, peer: NodeId, transient_kind: TransientKind) {
        if kind != LinkKind::Member || !self.event_bus.is_watched() {
            return;
        }
        for state in self.node.groups().filter(|state| state.group.members().is_member(&peer)) {
            self.event_bus.publish(state.group.id(), Some(peer), transient_kind);
        }
    }

    /// Saves the address at which a node was reached, for the next start.
    fn remember_address(&mut self, peer: NodeId, address: String) {
        let addresses = self.addresses_by_node.entry(peer).or_default();
        if addresses.first() == Some(&address) {
            return;
        }
        addresses.retain(|old| *old != address);
        addresses.insert(0, address);
        addresses.truncate(limits::MAX_ADDRESSES_PER_NODE);
        let row = Row::put_encoded(Table::Addresses, key::addresses(peer), addresses);
        let mut rows = vec![row];
        if self.addresses_by_node.len() > limits::MAX_REMEMBERED_NODES {
            // A node that is not a member is forgotten first.
            let non_member = self.addresses_by_node.keys().find(|node| !self.node.is_member(node)).copied();
            if let Some(evicted) = non_member.or_else(|| self.addresses_by_node.keys().next().copied()) {
                self.addresses_by_node.remove(&evicted);
                rows.push(Row::remove(Table::Addresses, key::addresses(evicted)));
            }
        }
        self.write_own_rows(rows);
    }

    fn save_listen_port(&mut self, addrs: &[Multiaddr]) {
        if !std::mem::take(&mut self.save_port) {
            return;
        }
        let port = addrs.iter().find_map(|addr| {
            let text = addr.to_string();
            text.split_once("/tcp/").and_then(|(_, rest)| rest.split('/').next()?.parse::<u16>().ok())
        });
        if let Some(port) = port {
            let row = Row::put(Table::Meta, b"port".to_vec(), port.to_be_bytes().to_vec());
            self.write_own_rows(vec![row]);
        }
    }

    fn apply_effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store { batch_id, rows } => {
                    self.writer.queue(WriteBatch { id: Some(batch_id), rows })
                }
                // If the link is gone, its `LinkDown` was received or follows.
                Effect::Send { link, bytes } => drop(self.net.send_frame(link, bytes)),
                Effect::Close { link, reason: why } => {
                    tracing::debug!(link = link.0, why = why.escape_default().to_string(), "closing a link");
                    self.net.close_link(link);
                }
                Effect::OpenGuestStream { peer } => {
                    // If too many guest streams wait already, the node tries again later.
                    let _ = self.net.open_guest_stream(peer);
                }
                Effect::SetMembers(members) => self.net.set_members(members),
                Effect::LearnAddresses { peer, addresses } => {
                    let addrs = addresses.iter().filter_map(|text| text.parse().ok()).collect();
                    self.net.learn_addresses(peer, addrs);
                }
                Effect::Respond { request_id, response: answer } => {
                    if let Some(sender) = self.response_senders.remove(&request_id) {
                        drop(sender.send(answer));
                    }
                }
                Effect::DesiredChanged { group } => self.dirty_groups.mark_dirty(group),
                Effect::Event(event) => {
                    event_log::log_event(&event);
                    self.event_bus.on_node_event(&event);
                }
            }
        }
    }
}
