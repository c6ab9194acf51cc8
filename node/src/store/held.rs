//! Storage that keeps back what is written to it until it is told to let go.
//!
//! To open a file, redb writes to it: it cuts or grows it to the length that its header names, repairs it, and says in it
//! that it is in use. Of a file that turns out to be damaged, nothing may be changed, whatever the header says. So the
//! whole opening is played on top of the file, and goes into it, in the same order, once it succeeded.
//!
//! ```text
//!   redb ---- write, set_len, sync ---> [ kept ]        while it is held
//!     ^                                    | release
//!     +---- read: the file, with           v
//!           what is kept over it        the file        from then on
//! ```
//!
//! What is kept is small, for a repair happens in memory and writes headers; it has a bound all the same.

use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::{BackendError, StorageBackend};

use crate::limits;

/// Storage on which nothing is written yet. Clones are the same.
#[derive(Debug)]
pub(super) struct Held<B>(Arc<Inner<B>>);

#[derive(Debug)]
struct Inner<B> {
    below: B,
    state: RwLock<State>,
}

#[derive(Debug)]
enum State {
    Held(Kept),
    Released,
    /// What was kept could not all be written: nothing may be written after it.
    Broken,
}

/// What was written, and is not in the file.
#[derive(Debug)]
struct Kept {
    /// How long the file is.
    below: u64,
    /// How long it would be.
    len: u64,
    changes: Vec<Change>,
    /// Bytes of all writes.
    bytes: usize,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

impl<B> Clone for Held<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: StorageBackend> Held<B> {
    /// Holds a storage as it is.
    pub(super) fn new(below: B) -> io::Result<Self> {
        let len = below.len()?;
        let kept = Kept { below: len, len, changes: Vec::new(), bytes: 0 };
        Ok(Self(Arc::new(Inner { below, state: RwLock::new(State::Held(kept)) })))
    }

    /// Writes what was kept back, in order; all that follows goes straight through. If a write fails, then so does
    /// everything from then on: the file is as after a crash at that write.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Held(kept) = &mut *state else { return Ok(()) };
        let changes = std::mem::take(&mut kept.changes);
        *state = State::Broken;
        for change in changes {
            match change {
                Change::Write(at, data) => self.0.below.write(at, &data)?,
                Change::Length(len) => self.0.below.set_len(len)?,
                Change::Sync => self.0.below.sync_data()?,
            }
        }
        *state = State::Released;
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_released(&self) -> bool {
        matches!(*self.state(), State::Released)
    }

    fn keep(&self, change: Change) -> io::Result<()> {
        match &mut *self.0.state.write().unwrap_or_else(PoisonError::into_inner) {
            State::Held(kept) => kept.push(change),
            State::Released | State::Broken => Err(broken()),
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("the store could not be put in order, and is not written to")
}

impl Kept {
    fn push(&mut self, change: Change) -> io::Result<()> {
        match &change {
            Change::Write(at, data) => {
                self.bytes += data.len();
                self.len = self.len.max(at + data.len() as u64);
            }
            Change::Length(len) => self.len = *len,
            Change::Sync => {}
        }
        if self.bytes > limits::STORE_HELD {
            return Err(io::Error::other("to open the store takes more memory than there may be for it"));
        }
        self.changes.push(change);
        Ok(())
    }

    /// What the file would hold, had everything been written.
    fn read(&self, below: &impl StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let there = (out.len() as u64).min(self.below.saturating_sub(offset));
        let (of_file, grown) = out.split_at_mut(usize::try_from(there).unwrap_or(usize::MAX));
        if !of_file.is_empty() {
            below.read(offset, of_file)?;
        }
        grown.fill(0);
        for change in &self.changes {
            match change {
                Change::Write(at, data) => overlay(out, offset, *at, data),
                Change::Length(len) if *len < end => {
                    let cut = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
                    out.iter_mut().skip(cut).for_each(|byte| *byte = 0);
                }
                Change::Length(_) | Change::Sync => {}
            }
        }
        Ok(())
    }
}

/// Copies what of `data`, which lies at `at`, falls into `out`, which lies at `offset`.
fn overlay(out: &mut [u8], offset: u64, at: u64, data: &[u8]) {
    let skipped = |from: u64, to: u64| usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let into = out.iter_mut().skip(skipped(offset, at));
    into.zip(data.iter().skip(skipped(at, offset))).for_each(|(byte, written)| *byte = *written);
}

impl<B: StorageBackend> StorageBackend for Held<B> {
    fn len(&self) -> io::Result<u64> {
        match &*self.state() {
            State::Held(kept) => Ok(kept.len),
            State::Released | State::Broken => self.0.below.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.state() {
            State::Held(kept) => kept.read(&self.0.below, offset, out),
            State::Released | State::Broken => self.0.below.read(offset, out),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.is_released() {
            return self.0.below.write(offset, data);
        }
        self.keep(Change::Write(offset, data.to_vec()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.is_released() { self.0.below.set_len(len) } else { self.keep(Change::Length(len)) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_released() { self.0.below.sync_data() } else { self.keep(Change::Sync) }
    }

    // Locks change nothing of the file, and are the file's from the beginning.

    fn close(&self) -> io::Result<()> {
        self.0.below.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.below.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.below.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.below.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    fn read(storage: &impl StorageBackend, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0xee; len];
        storage.read(offset, &mut out).unwrap();
        out
    }

    fn all(storage: &impl StorageBackend) -> Vec<u8> {
        read(storage, 0, usize::try_from(storage.len().unwrap()).unwrap())
    }

    /// Whatever is done, in whatever order, reads show it at once, and the file gets it on release and not before.
    #[test]
    fn it_reads_as_if_everything_had_been_written() {
        type Step = fn(&dyn StorageBackend);
        let steps: [Step; 6] = [
            |on| on.write(2, b"abcd").unwrap(),
            |on| on.set_len(4).unwrap(),
            |on| on.set_len(12).unwrap(),
            |on| on.write(3, b"xyz").unwrap(),
            |on| on.write(10, b"z").unwrap(),
            |on| on.sync_data().unwrap(),
        ];
        for order in 0..6_usize.pow(4) {
            let (below, plain) = (Arc::new(InMemoryBackend::new()), InMemoryBackend::new());
            for storage in [&*below as &dyn StorageBackend, &plain] {
                storage.set_len(8).unwrap();
                storage.write(0, b"01234567").unwrap();
            }
            let held = Held::new(Below(Arc::clone(&below))).unwrap();
            for nth in 0..4 {
                let step = steps[order / 6_usize.pow(nth) % 6];
                let grown = |on: &dyn StorageBackend| on.set_len(on.len().unwrap().max(11)).unwrap();
                for storage in [&held as &dyn StorageBackend, &plain] {
                    grown(storage);
                    step(storage);
                }
                assert_eq!(all(&held), all(&plain), "{order}");
                let half = held.len().unwrap() / 2;
                assert_eq!(read(&held, half, 2), read(&plain, half, 2), "{order}");
                assert!(held.read(held.len().unwrap(), &mut [0]).is_err(), "{order}");
                assert_eq!(all(&*below), b"01234567", "{order}");
            }
            held.release().unwrap();
            assert_eq!(all(&*below), all(&plain), "{order}");
            held.write(0, b"now").unwrap();
            assert_eq!(read(&*below, 0, 3), b"now");
        }
    }

    #[derive(Debug)]
    struct Below(Arc<InMemoryBackend>);

    impl StorageBackend for Below {
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
