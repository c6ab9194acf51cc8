//! A simulated disk: durable rows, and batches that are not durable yet. A batch is atomic. A crash keeps
//! some of the oldest batches.

use std::collections::VecDeque;

use larder_core::node::StoreBatchId;
use larder_core::store::{MemoryStore, Row};

/// The disk of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk {
    /// The durable rows.
    pub(super) rows: MemoryStore,
    pending: VecDeque<(StoreBatchId, Vec<Row>)>,
    /// The time until which every commit fails, and the reason.
    pub(super) failing_until: Option<(u64, &'static str)>,
}

impl SimDisk {
    /// Queues a batch. [`SimDisk::sync`] makes it durable.
    pub(super) fn write(&mut self, batch_id: StoreBatchId, rows: Vec<Row>) {
        self.pending.push_back((batch_id, rows));
    }

    /// Makes the oldest `count` batches durable, as one commit. Returns the newest of them.
    pub(super) fn sync(&mut self, count: usize) -> Option<StoreBatchId> {
        let mut newest = None;
        for _ in 0..count {
            let Some((batch_id, rows)) = self.pending.pop_front() else { break };
            self.rows.write(&rows);
            newest = Some(batch_id);
        }
        newest
    }

    /// The number of batches that are not durable.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Simulates a power failure or a disk failure. The oldest `kept_batches` batches become durable, but the
    /// node gets no confirmation. Returns the number of lost batches.
    pub(super) fn crash(&mut self, kept_batches: usize) -> usize {
        self.sync(kept_batches);
        let lost = self.pending.len();
        self.pending.clear();
        lost
    }
}
