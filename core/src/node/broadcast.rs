//! Spreading: new changes go at once to the neighbours that lack them, to each at most once.
//!
//! Where the change came from a neighbour that is itself linked with another one, that one is left to it: in a full mesh
//! nobody says twice what everybody heard. If the guess was wrong, digests differ, and a round repairs it.

use std::collections::BTreeMap;

use super::effect::{Effect, NodeEvent};
use super::group_state::{GroupContext, GroupState, TokenBucket};
use super::input::LinkId;
use super::protocol_error::ProtocolError;
use crate::delta::{Delta, SignedDelta};
use crate::group::{IngestOutcome, NewChange, Tip};
use crate::id::{NodeId, ShardId};
use crate::limits;
use crate::shard::root::ShardName;
use crate::wire::member::{GroupFrame, PushedChanges};

impl GroupState {
    pub(super) fn on_push(
        &mut self,
        ctx: &mut GroupContext<'_>,
        link: LinkId,
        push: &PushedChanges,
    ) -> Result<(), ProtocolError> {
        let mut outcome = IngestOutcome::default();
        for change in &push.changes {
            if !self.take_push_token(ctx, &change.delta) {
                // It is fetched with what comes after it, in bulk.
                outcome.has_gap = true;
                continue;
            }
            outcome.merge(self.group.ingest_push(push.shard_id, change));
        }
        let (gap, rejection) = (outcome.has_gap, outcome.rejection.clone());
        self.on_ingested(ctx, outcome, Some(link));
        if gap {
            let now = ctx.now.mono;
            let digest = self.digest();
            if let Some(session) = self.sessions.get_mut(&link) {
                // What is missing may be on its way by another neighbour: look again shortly.
                session.mismatch.get_or_insert((now, digest));
            }
        }
        rejection.map_or(Ok(()), |reason| Err(ProtocolError::InvalidChanges(reason)))
    }

    /// True if the author of a pushed change has not had more pushed lately than one author may.
    fn take_push_token(&mut self, ctx: &mut GroupContext<'_>, delta: &[u8]) -> bool {
        let Some(grant) = Delta::peek_grant_id(delta) else { return true };
        let Some((author, _)) = self.group.records().holder_and_role(&grant) else { return true };
        let (now, burst) = (ctx.now.mono, limits::MAX_AUTHOR_PUSH_BURST as u64);
        let bucket =
            self.push_buckets.entry(author).or_insert(TokenBucket { tokens: burst, refilled_at: now });
        let earned =
            now.ms_since(bucket.refilled_at).saturating_mul(limits::MAX_AUTHOR_PUSHES_PER_SECOND) / 1000;
        if earned > 0 {
            *bucket =
                TokenBucket { tokens: bucket.tokens.saturating_add(earned).min(burst), refilled_at: now };
        }
        let is_allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        if !is_allowed {
            ctx.limit_stats.record("changes of one author pushed at once", limits::MAX_AUTHOR_PUSH_BURST);
        }
        is_allowed
    }

    /// Changes from a neighbour were let in: make them durable, tell others, wake whom they concern.
    pub(super) fn on_ingested(
        &mut self,
        ctx: &mut GroupContext<'_>,
        outcome: IngestOutcome,
        from: Option<LinkId>,
    ) {
        ctx.outbox.store_batch(outcome.rows);
        ctx.limit_stats.merge(&outcome.limit_hits);
        if outcome.new_changes.is_empty() && outcome.retracted.is_empty() {
            return;
        }
        self.on_group_changed(ctx.now.mono);
        if !outcome.retracted.is_empty() {
            ctx.outbox.push(Effect::DesiredChanged { group: self.group.id() });
        }
        if !self.has_duplicate_key
            && !self.refetching
            && outcome
                .new_changes
                .iter()
                .any(|new| !new.was_unaccepted && self.is_written_by(&ctx.own_id, new))
        {
            self.has_duplicate_key = true;
            ctx.emit_event(NodeEvent::DuplicateKey { group: self.group.id() });
        }
        if let Some(session) = from.and_then(|from| self.sessions.get_mut(&from)) {
            for new in &outcome.new_changes {
                let previous = self.group.shard_states().previous_in_chain(&new.shard_id, &new.id);
                session.advance_tip(new.shard_id, new.chain_id, Tip { seq: new.seq, id: new.id }, previous);
            }
        }
        self.broadcast(ctx, &outcome.new_changes, from);
        self.mark_equal_sessions(ctx);
    }

    /// True if that node's key wrote the change.
    fn is_written_by(&self, node: &NodeId, change: &NewChange) -> bool {
        let shard = self.group.shard_by_id(&change.shard_id);
        let grant = shard.and_then(|shard| shard.graph().chain(&change.chain_id)).map(|chain| chain.grant);
        let holder = grant.and_then(|grant| self.group.records().holder_and_role(&grant)).map(|(key, _)| key);
        let unaccepted_author = || {
            self.group.unaccepted_in(&change.shard_id)?.get(&change.id).map(|unaccepted| unaccepted.author)
        };
        holder.or_else(unaccepted_author) == Some(*node)
    }

    /// Tells neighbours what is new.
    pub(super) fn broadcast(&mut self, ctx: &mut GroupContext<'_>, new: &[NewChange], from: Option<LinkId>) {
        let desired = self.group.desired().map(|shard| shard.root().shard_id());
        if new.iter().any(|new| Some(new.shard_id) == desired) {
            ctx.outbox.push(Effect::DesiredChanged { group: self.group.id() });
        }
        let sender = from.and_then(|link| self.sessions.get(&link)).map(|session| session.peer);
        let others: Vec<_> = self.sessions.keys().copied().filter(|link| Some(*link) != from).collect();
        let all_signed = new.iter().all(|new| new.signature.is_some());
        for link in others {
            let sender_is_linked =
                self.sessions.get(&link).is_some_and(|session| self.claims_link_with(sender, session.peer));
            if sender_is_linked {
                continue;
            }
            if all_signed && !ctx.is_backpressured(link) {
                self.push_changes(ctx, link, new);
            } else if let Some(session) = self.sessions.get_mut(&link) {
                session.has_unsent_changes = true;
            }
        }
        if !all_signed {
            self.resume_sending(ctx);
        }
    }

    /// True if `teller` says that it has a link with `peer` in this group.
    pub(super) fn claims_link_with(&self, sender: Option<NodeId>, peer: NodeId) -> bool {
        let presence = sender
            .and_then(|sender_id| self.liveness.get(&sender_id))
            .and_then(|liveness| liveness.presence.as_ref());
        presence.is_some_and(|presence| presence.linked_peers.binary_search(&peer.fingerprint8()).is_ok())
    }

    fn push_changes(&mut self, ctx: &mut GroupContext<'_>, link: LinkId, new: &[NewChange]) {
        let (Some(session), Some(free_bytes)) = (self.sessions.get_mut(&link), ctx.free_bytes(link)) else {
            return;
        };
        let mut by_shard: BTreeMap<ShardId, Vec<SignedDelta>> = BTreeMap::new();
        let mut bytes = 0;
        for change in new {
            let previous = self.group.shard_states().previous_in_chain(&change.shard_id, &change.id);
            // A neighbour that is further behind fetches in order; this would only wait there.
            let is_next = session.is_next_change(change.shard_id, change.chain_id, previous);
            let (Some(signature), true) = (change.signature, is_next) else { continue };
            if bytes > free_bytes {
                session.has_unsent_changes = true;
                break;
            }
            bytes += change.delta.len();
            session.advance_tip(
                change.shard_id,
                change.chain_id,
                Tip { seq: change.seq, id: change.id },
                previous,
            );
            let delta = SignedDelta { delta: change.delta.clone(), signature };
            by_shard.entry(change.shard_id).or_default().push(delta);
        }
        for (shard_id, changes) in by_shard {
            for changes in split_changes(changes) {
                ctx.send(link, &GroupFrame::Push(PushedChanges { shard_id, changes }));
            }
        }
    }

    /// Goes on with neighbours that were not told something, now that they can be.
    pub(super) fn resume_sending(&mut self, ctx: &mut GroupContext<'_>) {
        let behind: Vec<_> = self
            .sessions
            .iter()
            .filter(|(link, session)| session.has_unsent_changes && !ctx.is_backpressured(**link))
            .map(|(link, _)| *link)
            .collect();
        for link in behind {
            if let Some(session) = self.sessions.get_mut(&link) {
                session.has_unsent_changes = false;
            }
            self.send_digest(ctx, link);
        }
        let links: Vec<_> = self.sessions.keys().copied().collect();
        links.into_iter().for_each(|link| self.send_differences(ctx, link));
    }

    /// The shard's name, if it is one of this group.
    pub fn shard_name(&self, shard_id: &ShardId) -> Option<ShardName> {
        self.group.shard_by_id(shard_id).map(|shard| shard.root().name())
    }
}

/// Changes in portions that each fit a frame.
fn split_changes(changes: Vec<SignedDelta>) -> Vec<Vec<SignedDelta>> {
    let mut batches: Vec<Vec<SignedDelta>> = vec![Vec::new()];
    let mut bytes = 0;
    for change in changes {
        bytes += change.delta.len() + 72;
        if bytes > limits::MAX_BATCH_BYTES && batches.last().is_some_and(|batch| !batch.is_empty()) {
            batches.push(Vec::new());
            bytes = change.delta.len() + 72;
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(change);
        }
    }
    batches
}
