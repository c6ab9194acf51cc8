//! What waits for the disk. Nothing that follows from a change leaves this node, wakes a provider or answers a caller
//! before the change is durable: every effect waits for all batches that were issued before it.
//!
//! Once a batch failed, what is in memory is more than what is durable, and nobody can tell which part. So nothing that
//! comes of it leaves any more: only callers are answered, and links are kept alive.

use std::collections::VecDeque;

use super::effect::{Answer, Declined, Effect, Notice};
use super::input::{Caller, Token};
use crate::limits;
use crate::store::Row;

#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    issued: Token,
    durable: Token,
    ready: Vec<Effect>,
    waiting: VecDeque<(Token, Effect)>,
    failed: Option<String>,
}

impl Outbox {
    /// Issues a batch. What is pushed from now on waits for it.
    pub(super) fn store(&mut self, rows: Vec<Row>) {
        if rows.is_empty() || self.failed.is_some() {
            return;
        }
        self.issued = Token(self.issued.0 + 1);
        self.ready.push(Effect::Store { token: self.issued, rows });
    }

    /// Adds an effect after everything issued so far. Once storage failed, callers are answered and operators told,
    /// and nothing else is done: whatever follows might follow from what is not durable.
    pub(super) fn push(&mut self, effect: Effect) {
        match (&self.failed, effect) {
            (Some(_), effect) if !matches!(effect, Effect::Answer { .. } | Effect::Notice(_)) => {}
            (Some(why), Effect::Answer { caller, answer: Ok(answer) }) if is_written(&answer) => {
                let answer = Err(Declined::Storage(why.clone()));
                self.ready.push(Effect::Answer { caller, answer });
            }
            (_, effect) if self.durable >= self.issued => self.ready.push(effect),
            (_, effect) => self.waiting.push_back((self.issued, effect)),
        }
    }

    /// Adds notices.
    pub(super) fn extend(&mut self, notices: Vec<Notice>) {
        notices.into_iter().for_each(|notice| self.push(Effect::Notice(notice)));
    }

    /// Answers a caller.
    pub(super) fn answer(&mut self, caller: Caller, answer: Result<Answer, Declined>) {
        self.push(Effect::Answer { caller, answer });
    }

    /// Lets go of what waited for batches up to `token`.
    pub(super) fn stored(&mut self, token: Token) {
        self.durable = self.durable.max(token);
        while self.waiting.front().is_some_and(|(waits, _)| *waits <= self.durable) {
            self.ready.extend(self.waiting.pop_front().map(|(_, effect)| effect));
        }
    }

    /// Storage failed for good: callers hear of it, and nothing else that waited ever happens.
    pub(super) fn fail(&mut self, why: &str) {
        self.failed = Some(why.to_owned());
        for (_, effect) in std::mem::take(&mut self.waiting) {
            if let Effect::Answer { caller, .. } = effect {
                let answer = Err(Declined::Storage(why.to_owned()));
                self.ready.push(Effect::Answer { caller, answer });
            }
        }
        self.durable = self.issued;
    }

    /// True once storage failed: nothing may be written, and nothing new told.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Why storage failed, if it did.
    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// True if so much waits for the disk that new writes must be refused.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= limits::OUTBOX
    }

    /// True if every batch that was issued is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.failed.is_none() && self.durable >= self.issued
    }

    /// What is to be done now.
    pub(super) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.ready)
    }
}

/// True if the answer says that something was made durable. What is done after a failure was reading.
fn is_written(answer: &Answer) -> bool {
    !matches!(answer, Answer::Ponged(_) | Answer::Done)
}
