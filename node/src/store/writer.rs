//! The writer thread: makes batches durable in order, and puts all waiting batches into one commit.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use larder_core::node::StoreBatchId;
use larder_core::store::{Row, Table};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{MembershipBackup, Store, StoreError, StoreSnapshot};
use crate::data_dir::DataDir;
use crate::error::CliError;
use crate::limits;

/// Rows that become durable together.
#[derive(Debug)]
pub struct WriteBatch {
    /// The id that the node gave the batch; `None` for the daemon's own rows, which need no confirmation.
    pub id: Option<StoreBatchId>,
    /// The rows to write.
    pub rows: Vec<Row>,
}

/// The outcome of a commit. There are at most as many outcomes as batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// All batches up to this one are durable.
    Stored(StoreBatchId),
    /// A commit failed. This writer writes nothing more.
    Failed {
        /// The error text.
        reason: String,
        /// The daemon's own rows that were not written. The next writer must write them.
        unwritten_rows: Vec<Row>,
    },
}

/// The handle of the writer thread. After it is dropped, the thread writes all queued batches and ends.
#[derive(Debug)]
pub struct StoreWriter {
    batches: Option<SyncSender<WriteBatch>>,
    store: Option<Arc<Store>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreWriter {
    /// Writes `rows` and the membership backup, and starts the thread. If this fails, the disk does not work.
    pub fn start(
        store: Store,
        data_dir: &DataDir,
        rows: &[Row],
    ) -> Result<(Self, UnboundedReceiver<CommitOutcome>), CliError> {
        let cannot_write = |error: &dyn std::fmt::Display| {
            let path = data_dir.store_file();
            CliError::failed(format!("cannot write the store {}: {error}", path.display()))
                .with_hint("make the data directory writable, and free some space on its disk")
        };
        store.commit(rows).map_err(|error| cannot_write(&error))?;
        let membership_backup = MembershipBackup::new(data_dir.membership_backup_file());
        membership_backup.update(&store).map_err(|error| cannot_write(&error))?;
        let (outcomes, outcome_receiver) = unbounded_channel();
        let (batches, batch_receiver) = sync_channel(limits::STORE_QUEUE_BATCHES);
        let store = Arc::new(store);
        let thread_store = Arc::clone(&store);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run_writer(&thread_store, &membership_backup, &batch_receiver, &outcomes))
            .map_err(|error| CliError::failed(format!("cannot start a thread: {error}")))?;
        let writer = Self { batches: Some(batches), store: Some(store), thread: Some(thread) };
        Ok((writer, outcome_receiver))
    }

    /// Queues a batch. Blocks while the queue is full, so that the daemon receives nothing more from
    /// neighbours until the disk catches up. Drops the batch if the writer has failed;
    /// [`CommitOutcome::Failed`] reported that.
    pub fn queue(&self, batch: WriteBatch) {
        let Some(batches) = &self.batches else { return };
        match batches.try_send(batch) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(batch)) => {
                tokio::task::block_in_place(|| drop(batches.send(batch)));
            }
        }
    }

    /// Returns a snapshot of the durable rows; `None` after [`StoreWriter::close`].
    pub fn snapshot(&self) -> Option<Result<StoreSnapshot, StoreError>> {
        self.store.as_ref().map(|store| store.snapshot())
    }

    /// Waits until every queued batch is durable or has failed, and closes the store.
    pub fn close(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        self.store = None;
    }
}

fn run_writer(
    store: &Store,
    membership_backup: &MembershipBackup,
    batch_receiver: &Receiver<WriteBatch>,
    outcomes: &UnboundedSender<CommitOutcome>,
) {
    while let Ok(first) = batch_receiver.recv() {
        let mut batches = vec![first];
        let mut rows = batches.iter().map(|batch| batch.rows.len()).sum::<usize>();
        while rows < limits::MAX_COMMIT_ROWS
            && let Ok(batch) = batch_receiver.try_recv()
        {
            rows += batch.rows.len();
            batches.push(batch);
        }
        if let Err(error) = store.commit(batches.iter().flat_map(|batch| &batch.rows)) {
            // After a failed flush the content of the disk is unknown, so this writer writes nothing more.
            batches.extend(batch_receiver.try_iter());
            let rows = batches.into_iter().filter(|batch| batch.id.is_none());
            let rows = rows.flat_map(|batch| batch.rows).collect();
            drop(outcomes.send(CommitOutcome::Failed { reason: error.to_string(), unwritten_rows: rows }));
            return;
        }
        let is_backed_up = |row: &Row| matches!(row.table, Table::Records | Table::Groups);
        if batches.iter().flat_map(|batch| &batch.rows).any(is_backed_up)
            && let Err(error) = membership_backup.update(store)
        {
            // The store holds the records. Only the second copy is out of date, until the next commit of
            // records.
            tracing::warn!(%error, "cannot write the second copy of the membership records");
        }
        if let Some(batch_id) = batches.iter().filter_map(|batch| batch.id).max() {
            drop(outcomes.send(CommitOutcome::Stored(batch_id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOpenError;
    use larder_core::store::RowReader;

    fn meta_row(key: u64, value: &str) -> Row {
        Row::put(Table::Meta, key.to_be_bytes().to_vec(), value.as_bytes().to_vec())
    }

    #[test]
    fn confirmed_batches_survive_reopening() {
        let dir = std::env::temp_dir().join(format!("larder-store-{}", std::process::id()));
        drop(std::fs::create_dir_all(&dir));
        let data_dir = DataDir { socket: dir.join("socket"), path: dir.clone() };
        let path = data_dir.store_file();
        let (mut writer, mut outcome_receiver) =
            StoreWriter::start(Store::open(&path).unwrap(), &data_dir, &[]).unwrap();
        for nth in 1..=100 {
            writer.queue(WriteBatch { id: Some(StoreBatchId(nth)), rows: vec![meta_row(nth, "x")] });
        }
        writer.close();
        let mut last = None;
        while let Ok(outcome) = outcome_receiver.try_recv() {
            last = Some(outcome);
        }
        assert_eq!(last, Some(CommitOutcome::Stored(StoreBatchId(100))));
        let store = Store::open(&path).unwrap();
        assert_eq!(store.read_rows(Table::Meta, &[]).unwrap().len(), 100);
        assert_eq!(store.read_rows(Table::Meta, &[0, 0, 0, 0, 0, 0, 0, 9]).unwrap().len(), 1);
        assert!(matches!(Store::open(&path), Err(StoreOpenError::InUse)));
        drop(store);
        std::fs::write(&path, b"no store at all, but quite long enough to look at").unwrap();
        assert!(matches!(Store::open(&path), Err(StoreOpenError::Damaged(_))));
        assert_eq!(std::fs::read(&path).unwrap().len(), 49);
        drop(std::fs::remove_dir_all(dir));
    }
}
