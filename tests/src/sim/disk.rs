//! A disk: rows that are durable, and batches on their way there. A crash loses what is not durable; of the batch being
//! written it may lose all or nothing, since a batch is atomic.

use std::collections::VecDeque;

use larder_core::machine::Token;
use larder_core::store::{Memory, Row};

/// One node's disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    /// What is durable.
    pub(super) rows: Memory,
    pending: VecDeque<(Token, Vec<Row>)>,
}

impl Disk {
    /// Takes a batch; it is durable after [`Disk::sync`].
    pub(super) fn write(&mut self, token: Token, rows: Vec<Row>) {
        self.pending.push_back((token, rows));
    }

    /// Makes the oldest `count` batches durable, as one shared commit; answers the newest of them.
    pub(super) fn sync(&mut self, count: usize) -> Option<Token> {
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

    /// The power goes. The batch being written survives if `lucky`.
    pub(super) fn crash(&mut self, lucky: bool) {
        if lucky {
            self.sync(1);
        }
        self.pending.clear();
    }
}
