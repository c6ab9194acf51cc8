//! Broadcast: new changes are pushed at once to the neighbours that lack them, to each at most once.
//!
//! If a change came from a neighbour that claims a link with another neighbour, the push to that one is left
//! to it, so that in a full mesh each change reaches each node once. If a push is missed, the digests differ
//! and a round of anti-entropy repairs it.

use std::collections::BTreeMap;

use super::effect::{Effect, NodeEvent};
use super::input::LinkId;
use super::protocol_error::ProtocolError;
use super::sync_handler::SyncHandler;
use crate::delta::{Delta, SignedDelta};
use crate::group::{Group, IngestOutcome, NewChange, Tip};
use crate::id::{NodeId, ShardId};
use crate::limits;
use crate::rate_limiter::RateLimit;
use crate::wire::member::{GroupFrame, PushedChanges};

impl SyncHandler<'_, '_> {
    pub(super) fn on_push(&mut self, link: LinkId, push: &PushedChanges) -> Result<(), ProtocolError> {
        let mut outcome = IngestOutcome::default();
        for change in &push.changes {
            if !self.is_push_allowed(&change.delta) {
                // The change is fetched later, in a batch with those after it.
                outcome.has_gap = true;
                continue;
            }
            outcome.merge(self.state.group.ingest_push(push.shard_id, change));
        }
        let (has_gap, rejection) = (outcome.has_gap, outcome.rejection.clone());
        self.on_ingested(outcome, Some(link));
        if has_gap && let Some(session) = self.state.sessions.get_mut(&link) {
            // What is missing may be on its way through another neighbour.
            session.on_gap(self.ctx.now.mono);
        }
        rejection.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// True if the author of a pushed change is within its push limit.
    fn is_push_allowed(&mut self, delta: &[u8]) -> bool {
        let Some(grant) = Delta::peek_grant_id(delta) else { return true };
        let Some((author, _)) = self.state.group.records().holder_and_role(&grant) else { return true };
        let rate = RateLimit::per_second(limits::MAX_AUTHOR_PUSHES_PER_SECOND, limits::MAX_AUTHOR_PUSH_BURST);
        let is_allowed = self.state.push_limiter.try_take(author, rate, self.ctx.now.mono);
        if !is_allowed {
            self.ctx
                .limit_stats
                .record("changes of one author pushed at once", limits::MAX_AUTHOR_PUSH_BURST as usize);
        }
        is_allowed
    }

    /// Stores accepted changes, pushes them to the other neighbours, and reports what they change.
    pub(super) fn on_ingested(&mut self, outcome: IngestOutcome, from: Option<LinkId>) {
        self.ctx.outbox.store_batch(outcome.rows);
        self.ctx.limit_stats.merge(&outcome.limit_hits);
        if outcome.new_changes.is_empty() && outcome.retracted.is_empty() {
            return;
        }
        self.state.on_group_changed(self.ctx.now.mono);
        let group = self.state.id();
        if !outcome.retracted.is_empty() {
            self.ctx.outbox.push(Effect::DesiredChanged { group });
        }
        let is_own_unknown_change =
            |new: &NewChange| !new.was_unaccepted && is_written_by(&self.state.group, &self.ctx.own_id, new);
        if !self.state.has_duplicate_key
            && !self.state.refetching
            && outcome.new_changes.iter().any(is_own_unknown_change)
        {
            self.state.has_duplicate_key = true;
            self.ctx.emit_event(NodeEvent::DuplicateKey { group });
        }
        if let Some(session) = from.and_then(|from| self.state.sessions.get_mut(&from)) {
            for new in &outcome.new_changes {
                let previous = self.state.group.shard_states().previous_in_chain(&new.shard_id, &new.id);
                let tip = Tip { seq: new.seq, id: new.id };
                session.view.advance_tip(new.shard_id, new.chain_id, tip, previous);
            }
        }
        self.broadcast(&outcome.new_changes, from);
        self.mark_equal_sessions();
    }

    /// Pushes new changes to all neighbours but `from`.
    pub(super) fn broadcast(&mut self, new: &[NewChange], from: Option<LinkId>) {
        let desired = self.state.group.desired().map(|shard| shard.root().shard_id());
        if new.iter().any(|new| Some(new.shard_id) == desired) {
            self.ctx.outbox.push(Effect::DesiredChanged { group: self.state.id() });
        }
        let sender = from.and_then(|link| self.state.sessions.get(&link)).map(|session| session.peer);
        let all_signed = new.iter().all(|new| new.signature.is_some());
        for link in self.state.session_links().into_iter().filter(|link| Some(*link) != from) {
            let Some(session) = self.state.sessions.get_mut(&link) else { continue };
            if self.state.liveness.claims_link(sender, &session.peer) {
                continue;
            }
            if all_signed && !self.ctx.is_backpressured(link) {
                self.push_changes(link, new);
            } else {
                session.has_unsent_changes = true;
            }
        }
        if !all_signed {
            self.resume_sending();
        }
    }

    fn push_changes(&mut self, link: LinkId, new: &[NewChange]) {
        let Some(free_bytes) = self.ctx.free_bytes(link) else { return };
        let Some(session) = self.state.sessions.get_mut(&link) else { return };
        let mut by_shard: BTreeMap<ShardId, Vec<SignedDelta>> = BTreeMap::new();
        let mut bytes = 0;
        for change in new {
            let previous = self.state.group.shard_states().previous_in_chain(&change.shard_id, &change.id);
            // A neighbour that is further behind fetches in order; there the change would only wait.
            let is_next = session.view.is_next_change(change.shard_id, change.chain_id, previous);
            let (Some(signature), true) = (change.signature, is_next) else { continue };
            if bytes > free_bytes {
                session.has_unsent_changes = true;
                break;
            }
            bytes += change.delta.len();
            let tip = Tip { seq: change.seq, id: change.id };
            session.view.advance_tip(change.shard_id, change.chain_id, tip, previous);
            let delta = SignedDelta { delta: change.delta.clone(), signature };
            by_shard.entry(change.shard_id).or_default().push(delta);
        }
        for (shard_id, changes) in by_shard {
            for changes in split_changes(changes) {
                self.ctx.send(link, &GroupFrame::Push(PushedChanges { shard_id, changes }));
            }
        }
    }

    /// Continues with neighbours for which something waits, if their link has room.
    pub(super) fn resume_sending(&mut self) {
        for link in self.state.session_links() {
            if self.ctx.is_backpressured(link) {
                continue;
            }
            let Some(session) = self.state.sessions.get_mut(&link) else { continue };
            if std::mem::take(&mut session.has_unsent_changes) {
                self.send_digest(link);
            }
            self.send_differences(link);
        }
    }
}

/// True if that node's key wrote the change.
fn is_written_by(group: &Group, node: &NodeId, change: &NewChange) -> bool {
    let shard = group.shard_by_id(&change.shard_id);
    let grant = shard.and_then(|shard| shard.graph().chain(&change.chain_id)).map(|chain| chain.grant);
    let holder = grant.and_then(|grant| group.records().holder_and_role(&grant)).map(|(key, _)| key);
    let unaccepted_author =
        || group.unaccepted_in(&change.shard_id)?.get(&change.id).map(|unaccepted| unaccepted.author);
    holder.or_else(unaccepted_author) == Some(*node)
}

/// Splits changes into parts that each fit into a frame.
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
