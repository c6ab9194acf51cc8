//! A simulated disk: durable rows, and batches that are not durable yet, in order.

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

    /// Queues a batch. Batches come in the order of their ids.
    pub(super) fn write(&mut self, batch_id: StoreBatchId, rows: Vec<Row>) {
        assert!(self.pending.back().is_none_or(|(last, _)| *last < batch_id), "batch ids rise");
        self.pending.push_back((batch_id, rows));
    }

    /// Makes the oldest `count` batches durable. Returns the newest of them.
    pub(super) fn sync(&mut self, count: usize) -> Option<StoreBatchId> {
        let count = count.min(self.pending.len());
        let done: Vec<_> = self.pending.drain(..count).collect();
        done.iter().for_each(|(_, rows)| self.rows.write(rows));
        done.last().map(|(batch_id, _)| *batch_id)
    }

    /// Loses all batches that are not durable.
    pub(super) fn crash(&mut self) {
        self.pending.clear();
    }
}
