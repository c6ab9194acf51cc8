//! A whole node as a state machine: inputs in, effects out.
//!
//! ```text
//! let (mut node, effects) = Node::open(config, now, &store)?;    // what was stored, read once
//! loop {
//!     carry out the effects, in order
//!     wait for an input, or until node.next_wake_at()
//!     effects = node.handle(now, input)
//! }
//! ```
//!
//! The contract:
//!
//! * `now.mono` never goes back; `now.wall` may do what it likes.
//! * Effects are carried out in order. `StoreRows` batches become durable in order of token, each all or none, and each is
//!   confirmed by `Stored` (one confirmation may stand for many) or refuted, with all after it, by `StoreFailed`. From
//!   then on the machine declines every request, takes no other input and sends nothing: it is to be opened anew.
//! * `LinkUp` comes before any frame of a link, `LinkDown` after the last. At most one member link per peer is up at any
//!   time. Frames on one link arrive whole and in order, or the link goes down.
//! * Every `Request` is answered once, unless its caller hangs up before.
//!
//! Nothing that follows from a change leaves the node before the change is durable: effects wait in an outbox for all
//! batches issued before them. Once a batch failed, nothing is written, taken in or told any more, until the node is
//! opened again.

mod admin;
mod admission;
mod anti_entropy;
mod broadcast;
mod create_group;
mod dispatch;
mod effect;
mod fetch;
mod group_state;
mod guest_backoff;
mod guest_streams;
mod input;
mod join;
mod links;
mod liveness;
mod membership_proof;
mod membership_status;
mod node_context;
mod node_info;
mod observed_writer;
mod outbox;
mod pairing;
mod presence;
mod protocol_error;
mod push_limiter;
mod record_issuer;
mod requested_ranges;
mod rng;
mod session;
mod sync_handler;
#[cfg(test)]
mod tests;
mod timers;
mod write;

use std::collections::{BTreeMap, BTreeSet};

pub use crate::limit_stats::{LimitHit, LimitStats};
pub use effect::{Effect, NodeEvent, RequestError, Response};
pub use group_state::GroupState;
pub use input::{
    AdminOp, AdminRequest, ClockReading, Input, LinkId, LinkKind, MonoTime, Request, RequestId, StoreBatchId,
    WriteRequest,
};
pub use join::{JoinPhase, PendingJoin};
pub use membership_status::{MembershipEnd, MembershipStatus};
pub use node_info::{DiscoveredNode, NodeInfo, NodeState};
pub use pairing::{IncomingPairing, OutgoingPairing};
pub use protocol_error::ProtocolError;
pub use session::SyncSession;

use crate::group::Group;
use crate::id::{GroupId, NodeId, SecretKey};
use crate::store::{GroupRow, JoinRow, LoadError, RowReader, Table, decode_versioned};
use crate::wire::invite_code::InviteCode;
use admission::Admission;
use group_state::{GroupContext, MemberLink};
use guest_backoff::GuestBackoff;
use guest_streams::GuestStreams;
use join::PendingJoins;
use links::PendingPing;
use outbox::Outbox;
use pairing::Pairings;
use presence::LocalInfo;
use rng::SeededRng;

/// What a node is, apart from what it has stored.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its key.
    pub secret: SecretKey,
    /// 256 bits of chance, fresh at every start: all that the machine draws follows from it.
    pub rng_seed: [u8; 32],
    /// Its software and version, for people.
    pub software: String,
    /// Its host name, which is only a label.
    pub host_name: String,
    /// True if the store may be a copy or an old one: every chain is then left, and a new incarnation begun.
    pub store_was_copied: bool,
}

/// A whole node.
#[derive(Clone, Debug)]
pub struct Node {
    own_id: NodeId,
    secret: SecretKey,
    rng: SeededRng,
    now: ClockReading,
    local_info: LocalInfo,
    groups: BTreeMap<GroupId, GroupState>,
    pending_joins: PendingJoins,
    pairings: Pairings,
    guest_backoff: GuestBackoff,
    limit_stats: LimitStats,
    links: BTreeMap<LinkId, MemberLink>,
    guest_streams: GuestStreams,
    discovered: BTreeMap<NodeId, DiscoveredNode>,
    /// Members that are near and yet not linked: when each is to be shown who this node is.
    proof_due: BTreeMap<NodeId, MonoTime>,
    pending_pings: BTreeMap<u64, PendingPing>,
    /// The members that were told last.
    announced_members: BTreeSet<NodeId>,
    /// What that followed from: which reading of each group's records, and whether it was told that this node left.
    announced_versions: BTreeMap<GroupId, (u64, bool)>,
    outbox: Outbox,
}

impl Node {
    /// The node that these rows describe. Answers it with the first effects to carry out.
    pub fn open<R: RowReader>(
        config: NodeConfig,
        now: ClockReading,
        store: &R,
    ) -> Result<(Self, Vec<Effect>), LoadError> {
        let read_rows =
            |table| store.read_rows(table, &[]).map_err(|error| LoadError::Read(error.to_string()));
        let damaged = |what: &str| LoadError::Damaged(what.to_owned());
        let mut rng = SeededRng::new(config.rng_seed);
        let boot_id = rng.next_u64();
        let local_info = LocalInfo {
            boot_id,
            software: config.software,
            host_name: config.host_name,
            addresses: Vec::new(),
        };
        let mut node = Self {
            own_id: config.secret.node_id(),
            secret: config.secret,
            rng,
            now,
            local_info,
            groups: BTreeMap::new(),
            pending_joins: PendingJoins::default(),
            pairings: Pairings::default(),
            guest_backoff: GuestBackoff::default(),
            limit_stats: LimitStats::default(),
            links: BTreeMap::new(),
            guest_streams: GuestStreams::default(),
            discovered: BTreeMap::new(),
            proof_due: BTreeMap::new(),
            pending_pings: BTreeMap::new(),
            announced_members: BTreeSet::new(),
            announced_versions: BTreeMap::new(),
            outbox: Outbox::default(),
        };
        for (key, value) in read_rows(Table::Groups)? {
            let id = GroupId::from_slice(&key).ok_or_else(|| damaged("a row of `groups`"))?;
            let row: GroupRow = decode_versioned(Table::Groups, &value)?;
            let mut group = Group::load(store, id, row.genesis)?;
            if config.store_was_copied {
                node.outbox.store_batch(group.abandon_own_chains());
                node.outbox.push(Effect::Event(NodeEvent::IncarnationRenewed { group: id }));
            }
            node.outbox.store_batch(group.take_repair_rows());
            let mut state = GroupState::new(group, now);
            state.paused = row.paused;
            state.store_was_copied = config.store_was_copied;
            state.refetching = row.refetching;
            state.admission = Admission::load(store, id)?;
            node.groups.insert(id, state);
            node.outbox.push(Effect::DesiredChanged { group: id });
        }
        for (_, value) in read_rows(Table::Joins)? {
            let row: JoinRow = decode_versioned(Table::Joins, &value)?;
            let code = InviteCode::from_bytes(&row.code).ok_or_else(|| damaged("a row of `joins`"))?;
            join::start(&mut node.context(), None, code, (row.alias, row.labels));
        }
        node.restore_invariants();
        let effects = node.outbox.take_ready();
        Ok((node, effects))
    }

    /// Takes in what happened; answers what is to be done.
    pub fn handle(&mut self, now: ClockReading, input: Input) -> Vec<Effect> {
        self.now = ClockReading { mono: self.now.mono.max(now.mono), unix_secs: now.unix_secs };
        if self.outbox.failure().is_some() {
            // Neither taken in nor given away: what is here and not on the disk must not be built upon.
            if let Input::Request { caller: request_id, request } = input {
                self.handle_request(request_id, request);
            }
            return self.outbox.take_ready();
        }
        match input {
            Input::Tick => self.on_tick(),
            Input::NodeDiscovered { peer, addresses } => self.on_node_discovered(peer, addresses),
            Input::LinkUp { link, peer, kind, opened_here: opened } => {
                self.on_link_up(link, peer, kind, opened)
            }
            Input::LinkDown { link } => self.on_link_down(link),
            Input::FrameReceived { link, bytes } => self.on_frame(link, &bytes),
            Input::BytesSent { link, bytes } => self.on_bytes_sent(link, bytes),
            Input::LinkRefused { peer } => {
                self.on_link_refused(peer);
                self.outbox.push(Effect::OpenGuestStream { peer });
            }
            Input::GuestStreamFailed { .. } => {}
            Input::LimitHit { limit_name, limit, hits } => {
                self.limit_stats.record_many(limit_name, limit, hits)
            }
            Input::Stored { token: batch } => self.outbox.on_stored(batch),
            Input::StoreFailed { why: reason } => {
                self.outbox.on_store_failed(&reason);
                self.outbox.push(Effect::Event(NodeEvent::StoreFailed { reason }));
            }
            Input::OwnAddresses(addresses) => self.on_own_addresses(addresses),
            Input::Observations { group, reports: observations } => {
                self.queue_observations(group, observations)
            }
            Input::Request { caller: request_id, request } => self.handle_request(request_id, request),
            Input::RequestCancelled { caller: request_id } => self.cancel_request(request_id),
        }
        self.restore_invariants();
        self.outbox.take_ready()
    }

    fn handle_request(&mut self, request_id: RequestId, request: Request) {
        if let Some(reason) = self.outbox.failure() {
            let reason = reason.to_owned();
            return self.respond_error(request_id, RequestError::StoreFailed(reason));
        }
        if self.outbox.is_full() {
            return self.respond_error(request_id, RequestError::TooManyPendingWrites);
        }
        let response = match request {
            Request::CreateGroup { name } => create_group::create_group(&mut self.context(), &name),
            Request::Write(write) => {
                self.with_group(write.group, |state, ctx| write::write_edits(state, ctx, write))
            }
            Request::Revert { group, back: request, note } => {
                self.with_group(group, |state, ctx| write::revert(state, ctx, &request, note))
            }
            Request::CreateInvite { group, role, max_uses, expires_unix_secs } => {
                let terms = (role, max_uses, expires_unix_secs);
                self.with_group(group, |state, ctx| admission::create_invite(state, ctx, terms))
            }
            Request::RevokeInvite { group, invite } => {
                self.with_group(group, |state, ctx| admission::revoke_invite(state, ctx, invite))
            }
            Request::SyncNow { group } => self.with_group(group, |state, ctx| {
                state.sync(ctx).send_digest_to_all();
                Ok(Response::Done)
            }),
            Request::SetPaused { group, paused } => return self.set_paused(request_id, group, paused),
            Request::Admin(request) => self.handle_admin_request(request),
            Request::Join { code, alias, labels } => {
                join::start(&mut self.context(), Some(request_id), code, (alias, labels));
                return self.open_due_guest_streams();
            }
            Request::Ping { node } => return self.send_ping(request_id, node),
            Request::StartPairing { alias, labels } => {
                pairing::start(&mut self.context(), (alias, labels));
                self.open_due_guest_streams();
                Ok(Response::Done)
            }
            Request::ConfirmDigits { digits } => pairing::confirm(&mut self.context(), digits),
            Request::StopPairing => {
                self.pairings.outgoing = None;
                Ok(Response::Done)
            }
            Request::RejectJoin { node } => pairing::reject(&mut self.context(), &node),
        };
        self.outbox.respond(request_id, response);
    }

    fn respond_error(&mut self, request_id: RequestId, error: RequestError) {
        self.outbox.respond(request_id, Err(error));
    }

    fn cancel_request(&mut self, request_id: RequestId) {
        self.pending_joins.cancel_request(request_id);
        self.pending_pings.retain(|_, pending| pending.request_id != request_id);
    }

    /// What has to be true after every input.
    fn restore_invariants(&mut self) {
        for state in self.groups.values_mut() {
            state.group.flush_documents();
            self.outbox.push_events(state.report_newly_isolated());
        }
        let versions = || {
            self.groups
                .iter()
                .map(|(id, state)| (*id, (state.group.membership_records().version(), state.leave_confirmed)))
        };
        if !versions().eq(self.announced_versions.iter().map(|(id, version)| (*id, *version))) {
            self.announced_versions = versions().collect();
            self.announce_members();
        }
        join::finish_synced(&mut self.context());
    }

    /// Who is a member of some group may have changed: tells whom to keep links with, and syncs every group over the
    /// links that stand already.
    fn announce_members(&mut self) {
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            if let Some((state, mut ctx)) = self.group_with_context(group) {
                state.close_nonmember_sessions(&mut ctx);
            }
        }
        let linked_groups = self.groups.values().filter(|state| state.needs_links(&self.own_id));
        let members: BTreeSet<NodeId> = linked_groups
            .flat_map(|state| state.group.members().nodes())
            .filter(|key| *key != self.own_id)
            .collect();
        if members != self.announced_members {
            self.announced_members = members.clone();
            self.outbox.push(Effect::SetMembers(members));
            self.schedule_membership_proofs();
        }
        self.open_sessions();
    }

    /// Runs a request in one group.
    fn with_group<T>(
        &mut self,
        group: GroupId,
        run: impl FnOnce(&mut GroupState, &mut GroupContext<'_>) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let (state, mut ctx) = self.group_with_context(group).ok_or(RequestError::UnknownGroup)?;
        run(state, &mut ctx)
    }

    fn group_with_context(&mut self, group: GroupId) -> Option<(&mut GroupState, GroupContext<'_>)> {
        let state = self.groups.get_mut(&group)?;
        let (now, own_id) = (self.now, self.own_id);
        Some((
            state,
            GroupContext {
                group,
                now,
                own_id,
                secret: &self.secret,
                rng: &mut self.rng,
                outbox: &mut self.outbox,
                links: &mut self.links,
                limit_stats: &mut self.limit_stats,
            },
        ))
    }

    /// Who this node is.
    pub fn own_id(&self) -> NodeId {
        self.own_id
    }

    /// True if that node is a member of any group of this one.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.announced_members.contains(node)
    }

    /// The groups this node is in, by id.
    pub fn groups(&self) -> impl Iterator<Item = &GroupState> {
        self.groups.values()
    }

    /// One of them.
    pub fn group(&self, id: &GroupId) -> Option<&GroupState> {
        self.groups.get(id)
    }

    /// One of them, to ask for what is computed when asked for.
    pub fn group_mut(&mut self, id: &GroupId) -> Option<&mut GroupState> {
        self.groups.get_mut(id)
    }

    /// Bounds that were reached since the daemon started.
    pub fn limit_stats(&self) -> &LimitStats {
        &self.limit_stats
    }

    /// The joins that are not complete.
    pub fn pending_joins(&self) -> impl Iterator<Item = (&GroupId, &PendingJoin)> {
        self.pending_joins.iter()
    }

    /// The pairing that this node asked for.
    pub fn outgoing_pairing(&self) -> Option<&OutgoingPairing> {
        self.pairings.outgoing.as_ref()
    }

    /// True if everything that is in memory is durable.
    pub fn is_durable(&self) -> bool {
        self.outbox.is_durable()
    }

    /// Why nothing can be stored any more, if that is so.
    pub fn store_failure(&self) -> Option<&str> {
        self.outbox.failure()
    }
}
