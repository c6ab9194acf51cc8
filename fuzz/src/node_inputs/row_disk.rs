//! A disk: rows that are durable, and batches on their way there, in order.

use std::collections::VecDeque;

use larder_core::node::StoreBatchId;
use larder_core::store::{MemoryStore, Row};

use crate::fixture::FIXTURE;

pub(super) struct RowDisk {
    pub(super) rows: MemoryStore,
    pending: VecDeque<(StoreBatchId, Vec<Row>)>,
}

impl RowDisk {
    pub(super) fn new() -> Self {
        Self { rows: FIXTURE.store.clone(), pending: VecDeque::new() }
    }

    /// Takes a batch. Batches come in order of token.
    pub(super) fn write(&mut self, token: StoreBatchId, rows: Vec<Row>) {
        assert!(self.pending.back().is_none_or(|(last, _)| *last < token), "tokens rise");
        self.pending.push_back((token, rows));
    }

    /// Makes the oldest batches durable; answers the newest of them.
    pub(super) fn sync(&mut self, count: usize) -> Option<StoreBatchId> {
        let count = count.min(self.pending.len());
        let done: Vec<_> = self.pending.drain(..count).collect();
        done.iter().for_each(|(_, rows)| self.rows.write(rows));
        done.last().map(|(token, _)| *token)
    }

    /// What is not durable is lost.
    pub(super) fn crash(&mut self) {
        self.pending.clear();
    }
}
