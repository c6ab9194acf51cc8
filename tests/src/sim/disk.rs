//! A disk: rows that are durable, and batches on their way there. A batch is atomic; a crash keeps some of
//! the oldest.

use std::collections::VecDeque;

use larder_core::node::StoreBatchId;
use larder_core::store::{MemoryStore, Row};

/// One node's disk.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk {
    /// What is durable.
    pub(super) rows: MemoryStore,
    pending: VecDeque<(StoreBatchId, Vec<Row>)>,
    /// Until when it takes no more, and why.
    pub(super) failing_until: Option<(u64, &'static str)>,
}

impl SimDisk {
    /// Takes a batch; it is durable after [`Disk::sync`].
    pub(super) fn write(&mut self, token: StoreBatchId, rows: Vec<Row>) {
        self.pending.push_back((token, rows));
    }

    /// Makes the oldest `count` batches durable, as one shared commit; answers the newest of them.
    pub(super) fn sync(&mut self, count: usize) -> Option<StoreBatchId> {
        let mut newest = None;
        for _ in 0..count {
            let Some((token, rows)) = self.pending.pop_front() else { break };
            self.rows.write(&rows);
            newest = Some(token);
        }
        newest
    }

    /// How many batches are not durable.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The power goes, or the disk fails: of the batches under way, the oldest `kept` are durable, though
    /// nobody was told. Answers how many were lost.
    pub(super) fn crash(&mut self, kept_batches: usize) -> usize {
        self.sync(kept_batches);
        let lost = self.pending.len();
        self.pending.clear();
        lost
    }
}
