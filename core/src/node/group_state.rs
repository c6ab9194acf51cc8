//! One group with everything this node does about it: sessions with neighbours, who was heard, invites, what waits.

use std::collections::BTreeMap;

use super::admission::Admission;
use super::effect::{Effect, NodeEvent};
use super::input::{ClockReading, LinkId, MonoTime};
use super::liveness::LivenessTable;
use super::outbox::Outbox;
use super::push_limiter::PushLimiter;
use super::requested_ranges::RequestedRanges;
use super::rng::SeededRng;
use super::session::SyncSession;
use crate::group::{Group, WriteOutcome};
use crate::id::{Digest, GroupId, NodeId, SecretKey, ShardId};
use crate::limit_stats::LimitStats;
use crate::limits;
use crate::resource::ResourceName;
use crate::resource::observed::ObservedState;
use crate::store::{GroupRow, LAYOUT_VERSION, Row, Table, key};
use crate::wire::member::GroupFrame;

/// A link between members, whatever groups they share.
#[derive(Clone, Debug)]
pub(super) struct MemberLink {
    pub(super) peer: NodeId,
    /// True once the other side said hello in a version that both speak.
    pub(super) has_greeted: bool,
    /// Bytes handed to the link and not yet gone.
    pub(super) pending_bytes: usize,
    /// When a frame was sent last.
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

/// What the parts of a membership need from the machine around it.
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
    /// Sends a frame of a group. Once storage failed, only presence is still told.
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

    /// True if so much is on its way to a link that what can wait should.
    pub(super) fn is_backpressured(&self, link: LinkId) -> bool {
        self.free_bytes(link).is_none()
    }

    /// How many bytes more may be on their way to a link before it is choked; `None` if it is.
    pub(super) fn free_bytes(&self, link: LinkId) -> Option<usize> {
        self.links.get(&link).and_then(|link| limits::MAX_LINK_PENDING_BYTES.checked_sub(link.pending_bytes))
    }
}

/// What the providers found and is not written yet.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingObservations {
    pub(super) unwritten: BTreeMap<ResourceName, ObservedState>,
    pub(super) write_due: Option<MonoTime>,
    pub(super) last_write: Option<MonoTime>,
}

/// One group, as the machine keeps it.
#[derive(Clone, Debug)]
pub struct GroupState {
    /// Its records and document.
    pub group: Group,
    /// True while an operator paused syncing.
    pub paused: bool,
    /// True after damage, until this copy was found equal with that of a member: it may lack anything.
    pub refetching: bool,
    /// Neighbours with whom it is synced.
    pub(super) sessions: BTreeMap<LinkId, SyncSession>,
    pub(super) liveness: LivenessTable,
    pub(super) requested_ranges: RequestedRanges,
    /// The invites made here, and the join requests that wait or are forwarded.
    pub admission: Admission,
    pub(super) push_limiter: PushLimiter,
    pub(super) presence_sequence: u64,
    /// When the next presence is due; `None` while there is no session.
    pub(super) presence_due: Option<MonoTime>,
    /// When shards that have grown enough are written out; `None` if nothing changed since.
    pub(super) snapshot_due: Option<MonoTime>,
    pub(super) observations: PendingObservations,
    /// Links whose peer was asked who it is, and when last.
    pub(super) proof_requested: BTreeMap<LinkId, MonoTime>,
    /// Links on whose other side this node was asked who it is, and when it said so last.
    pub(super) proof_sent: BTreeMap<LinkId, MonoTime>,
    /// True once changes came that this node's key wrote and this node does not remember, see [`super::Notice::DuplicateKey`].
    pub has_duplicate_key: bool,
    /// True if the store was a copy, or moved or restored, when this node started: it left its chains then.
    pub store_was_copied: bool,
    /// True once a member has heard that this node left.
    pub(super) leave_confirmed: bool,
    /// Shards that were isolated when last looked.
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
            push_limiter: PushLimiter::default(),
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

    /// The digest of everything here, kept until something changes.
    pub fn digest(&mut self) -> Digest {
        let group = &self.group;
        *self.cached_digest.get_or_insert_with(|| group.digest(&group.shard_states().faulty_shards()))
    }

    /// Looks for shards that a defect has isolated since the last time: digests leave them out.
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

    /// Makes an own change durable and tells it.
    pub(super) fn on_written(&mut self, ctx: &mut GroupContext<'_>, written: WriteOutcome) {
        self.on_group_changed(ctx.now.mono);
        ctx.outbox.store_batch(written.ingest.rows);
        self.sync(ctx).broadcast(&written.ingest.new_changes, None);
    }

    /// The links of all sessions.
    pub(super) fn session_links(&self) -> Vec<LinkId> {
        self.sessions.keys().copied().collect()
    }

    /// The neighbours with whom this group is synced.
    pub fn neighbour_sessions(&self) -> impl Iterator<Item = (NodeId, &SyncSession)> {
        self.sessions.values().map(|session| (session.peer, session))
    }
}
