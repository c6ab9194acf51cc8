//! A disk in memory for one file: it forgets what was not synced, tears what was being written, runs full, fails, rots.
//!
//! It is what a store stands on ([`StorageBackend`]) wherever a test decides when the power goes. All that it does
//! follows from what it is told and from the seeds it is given.
//!
//! ```text
//!             write, set_len                    sync_data
//!   redb --------------------> [ waiting ] ------------------> [ synced ]
//!     ^                             |                              |
//!     +--- read: both, as the page cache shows them                |
//!                                   +----- after_crash(survival) --+--> a new disk, as the next start finds it
//! ```
//!
//! ```
//! use larder_tests::disk::{Disk, Survival};
//! let disk = Disk::new();
//! drop(larder::store::Store::on(disk.clone()).expect("a new store"));
//! disk.crash_at(disk.operations() + 3);
//! // ... work with the store until it fails ...
//! let found = disk.after_crash(Survival::Prefix, 42);
//! drop(larder::store::Store::on(found).expect("the store as it was"));
//! ```

mod blocks;
mod dice;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use larder::store::StorageBackend;

use blocks::Blocks;
use dice::Dice;

/// What is written as a whole or not at all, in bytes.
pub const SECTOR: usize = 512;

/// A disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

/// What a failing operation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device cannot do it (`EIO`).
    Io,
    /// There is no room (`ENOSPC`).
    Full,
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// One operation fails, and the next one works.
    Once,
    /// All fail until [`Disk::clear`].
    UntilCleared,
}

/// What of the writes since the last sync is found after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// The first ones; the last of these is torn at a sector.
    Prefix,
    /// Any of their sectors.
    Sectors,
    /// Everything.
    Everything,
    /// The file's new length and any sectors, and junk wherever the file grew and nothing else was written.
    Junk,
}

impl Survival {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Prefix, Self::Sectors, Self::Everything, Self::Junk];
}

/// What happens to bytes at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit is another.
    Flip,
    /// One sector is other bytes.
    Sector,
    /// A page of 4 KiB is other bytes.
    Page,
    /// The end of the file is missing, from a sector on.
    Truncated,
    /// The file is there and has no bytes.
    Emptied,
}

#[derive(Debug)]
enum Waiting {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Default)]
struct State {
    /// What redb reads.
    shown: Blocks,
    /// What is there after a crash, whatever happens,
    synced: Blocks,
    /// and what may be.
    waiting: Vec<Waiting>,
    operations: u64,
    crash_at: Option<u64>,
    fault: Option<(u64, Fault, Lasts)>,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that holds these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut blocks = Blocks::default();
        blocks.write(0, bytes);
        Self::with(blocks)
    }

    fn with(blocks: Blocks) -> Self {
        Self(Arc::new(Mutex::new(State { shown: blocks.clone(), synced: blocks, ..State::default() })))
    }

    /// How many operations were tried that change something: writes, changes of length, syncs.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The power goes in the middle of that operation (the first is 1): it and all that follow fail.
    pub fn crash_at(&self, operation: u64) {
        self.lock().crash_at = Some(operation);
    }

    /// The power goes now.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.crash_at = Some(state.operations);
    }

    /// That operation fails. What it would have changed is not changed; if it is a sync, then everything that waited
    /// for it may never reach the disk, although reads go on to show it.
    pub fn fail_at(&self, operation: u64, fault: Fault, lasts: Lasts) {
        self.lock().fault = Some((operation, fault, lasts));
    }

    /// From now on everything works.
    pub fn clear(&self) {
        self.lock().fault = None;
    }

    /// The disk as it is found after the power went now. This one stays as it is, so that others can be made of it.
    pub fn after_crash(&self, survival: Survival, seed: u64) -> Self {
        let state = self.lock();
        Self::with(state.survives(survival, &mut Dice::new(seed)))
    }

    /// The disk with something wrong in what is synced. This one stays as it is.
    pub fn damaged(&self, damage: Damage, seed: u64) -> Self {
        let mut blocks = self.lock().synced.clone();
        let (mut dice, len) = (Dice::new(seed), blocks.len());
        let sectors = len.div_ceil(SECTOR as u64).max(1);
        match damage {
            Damage::Flip if len > 0 => blocks.flip(dice.below(len * 8)),
            Damage::Sector | Damage::Page if len > 0 => {
                let size = if damage == Damage::Page { 8 * SECTOR } else { SECTOR };
                let junk = dice.bytes(size);
                let at = dice.below(len.div_ceil(size as u64)) * size as u64;
                blocks.write(at, &junk[..(len - at).min(size as u64) as usize]);
            }
            Damage::Truncated => blocks.set_len(dice.below(sectors) * SECTOR as u64),
            Damage::Emptied => blocks.set_len(0),
            Damage::Flip | Damage::Sector | Damage::Page => {}
        }
        Self::with(blocks)
    }

    /// The disk with one bit of what is synced flipped.
    pub fn flipped(&self, bit: u64) -> Self {
        let mut blocks = self.lock().synced.clone();
        blocks.flip(bit);
        Self::with(blocks)
    }

    /// What reads show now.
    pub fn bytes(&self) -> Vec<u8> {
        let state = self.lock();
        let mut bytes = vec![0; usize::try_from(state.shown.len()).unwrap_or(0)];
        state.shown.read(0, &mut bytes);
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn power() -> io::Error {
    io::Error::other("the power is gone")
}

impl State {
    /// Counts an operation; the error that it ends with, and whether it was in flight when the power went.
    fn begin(&mut self) -> Result<(), (io::Error, bool)> {
        self.operations += 1;
        let now = self.operations;
        if let Some(at) = self.crash_at.filter(|at| *at <= now) {
            return Err((power(), at == now));
        }
        let Some((at, fault, lasts)) = self.fault.filter(|(at, ..)| *at <= now) else { return Ok(()) };
        if lasts == Lasts::Once && at < now {
            return Ok(());
        }
        // As the system says it, so that whoever tells a full disk from a broken one is tried too.
        let code = match fault {
            Fault::Io => rustix::io::Errno::IO,
            Fault::Full => rustix::io::Errno::NOSPC,
        };
        Err((code.into(), false))
    }

    fn change(&mut self, change: Waiting) -> io::Result<()> {
        match self.begin() {
            Ok(()) => {}
            Err((error, in_flight)) => {
                if in_flight {
                    self.waiting.push(change);
                }
                return Err(error);
            }
        }
        apply(&mut self.shown, &change);
        self.waiting.push(change);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Err((error, _)) = self.begin() {
            if self.crash_at.is_none_or(|at| at > self.operations) {
                // The system told once, and takes the pages for written from now on: nothing brings them back.
                self.waiting.clear();
            }
            return Err(error);
        }
        for change in self.waiting.drain(..) {
            apply(&mut self.synced, &change);
        }
        Ok(())
    }

    fn survives(&self, survival: Survival, dice: &mut Dice) -> Blocks {
        let mut found = self.synced.clone();
        match survival {
            Survival::Nothing => {}
            Survival::Prefix => {
                let kept = dice.below(self.waiting.len() as u64 + 1) as usize;
                self.waiting.iter().take(kept).for_each(|change| apply(&mut found, change));
                if let Some(Waiting::Write(at, bytes)) = self.waiting.get(kept) {
                    // Sectors are counted from the disk's beginning, not from the write's.
                    let torn = (dice.below(bytes.len() as u64 + 1) + at) / SECTOR as u64 * SECTOR as u64;
                    found.write(*at, &bytes[..torn.saturating_sub(*at) as usize]);
                }
            }
            Survival::Sectors => self.scatter(&mut found, dice),
            Survival::Everything => self.waiting.iter().for_each(|change| apply(&mut found, change)),
            Survival::Junk => {
                let before = found.len();
                let after = self.waiting.iter().fold(before, |len, change| len.max(change.end()));
                // Whole mebibytes of junk would tell no more than what lies where the growth begins and ends.
                for at in [before, after.saturating_sub(JUNK).max(before)] {
                    found.write(at, &dice.bytes((after - at).min(JUNK) as usize));
                }
                found.set_len(after);
                self.scatter(&mut found, dice);
                found.set_len(after.max(found.len()));
            }
        }
        found
    }

    fn scatter(&self, found: &mut Blocks, dice: &mut Dice) {
        for change in &self.waiting {
            match change {
                Waiting::Length(len) if dice.coin() => found.set_len(*len),
                Waiting::Length(_) => {}
                Waiting::Write(at, bytes) => {
                    let mut from = 0;
                    while from < bytes.len() {
                        let to = (from + SECTOR - (*at as usize + from) % SECTOR).min(bytes.len());
                        if dice.coin() {
                            found.write(at + from as u64, &bytes[from..to]);
                        }
                        from = to;
                    }
                }
            }
        }
    }
}

const JUNK: u64 = 64 << 10;

impl Waiting {
    /// How long the file is at least, once this is done.
    fn end(&self) -> u64 {
        match self {
            Self::Length(len) => *len,
            Self::Write(at, bytes) => at + bytes.len() as u64,
        }
    }
}

fn apply(blocks: &mut Blocks, change: &Waiting) {
    match change {
        Waiting::Write(at, bytes) => blocks.write(*at, bytes),
        Waiting::Length(len) => blocks.set_len(*len),
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().shown.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if state.crash_at.is_some_and(|at| at <= state.operations) {
            return Err(power());
        }
        if offset + out.len() as u64 > state.shown.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.shown.read(offset, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().change(Waiting::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.lock().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock().change(Waiting::Write(offset, data.to_vec()))
    }
}

#[cfg(test)]
mod tests;
