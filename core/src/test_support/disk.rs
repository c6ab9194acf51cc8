//! A simulated disk: durable rows, and batches that are not durable yet. A batch is atomic. A crash keeps
//! some of the oldest batches.

use std::collections::VecDeque;

use crate::node::StoreBatchId;
use crate::store::{MemoryStore, Row};

/// The disk of one node.
#[derive(Clone, Debug, Default)]
pub struct TestDisk {
    /// The durable rows.
    pub rows: MemoryStore,
    pending: VecDeque<(StoreBatchId, Vec<Row>)>,
}

impl TestDisk {
    /// A disk that holds `rows`.
    pub fn new(rows: MemoryStore) -> Self {
        Self { rows, pending: VecDeque::new() }
    }

    /// Queues a batch. [`TestDisk::sync`] makes it durable.
    ///
    /// # Panics
    ///
    /// If the node issued a later batch before.
    pub fn write(&mut self, batch_id: StoreBatchId, rows: Vec<Row>) {
        assert!(self.pending.back().is_none_or(|(last, _)| *last < batch_id), "batch ids rise");
        self.pending.push_back((batch_id, rows));
    }

    /// Makes the oldest `count` batches durable, as one commit. Returns the newest of them.
    pub fn sync(&mut self, count: usize) -> Option<StoreBatchId> {
        let mut newest = None;
        for _ in 0..count {
            let Some((batch_id, rows)) = self.pending.pop_front() else { break };
            self.rows.write(&rows);
            newest = Some(batch_id);
        }
        newest
    }

    /// The number of batches that are not durable.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Simulates a power failure or a disk failure. The oldest `kept_batches` batches become durable, but the
    /// node gets no confirmation. Returns the number of lost batches.
    pub fn crash(&mut self, kept_batches: usize) -> usize {
        self.sync(kept_batches);
        let lost = self.pending.len();
        self.pending.clear();
        lost
    }
}
