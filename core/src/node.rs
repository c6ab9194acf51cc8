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
//! The contract with the caller:
//!
//! * `now.mono` never goes back; `now.unix_secs` may change in any way.
//! * The caller carries out effects in order. Batches of `Store` become durable in the order of their ids,
//!   each all or none. `Stored` confirms a batch and all before it; `StoreFailed` fails a batch and all after
//!   it. After that the node refuses every request, ignores other inputs and sends nothing, until it is
//!   opened again.
//! * `LinkUp` comes before any frame of a link, `LinkDown` after the last. There is at most one member link
//!   for each peer. Frames on one link arrive whole and in order, or the link goes down.
//! * The node responds to every `Request` once, unless it is cancelled before.
//!
//! No consequence of a change leaves the node before the change is durable: effects wait in an outbox for all
//! batches issued before them.

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
mod guest_opener;
mod guest_streams;
mod input;
mod join;
mod links;
mod liveness;
mod lookup_error;
mod membership_proof;
mod membership_status;
pub mod name_lookup;
mod node_context;
mod node_info;
mod observed_writer;
pub mod offline;
mod outbox;
mod pairing;
mod pending_joins;
mod pending_observations;
mod presence;
mod protocol_error;
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
    AdminOp, AdminRequest, ClockReading, Input, LinkId, LinkKind, MonoTime, Request, RequestId,
    RevertCommand, RevertTarget, StoreBatchId, WriteRequest,
};
pub use lookup_error::{LookupError, NameKind};
pub use membership_status::{MembershipEnd, MembershipStatus};
pub use node_info::{DiscoveredNode, NodeInfo, NodeState};
pub use pairing::{IncomingPairing, OutgoingPairing};
pub use pending_joins::{JoinPhase, PendingJoin};
pub use protocol_error::ProtocolError;
pub use session::SyncSession;
pub use write::{RevertPlan, plan_revert, plan_write};

use crate::group::Group;
use crate::id::{GroupId, NodeId, SecretKey};
use crate::limits;
use crate::store::{GroupRow, JoinRow, LoadError, RowReader, Table, decode_versioned};
use crate::typed_name::GroupName;
use crate::wire::invite_code::InviteCode;
use admission::Admission;
use group_state::{GroupContext, MemberLink};
use guest_backoff::GuestBackoff;
use guest_opener::GuestOpener;
use guest_streams::GuestStreams;
use links::PendingPing;
use node_context::NodeContext;
use outbox::Outbox;
use pairing::{Pairings, exchange};
use pending_joins::PendingJoins;
use presence::LocalInfo;
use rng::SeededRng;

/// The configuration of a node, apart from its stored rows.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The key of the node.
    pub secret: SecretKey,
    /// 256 random bits, new at every start. All random numbers of the node follow from them.
    pub rng_seed: [u8; 32],
    /// The name and version of the software, for display.
    pub software: String,
    /// The name of the host, for display.
    pub host_name: String,
    /// True if the store may be a copy or a backup. The node then begins new chains under a new incarnation.
    pub store_was_copied: bool,
}

/// A node: its groups, links and requests.
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
    /// When each nearby member without a link is sent a membership proof.
    proof_due: BTreeMap<NodeId, MonoTime>,
    pending_pings: BTreeMap<u64, PendingPing>,
    /// The members that the last `SetMembers` named.
    announced_members: BTreeSet<NodeId>,
    /// What `announced_members` follows from: the version of each group's membership, and `leave_confirmed`.
    announced_versions: BTreeMap<GroupId, (u64, bool)>,
    outbox: Outbox,
}

impl Node {
    /// Opens the node that the stored rows describe. Returns it with the first effects.
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

    /// Handles an input. Returns the effects to carry out.
    pub fn handle(&mut self, now: ClockReading, input: Input) -> Vec<Effect> {
        self.now = ClockReading { mono: self.now.mono.max(now.mono), unix_secs: now.unix_secs };
        if self.outbox.failure().is_some() {
            // Memory holds what the disk does not, so no input may build on it.
            if let Input::Request { request_id, request } = input {
                self.handle_request(request_id, request);
            }
            return self.outbox.take_ready();
        }
        match input {
            Input::Tick => timers::run_due(self),
            Input::NodeDiscovered { peer, addresses } => {
                GuestOpener { node: self }.on_node_discovered(peer, addresses)
            }
            Input::LinkUp { link, peer, kind, is_opened_here } => {
                self.link_handler().on_link_up(link, peer, kind, is_opened_here)
            }
            Input::LinkDown { link } => self.link_handler().on_link_down(link),
            Input::FrameReceived { link, bytes } => self.link_handler().on_frame(link, &bytes),
            Input::BytesSent { link, bytes } => self.link_handler().on_bytes_sent(link, bytes),
            Input::LinkRefused { peer } => {
                self.groups.values_mut().for_each(|state| state.on_link_refused(&self.own_id, &peer));
                self.outbox.push(Effect::OpenGuestStream { peer });
            }
            Input::GuestStreamFailed { .. } => {}
            Input::LimitHit { limit_name, limit, hits } => {
                self.limit_stats.record_many(limit_name, limit, hits)
            }
            Input::Stored { batch_id: batch } => self.outbox.on_stored(batch),
            Input::StoreFailed { reason } => {
                self.outbox.on_store_failed(&reason);
                self.outbox.push(Effect::Event(NodeEvent::StoreFailed { reason }));
            }
            Input::OwnAddresses(addresses) => {
                self.local_info.addresses = addresses;
                for state in self.groups.values_mut() {
                    state.request_presence(self.now.mono, limits::PRESENCE_DEBOUNCE_MS);
                }
            }
            Input::Observations { group, observations } => {
                if let Some(state) = self.groups.get_mut(&group) {
                    state.observations.queue(observations, self.now.mono);
                }
            }
            Input::Request { request_id, request } => self.handle_request(request_id, request),
            Input::RequestCancelled { request_id } => {
                self.pending_joins.cancel_request(request_id);
                self.pending_pings.retain(|_, pending| pending.request_id != request_id);
            }
        }
        self.restore_invariants();
        self.outbox.take_ready()
    }

    fn handle_request(&mut self, request_id: RequestId, request: Request) {
        if let Some(reason) = self.outbox.failure() {
            let reason = reason.to_owned();
            return self.outbox.respond(request_id, Err(RequestError::StoreFailed(reason)));
        }
        if self.outbox.is_full() {
            return self.outbox.respond(request_id, Err(RequestError::TooManyPendingWrites));
        }
        let response =
            match request {
                Request::CreateGroup { name } => create_group::create_group(&mut self.context(), &name),
                Request::Write(write) => self
                    .with_own_group(&write.group.clone(), |state, ctx| write::write_edits(state, ctx, write)),
                Request::Revert(command) => self
                    .with_own_group(&command.group.clone(), |state, ctx| write::revert(state, ctx, command)),
                Request::ReplaceNode { group, old_node, note } => self.replace_node(&group, &old_node, note),
                Request::CreateInvite { group, role, max_uses, expires_unix_secs } => {
                    let terms = (role, max_uses, expires_unix_secs);
                    self.with_group(&group, |state, ctx| admission::create_invite(state, ctx, terms))
                }
                Request::RevokeInvite { group, invite } => self.with_group(&group, |state, ctx| {
                    let invite = name_lookup::find_invite(state, &invite)?;
                    admission::revoke_invite(state, ctx, invite)
                }),
                Request::SyncNow { group } => self.with_group(&group, |state, ctx| {
                    state.sync(ctx).send_digest_to_all();
                    Ok(Response::Done)
                }),
                Request::SetPaused { group, paused } => match self.find_group(&group) {
                    Ok(group) => return self.link_handler().set_paused(request_id, group, paused),
                    Err(error) => Err(error.into()),
                },
                Request::Admin(request) => self.handle_admin_request(request),
                Request::Join { code, alias, labels } => {
                    join::start(&mut self.context(), Some(request_id), code, (alias, labels));
                    return GuestOpener { node: self }.open_due_guest_streams();
                }
                Request::Ping { group, node } => {
                    match self.with_group(&group, |state, _| Ok(name_lookup::find_member(state, &node)?)) {
                        Ok(member) => return self.link_handler().send_ping(request_id, member),
                        Err(error) => Err(error),
                    }
                }
                Request::StartPairing { alias, labels } => {
                    exchange::start(&mut self.context(), (alias, labels));
                    GuestOpener { node: self }.open_due_guest_streams();
                    Ok(Response::Done)
                }
                Request::ConfirmDigits { digits } => exchange::confirm(&mut self.context(), digits),
                Request::StopPairing => {
                    self.pairings.outgoing = None;
                    Ok(Response::Done)
                }
                Request::RejectJoin { group, node } => {
                    match name_lookup::find_join_request(self, &group, &node) {
                        Ok(joiner) => exchange::reject(&mut self.context(), &joiner),
                        Err(error) => Err(error.into()),
                    }
                }
            };
        self.outbox.respond(request_id, response);
    }

    /// Restores what must hold after every input.
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
            self.link_handler().announce_members();
        }
        join::finish_synced(&mut self.context());
    }

    /// Runs a request in the group that is meant.
    fn with_group<T>(
        &mut self,
        name: &GroupName,
        run: impl FnOnce(&mut GroupState, &mut GroupContext<'_>) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let group = self.find_group(name)?;
        let (state, mut ctx) = self.group_with_context(group).ok_or(RequestError::UnknownGroup)?;
        run(state, &mut ctx)
    }

    /// Runs a request in the group that is meant, if this node is a member of it.
    fn with_own_group<T>(
        &mut self,
        name: &GroupName,
        run: impl FnOnce(&mut GroupState, &mut GroupContext<'_>) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let group = self.find_own_group(name)?;
        self.with_group(&group.into(), run)
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

    /// The guest streams, and the rest of the node that their handlers need.
    fn split(&mut self) -> (&mut GuestStreams, NodeContext<'_>) {
        let ctx = NodeContext {
            now: self.now,
            own_id: self.own_id,
            secret: &self.secret,
            rng: &mut self.rng,
            groups: &mut self.groups,
            links: &mut self.links,
            joins: &mut self.pending_joins,
            pairings: &mut self.pairings,
            backoff: &mut self.guest_backoff,
            outbox: &mut self.outbox,
            limit_stats: &mut self.limit_stats,
        };
        (&mut self.guest_streams, ctx)
    }

    /// The rest of the node, without its guest streams.
    fn context(&mut self) -> NodeContext<'_> {
        self.split().1
    }

    /// This node's id.
    pub fn own_id(&self) -> NodeId {
        self.own_id
    }

    /// True if `node` is a member of a group of this node.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.announced_members.contains(node)
    }

    /// The groups of this node, by id.
    pub fn groups(&self) -> impl Iterator<Item = &GroupState> {
        self.groups.values()
    }

    /// The group with that id.
    pub fn group(&self, id: &GroupId) -> Option<&GroupState> {
        self.groups.get(id)
    }

    /// The group with that id, for queries that fill caches.
    pub fn group_mut(&mut self, id: &GroupId) -> Option<&mut GroupState> {
        self.groups.get_mut(id)
    }

    /// The limits that were hit since the node was opened.
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

    /// True if all of memory is durable.
    pub fn is_durable(&self) -> bool {
        self.outbox.is_durable()
    }

    /// The error of the store, if it failed.
    pub fn store_failure(&self) -> Option<&str> {
        self.outbox.failure()
    }
}
