//! Comparing: digests, what each side has, and where each stands in the shards that differ.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{Effect, NodeEvent};
use super::group_state::{GroupContext, GroupState};
use super::input::LinkId;
use super::protocol_error::ProtocolError;
use super::session::{SyncSession, UnsentDifference};
use crate::group::RecordOutcome;
use crate::id::{Digest, NodeId, ShardId};
use crate::limits;
use crate::record::SignedRecord;
use crate::wire::member::{GroupDigest, GroupFrame, GroupSummary, RecordBatch, ShardPositions};

impl GroupState {
    /// Begins a session with a neighbour.
    pub(super) fn open_session(&mut self, ctx: &mut GroupContext<'_>, link: LinkId, peer: NodeId) {
        if self.paused || self.sessions.contains_key(&link) {
            return;
        }
        self.sessions.insert(link, SyncSession::new(peer));
        self.mark_alive(ctx, peer);
        self.send_digest(ctx, link);
        self.request_presence(ctx.now.mono, limits::PRESENCE_DEBOUNCE_MS);
        let waiting_joins: Vec<_> = self.waiting_joins.values().cloned().collect();
        for request in waiting_joins {
            self.forward_join(ctx, request, limits::MAX_FORWARD_HOPS, None);
        }
    }

    pub(super) fn close_session(&mut self, ctx: &mut GroupContext<'_>, link: LinkId) {
        self.proof_requested.remove(&link);
        self.proof_sent.remove(&link);
        if self.sessions.remove(&link).is_none() {
            return;
        }
        self.requested_ranges.retain(|_, (asked_link, _)| *asked_link != link);
        self.request_presence(ctx.now.mono, limits::PRESENCE_DEBOUNCE_MS);
        // What was asked of this neighbour is asked of others.
        self.request_missing_from_all(ctx);
    }

    pub(super) fn send_digest(&mut self, ctx: &mut GroupContext<'_>, link: LinkId) {
        let digest = self.digest();
        let omitted = self.group.shard_states().faulty_shards();
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.sent_digest = Some(digest);
        session.mismatch = None;
        ctx.send(link, &GroupFrame::GroupDigest(GroupDigest { digest, omitted_shards: omitted }));
    }

    /// Compares with every neighbour now.
    pub(super) fn send_digest_to_all(&mut self, ctx: &mut GroupContext<'_>) {
        let links: Vec<_> = self.sessions.keys().copied().collect();
        for link in links {
            self.send_digest(ctx, link);
        }
    }

    pub(super) fn on_digest(&mut self, ctx: &mut GroupContext<'_>, link: LinkId, peer_digest: &GroupDigest) {
        if self.matches_digest(peer_digest) {
            return self.on_in_sync(ctx, link);
        }
        let (now, own_digest) = (ctx.now.mono, self.digest());
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.is_in_sync = false;
        session.received_digest = Some(peer_digest.digest);
        if !session.has_sent_summary(own_digest, now) {
            self.send_summary(ctx, link);
        }
    }

    /// A shard that one side isolated is left out of both digests.
    fn matches_digest(&mut self, peer_digest: &GroupDigest) -> bool {
        let isolated = self.group.shard_states().faulty_shards();
        if peer_digest.omitted_shards == isolated {
            return self.digest() == peer_digest.digest;
        }
        let omitted: BTreeSet<ShardId> =
            isolated.into_iter().chain(peer_digest.omitted_shards.iter().copied()).collect();
        let omitted: Vec<ShardId> = omitted.into_iter().collect();
        omitted == peer_digest.omitted_shards && self.group.digest(&omitted) == peer_digest.digest
    }

    /// This side's digest changed: neighbours that told the same before are equal now.
    pub(super) fn mark_equal_sessions(&mut self, ctx: &mut GroupContext<'_>) {
        if self.sessions.values().all(|session| session.is_in_sync) {
            return;
        }
        let own_digest = self.digest();
        let equal_links: Vec<LinkId> = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.is_in_sync && session.received_digest == Some(own_digest))
            .map(|(link, _)| *link)
            .collect();
        for link in equal_links {
            self.on_in_sync(ctx, link);
        }
        // And those that learn the same from others need not wait for the next heartbeat.
        self.request_presence(ctx.now.mono, limits::BROADCAST_DEBOUNCE_MS);
    }

    pub(super) fn on_in_sync(&mut self, ctx: &mut GroupContext<'_>, link: LinkId) {
        let (group, own_digest) = (self.group.id(), self.digest());
        if self.refetching && self.sessions.contains_key(&link) {
            // Whatever was lost here and is still known anywhere near is here again.
            self.refetching = false;
            ctx.outbox.store_batch(vec![self.to_row()]);
            ctx.outbox.push(Effect::DesiredChanged { group });
            ctx.emit_event(NodeEvent::GroupRepaired { group });
        }
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let is_first_time = !session.has_synced;
        session.mark_in_sync(&self.group);
        session.received_digest = Some(own_digest);
        let has_sent_digest = session.sent_digest == Some(own_digest);
        let peer = session.peer;
        if !has_sent_digest {
            self.send_digest(ctx, link);
        }
        if is_first_time {
            ctx.emit_event(NodeEvent::InSync { group, peer });
        }
    }

    fn send_summary(&mut self, ctx: &mut GroupContext<'_>, link: LinkId) {
        let (now, own_digest) = (ctx.now.mono, self.digest());
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.summary_sent = Some((now, own_digest, session.received_digest));
        let summary = GroupSummary {
            record_tips: GroupSummary::to_wire_tips(&self.group.membership_records().record_tips()),
            shard_digests: self.group.shard_states().shard_digests().collect(),
        };
        ctx.send(link, &GroupFrame::GroupSummary(summary));
    }

    pub(super) fn on_summary(
        &mut self,
        ctx: &mut GroupContext<'_>,
        link: LinkId,
        peer_summary: &GroupSummary,
    ) {
        let own_digest = self.digest();
        let Some(session) = self.sessions.get(&link) else { return };
        if !session.has_sent_summary(own_digest, ctx.now.mono) {
            self.send_summary(ctx, link);
        }
        let missing_records =
            self.group.membership_records().missing_records(&peer_summary.decode_record_tips());
        let missing_records = missing_records.iter().map(|record| UnsentDifference::Record(record.id()));
        let isolated = self.group.shard_states().faulty_shards();
        let own_digests: BTreeMap<ShardId, Digest> = self
            .group
            .shard_states()
            .shard_digests()
            .filter(|(shard_id, _)| !isolated.contains(shard_id))
            .collect();
        let peer_digests: BTreeMap<ShardId, Digest> = peer_summary.shard_digests.iter().copied().collect();
        let all_shards: BTreeSet<ShardId> = own_digests.keys().chain(peer_digests.keys()).copied().collect();
        let differing_shards =
            all_shards.into_iter().filter(|shard_id| own_digests.get(shard_id) != peer_digests.get(shard_id));
        if let Some(session) = self.sessions.get_mut(&link) {
            session.unsent_differences =
                missing_records.chain(differing_shards.map(UnsentDifference::Shard)).collect();
        }
        self.send_differences(ctx, link);
    }

    /// Sends a neighbour what it lacks, as far as the link takes it; the rest follows once there is room.
    pub(super) fn send_differences(&mut self, ctx: &mut GroupContext<'_>, link: LinkId) {
        while !ctx.is_backpressured(link) {
            let Some(session) = self.sessions.get_mut(&link) else { return };
            let mut records = Vec::new();
            while let Some(UnsentDifference::Record(id)) = session.unsent_differences.front()
                && records.len() < limits::MAX_RECORDS_PER_SENT_FRAME
            {
                records.extend(self.group.records().get(id).cloned());
                session.unsent_differences.pop_front();
            }
            if !records.is_empty() {
                self.send_records(ctx, link, &records);
            } else if let Some(UnsentDifference::Shard(shard_id)) = session.unsent_differences.pop_front() {
                let chains = self.group.shard_states().chain_positions(&shard_id);
                ctx.send(link, &GroupFrame::ShardPositions(ShardPositions { shard_id, chains }));
            } else {
                return;
            }
        }
    }

    pub(super) fn send_records(&self, ctx: &mut GroupContext<'_>, link: LinkId, records: &[SignedRecord]) {
        for batch in records.chunks(limits::MAX_RECORDS_PER_SENT_FRAME) {
            let records = batch.iter().map(SignedRecord::encode).collect();
            ctx.send(link, &GroupFrame::RecordBatch(RecordBatch { records, is_last: true }));
        }
    }

    pub(super) fn on_records(
        &mut self,
        ctx: &mut GroupContext<'_>,
        link: LinkId,
        batch: &RecordBatch,
    ) -> Result<(), ProtocolError> {
        let mut records = Vec::with_capacity(batch.records.len());
        for bytes in &batch.records {
            match SignedRecord::decode(bytes) {
                Ok(record) => records.push(record),
                Err(crate::record::RecordDecodeError::NewerFormat(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let recorded = self.group.apply_records(records);
        let fault = recorded.fault;
        self.on_records_ingested(ctx, recorded, Some(link));
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// New records: make them durable, tell the neighbours, look again at what they mean.
    pub(super) fn on_records_ingested(
        &mut self,
        ctx: &mut GroupContext<'_>,
        outcome: RecordOutcome,
        from: Option<LinkId>,
    ) {
        let RecordOutcome { new_records: new, mut rows, ingest: mut taken, .. } = outcome;
        ctx.limit_stats.merge(&std::mem::take(&mut taken.limit_hits));
        if rows.is_empty() {
            return;
        }
        self.on_group_changed(ctx.now.mono);
        // In one batch: what a record says of changes is durable with it, or not at all.
        rows.append(&mut taken.rows);
        ctx.outbox.store_batch(rows);
        let others: Vec<_> = self.sessions.keys().copied().filter(|link| Some(*link) != from).collect();
        for link in others {
            self.send_records(ctx, link, &new);
        }
        ctx.outbox.push(Effect::DesiredChanged { group: self.group.id() });
        self.on_ingested(ctx, taken, from);
    }

    pub(super) fn on_positions(
        &mut self,
        ctx: &mut GroupContext<'_>,
        link: LinkId,
        positions: &ShardPositions,
    ) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.set_positions(positions.shard_id, &positions.chains);
        session.is_fetching = true;
        self.request_missing(ctx, link);
    }
}
