//! Fetch: this node requests the ranges that a neighbour has and it lacks, batch by batch.

use std::collections::BTreeMap;

use super::input::LinkId;
use super::protocol_error::ProtocolError;
use super::requested_ranges::ChainKey;
use super::session::SyncSession;
use super::sync_handler::SyncHandler;
use crate::group::{ChainRange, IngestOutcome};
use crate::id::ShardId;
use crate::limits;
use crate::wire::member::{GroupFrame, RangeRequest, RangeResponse};

impl SyncHandler<'_, '_> {
    /// Requests what a neighbour has and this node lacks, one shard at a time. If nothing is left to request,
    /// the round ends with a digest.
    pub(super) fn request_missing(&mut self, link: LinkId) {
        let Some(session) = self.state.sessions.get(&link) else { return };
        if self.state.requested_ranges.has_link(link) {
            return;
        }
        let mut ranges_by_shard: BTreeMap<ShardId, Vec<ChainRange>> = BTreeMap::new();
        let mut is_requested_elsewhere = false;
        for (shard_id, chain_id, after, upto) in session.view.missing_ranges(&self.state.group) {
            if self.state.requested_ranges.contains(&(shard_id, chain_id)) {
                is_requested_elsewhere = true;
                continue;
            }
            let ranges = ranges_by_shard.entry(shard_id).or_default();
            // The branches of a forked chain are requested one after the other.
            if ranges.len() < limits::MAX_REQUESTED_CHAINS
                && ranges.last().is_none_or(|range| range.chain_id != chain_id)
            {
                ranges.push(ChainRange { chain_id, after, upto });
            }
        }
        let Some(session) = self.state.sessions.get_mut(&link) else { return };
        let Some((shard_id, ranges)) = ranges_by_shard.pop_first() else {
            if !is_requested_elsewhere && session.on_nothing_missing() {
                self.send_digest(link);
            }
            return;
        };
        session.on_range_requested(shard_id);
        for range in &ranges {
            self.state.requested_ranges.insert((shard_id, range.chain_id), link, self.ctx.now.mono);
        }
        self.ctx.send(link, &GroupFrame::RangeRequest(RangeRequest { shard_id, ranges }));
    }

    /// Requests what each neighbour has and no other was asked for.
    pub(super) fn request_missing_from_all(&mut self) {
        for link in self.state.session_links() {
            self.request_missing(link);
        }
    }

    pub(super) fn on_range_request(&mut self, link: LinkId, request: &RangeRequest) {
        if !self.state.sessions.contains_key(&link) {
            return;
        }
        let shard_id = request.shard_id;
        let (columns, has_more) = self.state.group.next_batch(&shard_id, &request.ranges).unwrap_or_default();
        self.ctx.send(link, &GroupFrame::RangeResponse(RangeResponse { shard_id, has_more, columns }));
    }

    pub(super) fn on_range_response(
        &mut self,
        link: LinkId,
        response: &RangeResponse,
    ) -> Result<(), ProtocolError> {
        // Decoding a batch costs work and memory, so one without a request is dropped. It is no violation: it
        // may answer an earlier session on the same link.
        let session = self.state.sessions.get_mut(&link);
        if !session.is_some_and(|session| session.on_range_response(&response.shard_id)) {
            return Ok(());
        }
        // Empty if the response is late and the chains were requested elsewhere since; the batch is still
        // good.
        let answered_chains = self.state.requested_ranges.take_answered(&response.shard_id, link);
        let outcome = if response.columns.is_empty() {
            IngestOutcome::default()
        } else {
            self.state.group.ingest_batch(response.shard_id, &response.columns)
        };
        if let Some(session) = self.state.sessions.get_mut(&link) {
            update_view(session, response.shard_id, answered_chains, &outcome);
        }
        let rejection = outcome.rejection.clone();
        self.on_ingested(outcome, Some(link));
        self.request_missing_from_all();
        rejection.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Requests from others what was not answered in time.
    pub(super) fn expire_range_requests(&mut self) {
        let overdue = self.state.requested_ranges.take_overdue(self.ctx.now.mono);
        for ((shard_id, chain_id), link) in &overdue {
            if let Some(session) = self.state.sessions.get_mut(link) {
                session.view.forget_chain(*shard_id, *chain_id);
            }
        }
        if !overdue.is_empty() {
            self.request_missing_from_all();
            self.send_digest_to_all();
        }
    }
}

/// Updates what is known of the neighbour's chains by the batch that it sent. A chain of which nothing came
/// is forgotten, since requesting it again would never end.
fn update_view(
    session: &mut SyncSession,
    shard_id: ShardId,
    answered_chains: Vec<ChainKey>,
    outcome: &IngestOutcome,
) {
    let is_useless = outcome.has_no_progress();
    let mut stuck_chains: Vec<ChainKey> = match outcome.stuck_chains.as_slice() {
        [] if is_useless => answered_chains,
        stuck_chains => stuck_chains.iter().map(|chain_id| (shard_id, *chain_id)).collect(),
    };
    for (chain_id, upto) in &outcome.reached_seqs {
        if session.view.advance_search(shard_id, *chain_id, *upto, is_useless) {
            stuck_chains.retain(|chain| *chain != (shard_id, *chain_id));
        }
    }
    for (shard_id, chain_id) in &stuck_chains {
        session.view.forget_chain(*shard_id, *chain_id);
    }
    for (chain_id, after) in &outcome.diverged_chains {
        session.view.search_earlier(shard_id, *chain_id, *after);
    }
}
