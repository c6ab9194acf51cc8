//! Fetching: what a neighbour has and this node lacks is asked for, window by window; each part of a chain of one
//! neighbour at a time, however many have it.

use std::collections::BTreeMap;

use super::group_state::{GroupContext, GroupState};
use super::input::LinkId;
use super::protocol_error::ProtocolError;
use crate::group::ChainRange;
use crate::id::ShardId;
use crate::limits;
use crate::wire::member::{GroupFrame, RangeRequest, RangeResponse};

impl GroupState {
    /// Asks a neighbour for what it has and this node lacks, unless it was asked already. With nothing left to ask for,
    /// the round ends with a digest.
    pub(super) fn request_missing(&mut self, ctx: &mut GroupContext<'_>, link: LinkId) {
        let Some(session) = self.sessions.get(&link) else { return };
        if self.requested_ranges.values().any(|(asked_link, _)| *asked_link == link) {
            return;
        }
        let mut ranges_by_shard: BTreeMap<ShardId, Vec<ChainRange>> = BTreeMap::new();
        let mut others_asked = false;
        for (shard_id, chain_id, after, upto) in session.missing_ranges(&self.group) {
            if self.requested_ranges.contains_key(&(shard_id, chain_id)) {
                others_asked = true;
                continue;
            }
            let ranges = ranges_by_shard.entry(shard_id).or_default();
            // Of a forked chain one branch after the other.
            if ranges.len() < limits::MAX_REQUESTED_CHAINS
                && ranges.last().is_none_or(|range| range.chain_id != chain_id)
            {
                ranges.push(ChainRange { chain_id, after, upto });
            }
        }
        let Some((shard_id, ranges)) = ranges_by_shard.pop_first() else {
            if !others_asked && session.is_fetching {
                if let Some(session) = self.sessions.get_mut(&link) {
                    session.is_fetching = false;
                }
                self.send_digest(ctx, link);
            }
            return;
        };
        let due = ctx.now.mono.plus_ms(limits::RANGE_REQUEST_TIMEOUT_MS);
        for range in &ranges {
            self.requested_ranges.insert((shard_id, range.chain_id), (link, due));
        }
        if let Some(session) = self.sessions.get_mut(&link) {
            session.awaited_responses.insert(shard_id);
        }
        ctx.send(link, &GroupFrame::RangeRequest(RangeRequest { shard_id, ranges }));
    }

    /// Asks every neighbour for what it has and nobody was asked for.
    pub(super) fn request_missing_from_all(&mut self, ctx: &mut GroupContext<'_>) {
        let links: Vec<_> = self.sessions.keys().copied().collect();
        for link in links {
            self.request_missing(ctx, link);
        }
    }

    pub(super) fn on_range_request(
        &mut self,
        ctx: &mut GroupContext<'_>,
        link: LinkId,
        request: &RangeRequest,
    ) {
        if !self.sessions.contains_key(&link) {
            return;
        }
        let (columns, has_more) =
            self.group.next_batch(&request.shard_id, &request.ranges).unwrap_or_default();
        ctx.send(
            link,
            &GroupFrame::RangeResponse(RangeResponse { shard_id: request.shard_id, has_more, columns }),
        );
    }

    pub(super) fn on_range_response(
        &mut self,
        ctx: &mut GroupContext<'_>,
        link: LinkId,
        response: &RangeResponse,
    ) -> Result<(), ProtocolError> {
        // To read a window is work and memory. One that nobody asked for may be the answer to a session that has since
        // begun anew, so it is nobody's fault; but it is not read.
        if !self
            .sessions
            .get_mut(&link)
            .is_some_and(|session| session.awaited_responses.remove(&response.shard_id))
        {
            return Ok(());
        }
        let answered_ranges: Vec<_> = self
            .requested_ranges
            .iter()
            .filter(|((shard_id, _), (asked_link, _))| *asked_link == link && *shard_id == response.shard_id)
            .map(|(range, _)| *range)
            .collect();
        // None, if it comes late and was asked of somebody else by now; it is still good.
        for range in &answered_ranges {
            self.requested_ranges.remove(range);
        }
        let outcome = if response.columns.is_empty() {
            crate::group::IngestOutcome::default()
        } else {
            self.group.ingest_batch(response.shard_id, &response.columns)
        };
        // What nothing came of this neighbour cannot give, and asking again would go on for ever.
        let is_useless = outcome.has_no_progress();
        let mut stuck_ranges: Vec<_> = match outcome.stuck_chains.as_slice() {
            [] if is_useless => answered_ranges,
            stuck_chains => stuck_chains.iter().map(|chain_id| (response.shard_id, *chain_id)).collect(),
        };
        if let Some(session) = self.sessions.get_mut(&link) {
            for (chain_id, upto) in &outcome.reached_seqs {
                if session.advance_search(response.shard_id, *chain_id, *upto, is_useless) {
                    stuck_ranges.retain(|range| *range != (response.shard_id, *chain_id));
                }
            }
            for (shard_id, chain_id) in &stuck_ranges {
                session.forget_chain(*shard_id, *chain_id);
            }
            for (chain_id, after) in &outcome.diverged_chains {
                session.search_earlier(response.shard_id, *chain_id, *after);
            }
        }
        let rejection = outcome.rejection.clone();
        self.on_ingested(ctx, outcome, Some(link));
        self.request_missing_from_all(ctx);
        rejection.map_or(Ok(()), |reason| Err(ProtocolError::InvalidChanges(reason)))
    }

    /// Requests that were not answered in time are asked of others.
    pub(super) fn expire_range_requests(&mut self, ctx: &mut GroupContext<'_>) {
        let now = ctx.now.mono;
        let overdue: Vec<_> = self
            .requested_ranges
            .iter()
            .filter(|(_, (_, due))| *due <= now)
            .map(|(range, (link, _))| (*range, *link))
            .collect();
        for ((shard_id, chain_id), link) in &overdue {
            self.requested_ranges.remove(&(*shard_id, *chain_id));
            if let Some(session) = self.sessions.get_mut(link) {
                session.forget_chain(*shard_id, *chain_id);
            }
        }
        if !overdue.is_empty() {
            self.request_missing_from_all(ctx);
            self.send_digest_to_all(ctx);
        }
    }
}
