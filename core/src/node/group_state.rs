//! One group on this node: its data, sessions, presence, admission and pending observations.

use std::collections::BTreeMap;

use super::admission::Admission;
use super::effect::{Effect, NodeEvent};
use super::input::{ClockReading, LinkId, MonoTime};
use super::liveness::LivenessTable;
use super::outbox::Outbox;
use super::pending_observations::PendingObservations;
use super::requested_ranges::RequestedRanges;
use super::rng::SeededRng;
use super::session::SyncSession;
use crate::group::{Group, WriteOutcome};
use crate::id::{Digest, GroupId, NodeId, SecretKey, ShardId};
use crate::limit_stats::LimitStats;
use crate::limits;
use crate::rate_limiter::KeyedRateLimiter;
use crate::store::{GroupRow, LAYOUT_VERSION, Row, Table, key};
use crate::wire::member::GroupFrame;

/// A link with a member, for all groups that both share.
#[derive(Clone, Debug)]
pub(super) struct MemberLink {
    pub(super) peer: NodeId,
    /// True once the peer sent a Hello with a common protocol version.
    pub(super) has_greeted: bool,
    /// Bytes handed to the link that have not reached the socket.
    pub(super) pending_bytes: usize,
    /// When the last frame was sent.
    pub(super) last_sent_at: MonoTime,
}

impl MemberLink {
    pub(super) fn new(peer: NodeId, now: MonoTime) -> Self {
        Self { peer, has_greeted: false, pending_bytes: 0, last_sent_at: now }
    }

    /// True if so many bytes wait for the link that what can be sent later has to wait.
    pub(super) fn is_backpressured(&self) -> bool {
        self.pending_bytes > limits::MAX_LINK_PENDING_BYTES
    }

    /// Counts a frame that is handed to the link.
    pub(super) fn record_sent(&mut self, now: MonoTime, bytes: usize) {
        self.pending_bytes += bytes;
        self.last_sent_at = now;
    }
}

/// What the node lends a group for one input.
pub(super) struct GroupContext<'a> {
    pub(super) group: GroupId,
    pub(super) now: ClockReading,
    pub(super) own_id: NodeId,
    pub(super) secret: &'a SecretKey,
    pub(super) rng: &'a mut SeededRng,
    pub(super) outbox: &'a mut Outbox,
    pub(super) links: &'a mut BTreeMap<LinkId, MemberLink>,
    pub(super) limit_stats: &'a mut LimitStats,
}

impl GroupContext<'_> {
    /// Sends a frame of the group. After a store failure only presence is sent.
    pub(super) fn send(&mut self, link: LinkId, frame: &GroupFrame) {
        if self.outbox.has_failed() && !matches!(frame, GroupFrame::Presence(_)) {
            return;
        }
        let bytes = frame.encode(self.group);
        if let Some(link) = self.links.get_mut(&link) {
            link.record_sent(self.now.mono, bytes.len());
        }
        self.outbox.push(Effect::Send { link, bytes });
    }

    pub(super) fn emit_event(&mut self, event: NodeEvent) {
        self.outbox.push(Effect::Event(event));
    }

    /// True if so many bytes wait for a link that what can be sent later has to wait.
    pub(super) fn is_backpressured(&self, link: LinkId) -> bool {
        self.free_bytes(link).is_none()
    }

    /// How many bytes fit before the link is backpressured; `None` if it is.
    pub(super) fn free_bytes(&self, link: LinkId) -> Option<usize> {
        self.links.get(&link).and_then(|link| limits::MAX_LINK_PENDING_BYTES.checked_sub(link.pending_bytes))
    }
}

/// One group on this node: the data and its sync.
#[derive(Clone, Debug)]
pub struct GroupState {
    /// The records and shards of the group.
    pub group: Group,
    /// True while an operator has paused the sync.
    pub paused: bool,
    /// True after damage, until this copy is in sync with a member's. It may lack any change until then.
    pub refetching: bool,
    /// The sync sessions with neighbours.
    pub(super) sessions: BTreeMap<LinkId, SyncSession>,
    pub(super) liveness: LivenessTable,
    pub(super) requested_ranges: RequestedRanges,
    /// The invites made here, and the join requests that wait or are forwarded.
    pub admission: Admission,
    /// The pushes of each author.
    pub(super) push_limiter: KeyedRateLimiter<NodeId, MonoTime>,
    pub(super) presence_sequence: u64,
    /// When the next presence is due; `None` while there is no session.
    pub(super) presence_due: Option<MonoTime>,
    /// When shards that have grown enough are written out; `None` if nothing changed since.
    pub(super) snapshot_due: Option<MonoTime>,
    pub(super) observations: PendingObservations,
    /// When a membership proof was last requested on each link.
    pub(super) proof_requested: BTreeMap<LinkId, MonoTime>,
    /// When a membership proof was last sent on each link.
    pub(super) proof_sent: BTreeMap<LinkId, MonoTime>,
    /// True once a peer sent changes of this node's key that it does not have, see
    /// [`super::NodeEvent::DuplicateKey`].
    pub has_duplicate_key: bool,
    /// True if the store was copied, moved or restored before this start. The node began new chains then.
    pub store_was_copied: bool,
    /// True once a member has the record that this node left.
    pub(super) leave_confirmed: bool,
    /// The shards that `report_newly_isolated` saw last.
    isolated_shards: Vec<ShardId>,
    cached_digest: Option<Digest>,
}

impl GroupState {
    pub(super) fn new(group: Group, now: ClockReading) -> Self {
        Self {
            group,
            paused: false,
            refetching: false,
            sessions: BTreeMap::new(),
            liveness: LivenessTable::default(),
            requested_ranges: RequestedRanges::default(),
            admission: Admission::default(),
            push_limiter: KeyedRateLimiter::new(limits::MAX_RATE_LIMITED_AUTHORS),
            presence_sequence: 0,
            presence_due: None,
            snapshot_due: Some(now.mono),
            observations: PendingObservations::default(),
            proof_requested: BTreeMap::new(),
            proof_sent: BTreeMap::new(),
            has_duplicate_key: false,
            store_was_copied: false,
            leave_confirmed: false,
            isolated_shards: Vec::new(),
            cached_digest: None,
        }
    }

    pub(super) fn id(&self) -> GroupId {
        self.group.id()
    }

    /// The digest of all that is here, cached until the group changes.
    pub fn digest(&mut self) -> Digest {
        let group = &self.group;
        *self.cached_digest.get_or_insert_with(|| group.digest(&group.shard_states().faulty_shards()))
    }

    /// Reports shards that a defect has isolated since the last call. Digests leave them out.
    pub(super) fn report_newly_isolated(&mut self) -> Vec<NodeEvent> {
        let group = self.id();
        let isolated_now = self.group.shard_states().faulty_shards();
        if isolated_now == self.isolated_shards {
            return Vec::new();
        }
        self.cached_digest = None;
        let isolated_before = std::mem::replace(&mut self.isolated_shards, isolated_now);
        let newly_isolated =
            self.isolated_shards.iter().filter(|shard_id| !isolated_before.contains(shard_id));
        newly_isolated
            .filter_map(|shard_id| self.group.shard_by_id(shard_id)?.document().fault())
            .map(|fault| NodeEvent::ShardIsolated { group, reason: fault.to_string() })
            .collect()
    }

    /// Follows every change of the group's records or changes.
    pub(super) fn on_group_changed(&mut self, now: MonoTime) {
        self.cached_digest = None;
        self.snapshot_due.get_or_insert(now.plus_ms(limits::PRESENCE_INTERVAL_MS));
    }

    /// Writes out the shards that have grown enough.
    pub(super) fn write_due_snapshots(&mut self, ctx: &mut GroupContext<'_>) {
        ctx.outbox.store_batch(self.group.take_due_snapshots());
        // A document under reconstruction is written out later.
        let is_rebuilding = self.group.shard_states().is_rebuilding();
        self.snapshot_due = is_rebuilding.then(|| ctx.now.mono.plus_ms(limits::PRESENCE_INTERVAL_MS));
    }

    pub(super) fn to_row(&self) -> Row {
        let row = GroupRow {
            version: LAYOUT_VERSION,
            genesis: self.group.records().genesis(),
            paused: self.paused,
            refetching: self.refetching,
        };
        Row::put_encoded(Table::Groups, key::for_group(self.id()), &row)
    }

    /// Stores and broadcasts a change of this node.
    pub(super) fn on_written(&mut self, ctx: &mut GroupContext<'_>, written: WriteOutcome) {
        self.on_group_changed(ctx.now.mono);
        ctx.outbox.store_batch(written.ingest.rows);
        self.sync(ctx).broadcast(&written.ingest.new_changes, None);
    }

    /// The links of all sessions.
    pub(super) fn session_links(&self) -> Vec<LinkId> {
        self.sessions.keys().copied().collect()
    }

    /// The neighbours of this group with their sessions.
    pub fn neighbour_sessions(&self) -> impl Iterator<Item = (NodeId, &SyncSession)> {
        self.sessions.values().map(|session| (session.peer, session))
    }
}
