//! A storage backend that keeps writes in memory until they are flushed.
//!
//! When redb opens a file, it writes to it: it changes the length to that in the header, repairs the file,
//! and marks it as in use. But Larder must not change a file that turns out to be damaged. So this backend
//! keeps all writes of the opening in memory. If redb opens the store, the backend applies them to the file
//! in the same order.
//!
//! ```text
//!   redb ---- write, set_len, sync ---> [ pending ops ]    until the flush
//!     ^                                       | flush
//!     +---- read: the file, overlaid          v
//!           with the pending ops           the file        after the flush
//! ```
//!
//! The pending writes are small, because redb repairs in memory and writes headers. They have a limit anyway.

use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::{BackendError, StorageBackend};

use crate::limits;

/// The backend. Clones share one state.
#[derive(Debug)]
pub(super) struct DeferredBackend<B>(Arc<DeferredInner<B>>);

#[derive(Debug)]
struct DeferredInner<B> {
    inner: B,
    state: RwLock<BackendState>,
}

#[derive(Debug)]
enum BackendState {
    Deferring(PendingOps),
    PassThrough,
    /// A flush failed halfway. Every later write fails.
    Broken,
}

/// Operations that were not yet applied to the file.
#[derive(Debug)]
struct PendingOps {
    /// The length of the file.
    file_len: u64,
    /// The length of the file after all pending operations.
    virtual_len: u64,
    ops: Vec<BackendOp>,
    /// The number of bytes of all pending writes.
    written_bytes: usize,
}

#[derive(Debug)]
enum BackendOp {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl<B> Clone for DeferredBackend<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: StorageBackend> DeferredBackend<B> {
    /// Wraps a storage, and defers all writes to it.
    pub(super) fn new(inner: B) -> io::Result<Self> {
        let len = inner.len()?;
        let pending = PendingOps { file_len: len, virtual_len: len, ops: Vec::new(), written_bytes: 0 };
        Ok(Self(Arc::new(DeferredInner { inner, state: RwLock::new(BackendState::Deferring(pending)) })))
    }

    /// Applies the pending operations in order. Later operations go to the storage directly. If an operation
    /// fails, every later write fails too, so the file is as after a crash at that operation.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        let BackendState::Deferring(pending) = &mut *state else { return Ok(()) };
        let ops = std::mem::take(&mut pending.ops);
        *state = BackendState::Broken;
        for op in ops {
            match op {
                BackendOp::Write(at, data) => self.0.inner.write(at, &data)?,
                BackendOp::SetLen(len) => self.0.inner.set_len(len)?,
                BackendOp::Sync => self.0.inner.sync_data()?,
            }
        }
        *state = BackendState::PassThrough;
        Ok(())
    }

    fn read_state(&self) -> RwLockReadGuard<'_, BackendState> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_released(&self) -> bool {
        matches!(*self.read_state(), BackendState::PassThrough)
    }

    fn defer(&self, op: BackendOp) -> io::Result<()> {
        match &mut *self.0.state.write().unwrap_or_else(PoisonError::into_inner) {
            BackendState::Deferring(pending) => pending.push(op),
            BackendState::PassThrough | BackendState::Broken => Err(broken_error()),
        }
    }
}

fn broken_error() -> io::Error {
    io::Error::other("an earlier write to the store failed, so it accepts no more writes")
}

impl PendingOps {
    fn push(&mut self, op: BackendOp) -> io::Result<()> {
        match &op {
            BackendOp::Write(at, data) => {
                self.written_bytes += data.len();
                self.virtual_len = self.virtual_len.max(at + data.len() as u64);
            }
            BackendOp::SetLen(len) => self.virtual_len = *len,
            BackendOp::Sync => {}
        }
        if self.written_bytes > limits::DEFERRED_WRITE_BYTES {
            return Err(io::Error::other("the repair of the store needs more memory than the limit allows"));
        }
        self.ops.push(op);
        Ok(())
    }

    /// Reads what the file would contain after all pending operations.
    fn read(&self, inner: &impl StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > self.virtual_len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let in_file = (out.len() as u64).min(self.file_len.saturating_sub(offset));
        let (file_part, zero_part) = out.split_at_mut(usize::try_from(in_file).unwrap_or(usize::MAX));
        if !file_part.is_empty() {
            inner.read(offset, file_part)?;
        }
        zero_part.fill(0);
        for op in &self.ops {
            match op {
                BackendOp::Write(at, data) => copy_overlap(out, offset, *at, data),
                BackendOp::SetLen(len) if *len < end => {
                    let keep = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
                    out.iter_mut().skip(keep).for_each(|byte| *byte = 0);
                }
                BackendOp::SetLen(_) | BackendOp::Sync => {}
            }
        }
        Ok(())
    }
}

/// Copies the part of `data`, at `data_offset` of the file, that overlaps with `out`, at `offset`.
fn copy_overlap(out: &mut [u8], offset: u64, data_offset: u64, data: &[u8]) {
    let distance = |from: u64, to: u64| usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let target = out.iter_mut().skip(distance(offset, data_offset));
    target.zip(data.iter().skip(distance(data_offset, offset))).for_each(|(byte, written)| *byte = *written);
}

impl<B: StorageBackend> StorageBackend for DeferredBackend<B> {
    fn len(&self) -> io::Result<u64> {
        match &*self.read_state() {
            BackendState::Deferring(pending) => Ok(pending.virtual_len),
            BackendState::PassThrough | BackendState::Broken => self.0.inner.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.read_state() {
            BackendState::Deferring(pending) => pending.read(&self.0.inner, offset, out),
            BackendState::PassThrough | BackendState::Broken => self.0.inner.read(offset, out),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.is_released() {
            return self.0.inner.write(offset, data);
        }
        self.defer(BackendOp::Write(offset, data.to_vec()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.is_released() { self.0.inner.set_len(len) } else { self.defer(BackendOp::SetLen(len)) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_released() { self.0.inner.sync_data() } else { self.defer(BackendOp::Sync) }
    }

    // Locks do not change the file, so they are never deferred.

    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    fn read_bytes(storage: &impl StorageBackend, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0xee; len];
        storage.read(offset, &mut out).unwrap();
        out
    }

    fn read_all(storage: &impl StorageBackend) -> Vec<u8> {
        read_bytes(storage, 0, usize::try_from(storage.len().unwrap()).unwrap())
    }

    /// In every order of operations, reads see a write at once, and the file gets it at the flush.
    #[test]
    fn deferred_writes_are_visible_to_reads_and_reach_the_file_only_on_flush() {
        type Step = fn(&dyn StorageBackend);
        let operations: [Step; 6] = [
            |on| on.write(2, b"abcd").unwrap(),
            |on| on.set_len(4).unwrap(),
            |on| on.set_len(12).unwrap(),
            |on| on.write(3, b"xyz").unwrap(),
            |on| on.write(10, b"z").unwrap(),
            |on| on.sync_data().unwrap(),
        ];
        for order in 0..6_usize.pow(4) {
            let (inner, reference) = (Arc::new(InMemoryBackend::new()), InMemoryBackend::new());
            for storage in [&*inner as &dyn StorageBackend, &reference] {
                storage.set_len(8).unwrap();
                storage.write(0, b"01234567").unwrap();
            }
            let deferred = DeferredBackend::new(SharedBackend(Arc::clone(&inner))).unwrap();
            for nth in 0..4 {
                let operation = operations[order / 6_usize.pow(nth) % 6];
                let grow = |on: &dyn StorageBackend| on.set_len(on.len().unwrap().max(11)).unwrap();
                for storage in [&deferred as &dyn StorageBackend, &reference] {
                    grow(storage);
                    operation(storage);
                }
                assert_eq!(read_all(&deferred), read_all(&reference), "{order}");
                let half = deferred.len().unwrap() / 2;
                assert_eq!(read_bytes(&deferred, half, 2), read_bytes(&reference, half, 2), "{order}");
                assert!(deferred.read(deferred.len().unwrap(), &mut [0]).is_err(), "{order}");
                assert_eq!(read_all(&*inner), b"01234567", "{order}");
            }
            deferred.flush().unwrap();
            assert_eq!(read_all(&*inner), read_all(&reference), "{order}");
            deferred.write(0, b"now").unwrap();
            assert_eq!(read_bytes(&*inner, 0, 3), b"now");
        }
    }

    #[derive(Debug)]
    struct SharedBackend(Arc<InMemoryBackend>);

    impl StorageBackend for SharedBackend {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
    }
}
