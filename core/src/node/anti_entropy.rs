//! Anti-entropy: neighbours compare digests, exchange summaries, and send each other the records and
//! positions that differ.

use std::collections::{BTreeMap, BTreeSet};

use super::admission::requests::JoinRequestHandler;
use super::effect::{Effect, NodeEvent};
use super::input::LinkId;
use super::protocol_error::ProtocolError;
use super::session::{SyncSession, UnsentDifference};
use super::sync_handler::SyncHandler;
use crate::group::RecordOutcome;
use crate::id::{Digest, NodeId, ShardId};
use crate::limits;
use crate::record::{RecordDecodeError, SignedRecord};
use crate::wire::member::{GroupDigest, GroupFrame, GroupSummary, RecordBatch, ShardPositions};

impl SyncHandler<'_, '_> {
    /// Opens a session with a neighbour, unless there is one.
    pub(super) fn open_session(&mut self, link: LinkId, peer: NodeId) {
        if self.state.paused || self.state.sessions.contains_key(&link) {
            return;
        }
        self.state.sessions.insert(link, SyncSession::new(peer, self.ctx.now.mono));
        self.state.mark_alive(self.ctx, peer);
        self.send_digest(link);
        self.state.request_presence(self.ctx.now.mono, limits::PRESENCE_DEBOUNCE_MS);
        JoinRequestHandler { state: self.state, ctx: self.ctx }.forward_waiting();
    }

    /// Closes the session on a link. What was requested from its neighbour is requested from others.
    pub(super) fn close_session(&mut self, link: LinkId) {
        self.state.proof_requested.remove(&link);
        self.state.proof_sent.remove(&link);
        if self.state.sessions.remove(&link).is_none() {
            return;
        }
        self.state.requested_ranges.remove_link(link);
        self.state.request_presence(self.ctx.now.mono, limits::PRESENCE_DEBOUNCE_MS);
        self.request_missing_from_all();
    }

    pub(super) fn send_digest(&mut self, link: LinkId) {
        let digest = self.state.digest();
        let omitted_shards = self.state.group.shard_states().faulty_shards();
        let Some(session) = self.state.sessions.get_mut(&link) else { return };
        session.on_digest_sent(digest);
        self.ctx.send(link, &GroupFrame::GroupDigest(GroupDigest { digest, omitted_shards }));
    }

    /// Sends this node's digest to every neighbour, so that each compares now.
    pub(super) fn send_digest_to_all(&mut self) {
        for link in self.state.session_links() {
            self.send_digest(link);
        }
    }

    pub(super) fn on_digest(&mut self, link: LinkId, peer_digest: &GroupDigest) {
        if self.matches_digest(peer_digest) {
            return self.on_in_sync(link);
        }
        let (now, own_digest) = (self.ctx.now.mono, self.state.digest());
        let Some(session) = self.state.sessions.get_mut(&link) else { return };
        session.on_digest_differs(peer_digest.digest);
        if !session.has_sent_summary(own_digest, now) {
            self.send_summary(link);
        }
    }

    /// True if the digests are equal. A shard that either side isolated is left out of both.
    fn matches_digest(&mut self, peer_digest: &GroupDigest) -> bool {
        let isolated = self.state.group.shard_states().faulty_shards();
        if peer_digest.omitted_shards == isolated {
            return self.state.digest() == peer_digest.digest;
        }
        let omitted: BTreeSet<ShardId> =
            isolated.into_iter().chain(peer_digest.omitted_shards.iter().copied()).collect();
        let omitted: Vec<ShardId> = omitted.into_iter().collect();
        omitted == peer_digest.omitted_shards && self.state.group.digest(&omitted) == peer_digest.digest
    }

    /// The digest in a neighbour's own presence.
    pub(super) fn on_presence_digest(&mut self, link: LinkId, peer_digest: Digest) {
        let own_digest = self.state.digest();
        let Some(session) = self.state.sessions.get_mut(&link) else { return };
        session.on_presence_digest(peer_digest, own_digest, self.ctx.now.mono);
        if peer_digest == own_digest {
            self.on_in_sync(link);
        }
    }

    /// Sends this node's digest to neighbours whose digest has differed for the repair delay.
    pub(super) fn retry_mismatched_sessions(&mut self) {
        let (now, own_digest) = (self.ctx.now.mono, self.state.digest());
        let sessions = self.state.sessions.iter_mut();
        let mismatched: Vec<LinkId> = sessions
            .filter_map(|(link, session)| session.take_due_repair(own_digest, now).then_some(*link))
            .collect();
        for link in mismatched {
            self.send_digest(link);
        }
    }

    /// After this node's digest changed: neighbours that sent the same digest before are in sync now.
    pub(super) fn mark_equal_sessions(&mut self) {
        if self.state.sessions.values().all(SyncSession::is_in_sync) {
            return;
        }
        let own_digest = self.state.digest();
        let sessions = self.state.sessions.iter();
        let equal_links: Vec<LinkId> = sessions
            .filter(|(_, session)| session.has_become_equal(own_digest))
            .map(|(link, _)| *link)
            .collect();
        for link in equal_links {
            self.on_in_sync(link);
        }
        // Neighbours that receive the same changes from others learn early that the digests are equal.
        self.state.request_presence(self.ctx.now.mono, limits::BROADCAST_DEBOUNCE_MS);
    }

    fn on_in_sync(&mut self, link: LinkId) {
        let (group, own_digest) = (self.state.id(), self.state.digest());
        if self.state.refetching && self.state.sessions.contains_key(&link) {
            // All that was lost here and is known to a neighbour is here again.
            self.state.refetching = false;
            self.ctx.outbox.store_batch(vec![self.state.to_row()]);
            self.ctx.outbox.push(Effect::DesiredChanged { group });
            self.ctx.emit_event(NodeEvent::GroupRepaired { group });
        }
        let Some(session) = self.state.sessions.get_mut(&link) else { return };
        let is_first_time = session.on_digest_equal(&self.state.group, own_digest);
        let (peer, has_sent_digest) = (session.peer, session.sent_digest == Some(own_digest));
        if !has_sent_digest {
            self.send_digest(link);
        }
        if is_first_time {
            self.ctx.emit_event(NodeEvent::InSync { group, peer });
        }
    }

    fn send_summary(&mut self, link: LinkId) {
        let (now, own_digest) = (self.ctx.now.mono, self.state.digest());
        let Some(session) = self.state.sessions.get_mut(&link) else { return };
        session.on_summary_sent(own_digest, now);
        let summary = GroupSummary {
            record_tips: GroupSummary::to_wire_tips(&self.state.group.membership_records().record_tips()),
            shard_digests: self.state.group.shard_states().shard_digests().collect(),
        };
        self.ctx.send(link, &GroupFrame::GroupSummary(summary));
    }

    pub(super) fn on_summary(&mut self, link: LinkId, peer_summary: &GroupSummary) {
        let own_digest = self.state.digest();
        let Some(session) = self.state.sessions.get(&link) else { return };
        if !session.has_sent_summary(own_digest, self.ctx.now.mono) {
            self.send_summary(link);
        }
        let group = &self.state.group;
        let missing_records = group.membership_records().missing_records(&peer_summary.decode_record_tips());
        let missing_records = missing_records.iter().map(|record| UnsentDifference::Record(record.id()));
        let isolated = group.shard_states().faulty_shards();
        let own_digests: BTreeMap<ShardId, Digest> = group
            .shard_states()
            .shard_digests()
            .filter(|(shard_id, _)| !isolated.contains(shard_id))
            .collect();
        let peer_digests: BTreeMap<ShardId, Digest> = peer_summary.shard_digests.iter().copied().collect();
        let all_shards: BTreeSet<ShardId> = own_digests.keys().chain(peer_digests.keys()).copied().collect();
        let differing_shards =
            all_shards.into_iter().filter(|shard_id| own_digests.get(shard_id) != peer_digests.get(shard_id));
        if let Some(session) = self.state.sessions.get_mut(&link) {
            session.unsent_differences =
                missing_records.chain(differing_shards.map(UnsentDifference::Shard)).collect();
        }
        self.send_differences(link);
    }

    /// Sends a neighbour what it lacks until the link is backpressured. The rest follows once the link has
    /// room.
    pub(super) fn send_differences(&mut self, link: LinkId) {
        while !self.ctx.is_backpressured(link) {
            let Some(session) = self.state.sessions.get_mut(&link) else { return };
            let mut records = Vec::new();
            while let Some(UnsentDifference::Record(id)) = session.unsent_differences.front()
                && records.len() < limits::MAX_RECORDS_PER_SENT_FRAME
            {
                records.extend(self.state.group.records().get(id).cloned());
                session.unsent_differences.pop_front();
            }
            if !records.is_empty() {
                self.send_records(link, &records);
            } else if let Some(UnsentDifference::Shard(shard_id)) = session.unsent_differences.pop_front() {
                let chains = self.state.group.shard_states().chain_positions(&shard_id);
                self.ctx.send(link, &GroupFrame::ShardPositions(ShardPositions { shard_id, chains }));
            } else {
                return;
            }
        }
    }

    pub(super) fn send_records(&mut self, link: LinkId, records: &[SignedRecord]) {
        for batch in records.chunks(limits::MAX_RECORDS_PER_SENT_FRAME) {
            let records = batch.iter().map(SignedRecord::encode).collect();
            self.ctx.send(link, &GroupFrame::RecordBatch(RecordBatch { records, is_last: true }));
        }
    }

    pub(super) fn on_records(&mut self, link: LinkId, batch: &RecordBatch) -> Result<(), ProtocolError> {
        let mut records = Vec::with_capacity(batch.records.len());
        for bytes in &batch.records {
            match SignedRecord::decode(bytes) {
                Ok(record) => records.push(record),
                // A newer version wrote it.
                Err(RecordDecodeError::NewerFormat(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let outcome = self.state.group.apply_records(records);
        let fault = outcome.fault;
        self.on_records_ingested(outcome, Some(link));
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Stores new records, sends them to the other neighbours, and follows what they change.
    pub(super) fn on_records_ingested(&mut self, outcome: RecordOutcome, from: Option<LinkId>) {
        let RecordOutcome { new_records, mut rows, mut ingest, .. } = outcome;
        self.ctx.limit_stats.merge(&std::mem::take(&mut ingest.limit_hits));
        if rows.is_empty() {
            return;
        }
        self.state.on_group_changed(self.ctx.now.mono);
        // One batch: the records and their consequences for changes become durable together.
        rows.append(&mut ingest.rows);
        self.ctx.outbox.store_batch(rows);
        for link in self.state.session_links().into_iter().filter(|link| Some(*link) != from) {
            self.send_records(link, &new_records);
        }
        self.ctx.outbox.push(Effect::DesiredChanged { group: self.state.id() });
        self.on_ingested(ingest, from);
    }

    pub(super) fn on_positions(&mut self, link: LinkId, positions: &ShardPositions) {
        let Some(session) = self.state.sessions.get_mut(&link) else { return };
        session.view.set_positions(positions.shard_id, &positions.chains);
        session.on_positions();
        self.request_missing(link);
    }
}
