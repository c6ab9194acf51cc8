//! A faulty disk in memory for one file. It loses writes that were not synced, tears writes, runs full,
//! fails, and corrupts data.
//!
//! It is the backend of a store ([`StorageBackend`]) in tests that decide when the power fails. Its behaviour
//! depends only on its calls and on the seeds that the test gives.
//!
//! ```text
//!             write, set_len                    sync_data
//!   redb --------------------> [ waiting ] ------------------> [ synced ]
//!     ^                             |                              |
//!     +--- read: both, as the page cache shows them                |
//!                                   +----- after_crash(outcome) --+--> a new disk, for the next start
//! ```
//!
//! ```
//! use larder_tests::disk::{CrashOutcome, FaultyDisk};
//! let disk = FaultyDisk::new();
//! drop(larder::store::Store::open_backend(disk.clone()).expect("a new store"));
//! disk.crash_at(disk.operations() + 3);
//! // ... work with the store until it fails ...
//! let found = disk.after_crash(CrashOutcome::Prefix, 42);
//! drop(larder::store::Store::open_backend(found).expect("the store as it was"));
//! ```

mod blocks;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use larder::store::StorageBackend;

use crate::rng::TestRng;
use blocks::CowBlocks;

/// The size of the unit that is written atomically, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// A simulated disk. Clones share the same contents.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<DiskState>>);

/// The error of a failing operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// The device reports an input/output error (`EIO`).
    Io,
    /// The device has no free space (`ENOSPC`).
    Full,
}

/// The duration of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultDuration {
    /// One operation fails, and the next one succeeds.
    Once,
    /// All operations fail until [`FaultyDisk::clear_faults`].
    UntilCleared,
}

/// The writes since the last sync that survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashOutcome {
    /// No write survives.
    Nothing,
    /// A prefix of the writes survives. The last write of it is torn at a sector boundary.
    Prefix,
    /// Any set of sectors of the writes survives.
    Sectors,
    /// Every write survives.
    Everything,
    /// The new length of the file and any set of sectors survive. Junk fills the parts of the growth that
    /// were not written.
    Junk,
}

impl CrashOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Prefix, Self::Sectors, Self::Everything, Self::Junk];
}

/// Damage to synced data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskDamage {
    /// One bit is inverted.
    Flip,
    /// One sector is overwritten with random bytes.
    Sector,
    /// A page of 4 KiB is overwritten with random bytes.
    Page,
    /// The file is truncated at a sector boundary.
    Truncated,
    /// The file exists and is empty.
    Emptied,
}

#[derive(Debug)]
enum UnsyncedWrite {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Default)]
struct DiskState {
    /// The contents that reads return.
    visible: CowBlocks,
    /// The contents that survive every crash.
    synced: CowBlocks,
    /// The writes since the last sync, which may survive a crash.
    pending: Vec<UnsyncedWrite>,
    operations: u64,
    crash_at: Option<u64>,
    fault: Option<(u64, DiskFault, FaultDuration)>,
}

impl FaultyDisk {
    /// Creates an empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a disk with these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut blocks = CowBlocks::default();
        blocks.write(0, bytes);
        Self::from_blocks(blocks)
    }

    fn from_blocks(blocks: CowBlocks) -> Self {
        Self(Arc::new(Mutex::new(DiskState {
            visible: blocks.clone(),
            synced: blocks,
            ..DiskState::default()
        })))
    }

    /// The number of attempted operations that change something: writes, changes of length, syncs.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Makes the power fail during this operation (the first is 1). It and all later operations fail.
    pub fn crash_at(&self, operation: u64) {
        self.lock().crash_at = Some(operation);
    }

    /// Makes the power fail now.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.crash_at = Some(state.operations);
    }

    /// Makes this operation fail without effect. If it is a sync, the pending writes never reach the disk,
    /// although reads still return them.
    pub fn fail_at(&self, operation: u64, fault: DiskFault, duration: FaultDuration) {
        self.lock().fault = Some((operation, fault, duration));
    }

    /// Ends the fault: operations succeed from now on.
    pub fn clear_faults(&self) {
        self.lock().fault = None;
    }

    /// A new disk with the contents after a power failure now. This disk is not changed, so that a test can
    /// try several outcomes.
    pub fn after_crash(&self, outcome: CrashOutcome, seed: u64) -> Self {
        let state = self.lock();
        Self::from_blocks(state.contents_after_crash(outcome, &mut TestRng::from_seed(seed)))
    }

    /// A new disk with damage in the synced data. This disk is not changed.
    pub fn damaged(&self, damage: DiskDamage, seed: u64) -> Self {
        let mut blocks = self.lock().synced.clone();
        let (mut rng, len) = (TestRng::from_seed(seed), blocks.len());
        let sectors = len.div_ceil(SECTOR_BYTES as u64).max(1);
        match damage {
            DiskDamage::Flip if len > 0 => blocks.flip_bit(rng.below(len * 8)),
            DiskDamage::Sector | DiskDamage::Page if len > 0 => {
                let size = if damage == DiskDamage::Page { 8 * SECTOR_BYTES } else { SECTOR_BYTES };
                let junk = rng.bytes(size);
                let at = rng.below(len.div_ceil(size as u64)) * size as u64;
                blocks.write(at, &junk[..(len - at).min(size as u64) as usize]);
            }
            DiskDamage::Truncated => blocks.set_len(rng.below(sectors) * SECTOR_BYTES as u64),
            DiskDamage::Emptied => blocks.set_len(0),
            DiskDamage::Flip | DiskDamage::Sector | DiskDamage::Page => {}
        }
        Self::from_blocks(blocks)
    }

    /// A new disk with one bit of the synced data inverted.
    pub fn flipped(&self, bit: u64) -> Self {
        let mut blocks = self.lock().synced.clone();
        blocks.flip_bit(bit);
        Self::from_blocks(blocks)
    }

    /// The contents that reads return now.
    pub fn bytes(&self) -> Vec<u8> {
        let state = self.lock();
        let mut bytes = vec![0; usize::try_from(state.visible.len()).unwrap_or(0)];
        state.visible.read(0, &mut bytes);
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn power_lost_error() -> io::Error {
    io::Error::other("the power is gone")
}

impl DiskState {
    /// Counts an operation. On failure, returns the error and whether the power failed during this operation.
    fn begin_operation(&mut self) -> Result<(), (io::Error, bool)> {
        self.operations += 1;
        let now = self.operations;
        if let Some(at) = self.crash_at.filter(|at| *at <= now) {
            return Err((power_lost_error(), at == now));
        }
        let Some((at, fault, lasts)) = self.fault.filter(|(at, ..)| *at <= now) else { return Ok(()) };
        if lasts == FaultDuration::Once && at < now {
            return Ok(());
        }
        // The error codes are those of the system, so that code that distinguishes a full disk from a broken
        // one is tested too.
        let code = match fault {
            DiskFault::Io => rustix::io::Errno::IO,
            DiskFault::Full => rustix::io::Errno::NOSPC,
        };
        Err((code.into(), false))
    }

    fn submit(&mut self, change: UnsyncedWrite) -> io::Result<()> {
        match self.begin_operation() {
            Ok(()) => {}
            Err((error, in_flight)) => {
                if in_flight {
                    self.pending.push(change);
                }
                return Err(error);
            }
        }
        apply(&mut self.visible, &change);
        self.pending.push(change);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Err((error, _)) = self.begin_operation() {
            if self.crash_at.is_none_or(|at| at > self.operations) {
                // Like a real system, the disk reports the failed sync once and then treats the pages as
                // written. They are lost.
                self.pending.clear();
            }
            return Err(error);
        }
        for change in self.pending.drain(..) {
            apply(&mut self.synced, &change);
        }
        Ok(())
    }

    fn contents_after_crash(&self, outcome: CrashOutcome, rng: &mut TestRng) -> CowBlocks {
        let mut found = self.synced.clone();
        match outcome {
            CrashOutcome::Nothing => {}
            CrashOutcome::Prefix => {
                let kept = rng.below(self.pending.len() as u64 + 1) as usize;
                self.pending.iter().take(kept).for_each(|change| apply(&mut found, change));
                if let Some(UnsyncedWrite::Write(at, bytes)) = self.pending.get(kept) {
                    // Sectors are counted from the start of the disk, not from the start of the write.
                    let torn =
                        (rng.below(bytes.len() as u64 + 1) + at) / SECTOR_BYTES as u64 * SECTOR_BYTES as u64;
                    found.write(*at, &bytes[..torn.saturating_sub(*at) as usize]);
                }
            }
            CrashOutcome::Sectors => self.apply_random_sectors(&mut found, rng),
            CrashOutcome::Everything => self.pending.iter().for_each(|change| apply(&mut found, change)),
            CrashOutcome::Junk => {
                let before = found.len();
                let after = self.pending.iter().fold(before, |len, change| len.max(change.end_offset()));
                // Junk is written only at the start and the end of the growth; mebibytes of it would test no
                // more.
                for at in [before, after.saturating_sub(MAX_JUNK_BYTES).max(before)] {
                    found.write(at, &rng.bytes((after - at).min(MAX_JUNK_BYTES) as usize));
                }
                found.set_len(after);
                self.apply_random_sectors(&mut found, rng);
                found.set_len(after.max(found.len()));
            }
        }
        found
    }

    fn apply_random_sectors(&self, found: &mut CowBlocks, rng: &mut TestRng) {
        for change in &self.pending {
            match change {
                UnsyncedWrite::Length(len) if rng.next_bool() => found.set_len(*len),
                UnsyncedWrite::Length(_) => {}
                UnsyncedWrite::Write(at, bytes) => {
                    let mut from = 0;
                    while from < bytes.len() {
                        let to =
                            (from + SECTOR_BYTES - (*at as usize + from) % SECTOR_BYTES).min(bytes.len());
                        if rng.next_bool() {
                            found.write(at + from as u64, &bytes[from..to]);
                        }
                        from = to;
                    }
                }
            }
        }
    }
}

const MAX_JUNK_BYTES: u64 = 64 << 10;

impl UnsyncedWrite {
    /// The smallest length of the file after this write.
    fn end_offset(&self) -> u64 {
        match self {
            Self::Length(len) => *len,
            Self::Write(at, bytes) => at + bytes.len() as u64,
        }
    }
}

fn apply(blocks: &mut CowBlocks, change: &UnsyncedWrite) {
    match change {
        UnsyncedWrite::Write(at, bytes) => blocks.write(*at, bytes),
        UnsyncedWrite::Length(len) => blocks.set_len(*len),
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().visible.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if state.crash_at.is_some_and(|at| at <= state.operations) {
            return Err(power_lost_error());
        }
        if offset + out.len() as u64 > state.visible.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.visible.read(offset, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().submit(UnsyncedWrite::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.lock().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock().submit(UnsyncedWrite::Write(offset, data.to_vec()))
    }
}

#[cfg(test)]
mod tests;
