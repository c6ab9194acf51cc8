//! The writer: one thread that makes batches durable in order, as many as wait in one commit.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use larder_core::machine::Token;
use larder_core::store::{Row, Table};
use tokio::sync::mpsc::UnboundedSender;

use super::{ReadError, Roster, Snapshot, Store};
use crate::limits;

/// Rows that belong together.
#[derive(Debug)]
pub struct Batch {
    /// The machine's name for the batch; `None` of rows that nobody waits for.
    pub token: Option<Token>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// What became of batches. Bounded by the batches themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All up to this one are durable.
    Stored(Token),
    /// A commit failed. Nothing is written from now on by this writer.
    Failed {
        /// Why.
        why: String,
        /// Rows that nobody waits for and that were not written: they are to be written by the next one.
        rows: Vec<Row>,
    },
}

/// The handle to the writer thread. Dropping it lets the thread finish what waits, and end.
#[derive(Debug)]
pub struct Writer {
    batches: Option<SyncSender<Batch>>,
    store: Option<Arc<Store>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub fn start(store: Store, roster: Roster, outcomes: UnboundedSender<Outcome>) -> std::io::Result<Self> {
        let (batches, waiting) = sync_channel(limits::BATCHES);
        let store = Arc::new(store);
        let written = Arc::clone(&store);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_all(&written, &roster, &waiting, &outcomes))?;
        Ok(Self { batches: Some(batches), store: Some(store), thread: Some(thread) })
    }

    /// Hands over a batch. Where the disk is so slow that too many wait, this waits with them: nothing more is taken
    /// from neighbours meanwhile. After a failure batches are dropped; the failure was told.
    pub fn write(&self, batch: Batch) {
        let Some(batches) = &self.batches else { return };
        match batches.try_send(batch) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(batch)) => {
                tokio::task::block_in_place(|| drop(batches.send(batch)));
            }
        }
    }

    /// What is durable now, to be read while writing goes on; nothing after [`Writer::finish`].
    pub fn snapshot(&self) -> Option<Result<Snapshot, ReadError>> {
        self.store.as_ref().map(|store| store.snapshot())
    }

    /// Waits until everything that was handed over is durable or has failed.
    pub fn finish(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        self.store = None;
    }
}

fn write_all(store: &Store, roster: &Roster, waiting: &Receiver<Batch>, outcomes: &UnboundedSender<Outcome>) {
    while let Ok(first) = waiting.recv() {
        let mut batches = vec![first];
        let mut rows = batches.iter().map(|batch| batch.rows.len()).sum::<usize>();
        while rows < limits::COMMIT_ROWS
            && let Ok(batch) = waiting.try_recv()
        {
            rows += batch.rows.len();
            batches.push(batch);
        }
        if let Err(error) = store.commit(batches.iter().flat_map(|batch| &batch.rows)) {
            // After a failed flush nobody knows what the disk holds: say so once and write no more.
            batches.extend(waiting.try_iter());
            let rows = batches.into_iter().filter(|batch| batch.token.is_none());
            let rows = rows.flat_map(|batch| batch.rows).collect();
            drop(outcomes.send(Outcome::Failed { why: error.to_string(), rows }));
            return;
        }
        let kept_twice = |row: &Row| matches!(row.table, Table::Records | Table::Groups);
        if batches.iter().flat_map(|batch| &batch.rows).any(kept_twice)
            && let Err(error) = roster.keep(store)
        {
            // The store has it all; what is missing is only the second copy, which the next change brings.
            tracing::warn!(%error, "the roster could not be written");
        }
        if let Some(token) = batches.iter().filter_map(|batch| batch.token).max() {
            drop(outcomes.send(Outcome::Stored(token)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OpenError;
    use larder_core::store::Rows;

    fn row(key: u64, value: &str) -> Row {
        Row::put(Table::Meta, key.to_be_bytes().to_vec(), value.as_bytes().to_vec())
    }

    #[test]
    fn what_was_confirmed_is_there_after_reopening() {
        let dir = std::env::temp_dir().join(format!("larder-store-{}", std::process::id()));
        drop(std::fs::create_dir_all(&dir));
        let path = dir.join("store.redb");
        let (outcomes, mut told) = tokio::sync::mpsc::unbounded_channel();
        let roster = Roster::at(dir.join("groups.kept"));
        let mut writer = Writer::start(Store::open(&path).unwrap(), roster, outcomes).unwrap();
        for nth in 1..=100 {
            writer.write(Batch { token: Some(Token(nth)), rows: vec![row(nth, "x")] });
        }
        writer.finish();
        let mut last = None;
        while let Ok(outcome) = told.try_recv() {
            last = Some(outcome);
        }
        assert_eq!(last, Some(Outcome::Stored(Token(100))));
        let store = Store::open(&path).unwrap();
        assert_eq!(store.rows(Table::Meta, &[]).unwrap().len(), 100);
        assert_eq!(store.rows(Table::Meta, &[0, 0, 0, 0, 0, 0, 0, 9]).unwrap().len(), 1);
        assert!(matches!(Store::open(&path), Err(OpenError::InUse)));
        drop(store);
        std::fs::write(&path, b"no store at all, but quite long enough to look at").unwrap();
        assert!(matches!(Store::open(&path), Err(OpenError::Damaged(_))));
        assert_eq!(std::fs::read(&path).unwrap().len(), 49);
        drop(std::fs::remove_dir_all(dir));
    }
}
