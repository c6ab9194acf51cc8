//! The outbox: effects that wait until the rows written before them are durable.
//!
//! No effect of a change leaves this node before the change is durable: every effect waits for all batches
//! that were issued before it. After a store failure, memory holds more than the disk, so only responses and
//! events leave.

use std::collections::VecDeque;

use super::effect::{Effect, NodeEvent, RequestError, Response};
use super::input::{RequestId, StoreBatchId};
use crate::limits;
use crate::store::Row;

#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    last_issued: StoreBatchId,
    last_durable: StoreBatchId,
    ready: Vec<Effect>,
    waiting: VecDeque<(StoreBatchId, Effect)>,
    failure: Option<String>,
}

impl Outbox {
    /// Issues a batch. All effects that are pushed from now on wait for it.
    pub(super) fn store_batch(&mut self, rows: Vec<Row>) {
        if rows.is_empty() || self.failure.is_some() {
            return;
        }
        self.last_issued = StoreBatchId(self.last_issued.0 + 1);
        self.ready.push(Effect::Store { batch_id: self.last_issued, rows });
    }

    /// Adds an effect that waits for all batches issued so far. After a store failure only responses and
    /// events are added, since other effects may depend on what is not durable.
    pub(super) fn push(&mut self, effect: Effect) {
        match (&self.failure, effect) {
            (Some(_), effect) if !matches!(effect, Effect::Respond { .. } | Effect::Event(_)) => {}
            (Some(reason), Effect::Respond { request_id, response: Ok(response) })
                if reports_durable_write(&response) =>
            {
                let response = Err(RequestError::StoreFailed(reason.clone()));
                self.ready.push(Effect::Respond { request_id, response });
            }
            (_, effect) if self.last_durable >= self.last_issued => self.ready.push(effect),
            (_, effect) => self.waiting.push_back((self.last_issued, effect)),
        }
    }

    /// Adds events.
    pub(super) fn push_events(&mut self, events: Vec<NodeEvent>) {
        events.into_iter().for_each(|event| self.push(Effect::Event(event)));
    }

    /// Responds to a request.
    pub(super) fn respond(&mut self, request_id: RequestId, response: Result<Response, RequestError>) {
        self.push(Effect::Respond { request_id, response });
    }

    /// Responds to a request if its caller still waits.
    pub(super) fn respond_if_waiting(
        &mut self,
        request_id: Option<RequestId>,
        response: Result<Response, RequestError>,
    ) {
        if let Some(request_id) = request_id {
            self.respond(request_id, response);
        }
    }

    /// Releases the effects that waited for batches up to this one.
    pub(super) fn on_stored(&mut self, batch: StoreBatchId) {
        self.last_durable = self.last_durable.max(batch);
        while self.waiting.front().is_some_and(|(waiting_for, _)| *waiting_for <= self.last_durable) {
            self.ready.extend(self.waiting.pop_front().map(|(_, effect)| effect));
        }
    }

    /// Fails the waiting requests and drops all other waiting effects.
    pub(super) fn on_store_failed(&mut self, reason: &str) {
        self.failure = Some(reason.to_owned());
        for (_, effect) in std::mem::take(&mut self.waiting) {
            if let Effect::Respond { request_id, .. } = effect {
                let response = Err(RequestError::StoreFailed(reason.to_owned()));
                self.ready.push(Effect::Respond { request_id, response });
            }
        }
        self.last_durable = self.last_issued;
    }

    /// True after a store failure: nothing may be written or sent.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The error of the store, if it failed.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// True if so many effects wait for the disk that new writes must be refused.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= limits::MAX_OUTBOX_ENTRIES
    }

    /// True if every batch that was issued is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.failure.is_none() && self.last_durable >= self.last_issued
    }

    /// Removes and returns the effects that wait for nothing.
    pub(super) fn take_ready(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.ready)
    }
}

/// True if the response means that a write is durable.
fn reports_durable_write(response: &Response) -> bool {
    !matches!(response, Response::RoundTrip { .. } | Response::Done)
}
