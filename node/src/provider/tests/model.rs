//! Random sequences of desired states, hand edits, restarts and kills, compared with an oracle.
//!
//! The oracle says what every file holds after each step, and which contents must be in their place or among
//! those that are kept. A sequence follows from a seed. A failing one is shrunk and printed; it belongs into
//! `SAVED` below.

mod oracle;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use world::World;

/// Steps of one sequence.
const STEPS: usize = 50;

/// The places of files, by number: slots.
pub(super) const SLOTS: usize = 6;
/// The spellings of paths, by number.
pub(super) const PATHS: usize = 8;
/// The keys of configs.
pub(super) const KEYS: [&str; 3] = ["x", "y", "z"];

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Op {
    /// A resource is set and applied.
    Set { resource: u8, path: u8, value: u8, keys: u8, crash: Crash },
    /// A resource is removed.
    Remove { resource: u8, crash: Crash },
    /// A resource is deselected.
    Release { resource: u8, crash: Crash },
    /// A resource is applied once more.
    Apply { resource: u8, crash: Crash },
    /// A person or another program changes a place.
    Hand { slot: u8, edit: HandEdit },
    /// The daemon starts again; the link to the first root may lead elsewhere.
    Restart { flip: bool },
}

/// Where the daemon is killed during a step.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Crash {
    None,
    /// At a crash point, and perhaps once more while it recovers.
    At(u8, Option<u8>),
    /// After the provider, before the daemon stored what it applied.
    BeforeStored,
}

/// A change by hand.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum HandEdit {
    Write(u8),
    Swap(u8),
    Append(u8),
    SetKey(u8, u8),
    RemoveKey(u8),
    CutLineEnd,
    CopyFrom(u8),
    HardLinkTo(u8),
    Delete,
    Directory,
    Symlink,
}

/// A small generator of numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u8 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u8::try_from((mixed ^ (mixed >> 31)) % limit).unwrap()
    }

    fn crash(&mut self) -> Crash {
        match self.below(8) {
            0 | 1 => {
                let again = (self.below(4) == 0).then(|| self.below(14));
                Crash::At(self.below(14), again)
            }
            2 => Crash::BeforeStored,
            _ => Crash::None,
        }
    }

    fn op(&mut self) -> Op {
        let resource = self.below(world::RESOURCES.len() as u64);
        match self.below(20) {
            0..=6 => Op::Set {
                resource,
                path: self.below(PATHS as u64),
                value: self.below(4),
                keys: self.below(8),
                crash: self.crash(),
            },
            7 => Op::Remove { resource, crash: self.crash() },
            8 => Op::Release { resource, crash: self.crash() },
            9..=10 => Op::Apply { resource, crash: self.crash() },
            11 => Op::Restart { flip: self.below(3) == 0 },
            _ => Op::Hand { slot: self.below(SLOTS as u64), edit: self.edit() },
        }
    }

    fn edit(&mut self) -> HandEdit {
        match self.below(14) {
            0..=1 => HandEdit::Write(self.below(4)),
            2..=3 => HandEdit::Swap(self.below(4)),
            4 => HandEdit::Append(self.below(4)),
            5..=6 => HandEdit::SetKey(self.below(3), self.below(4)),
            7 => HandEdit::RemoveKey(self.below(3)),
            8 => HandEdit::CutLineEnd,
            9 => HandEdit::CopyFrom(self.below(SLOTS as u64)),
            10 => HandEdit::HardLinkTo(self.below(SLOTS as u64)),
            11 => HandEdit::Directory,
            12 => HandEdit::Symlink,
            _ => HandEdit::Delete,
        }
    }
}

/// Runs a sequence. A violation is returned with the number of its step.
fn run(ops: &[Op]) -> Result<(), String> {
    let mut world = World::new();
    for (nth, op) in ops.iter().enumerate() {
        let step = catch_unwind(AssertUnwindSafe(|| world.step(op)));
        let result = step.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| "a panic without text".to_owned()))
        });
        result.map_err(|error| format!("step {nth}, {op:?}: {error}"))?;
    }
    Ok(())
}

/// Removes steps as long as the sequence still fails.
fn shrink(mut ops: Vec<Op>) -> Vec<Op> {
    let mut size = ops.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < ops.len() {
            let end = (start + size).min(ops.len());
            let shorter: Vec<Op> = [&ops[..start], &ops[end..]].concat();
            if run(&shorter).is_err() {
                ops = shorter;
            } else {
                start = end;
            }
        }
        size /= 2;
    }
    ops
}

fn run_seeds(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut numbers = Numbers(seed << 20);
        let ops: Vec<Op> = (0..STEPS).map(|_| numbers.op()).collect();
        if let Err(error) = run(&ops) {
            let ops = shrink(ops);
            let shrunk = run(&ops).err().unwrap_or_default();
            let json = serde_json::to_string(&ops).unwrap();
            panic!("seed {seed}: {error}\nshrunk to {} steps: {shrunk}\n{json}", ops.len());
        }
    }
}

#[test]
fn random_sequences_lose_nothing_that_larder_did_not_write() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let first = number("LARDER_MODEL_FIRST_SEED", 0);
    run_seeds(first..first + number("LARDER_MODEL_SEEDS", 100));
}

/// Shrunk sequences that once failed.
const SAVED: &[&str] = &[];

#[test]
fn saved_sequences_pass() {
    for json in SAVED {
        let ops: Vec<Op> = serde_json::from_str(json).unwrap();
        run(&ops).unwrap_or_else(|error| panic!("{error}: {json}"));
    }
}
