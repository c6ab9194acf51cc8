//! Larder's benchmarks. Each figure is also given as a ratio to something measured in the same run, because
//! hosts differ and timings are noisy.
//!
//! | module            | compares                                                                          |
//! |-------------------|-----------------------------------------------------------------------------------|
//! | [`write_latency`] | a write until a neighbour has it, with a minimum: disk, round trip, signatures    |
//! | [`sync`]          | the sync of two copies, with Automerge's own protocol on the same documents       |
//! | [`retraction`]    | retracting a removed member's changes, with opening the store                     |
//! | [`queries`]       | queries of a long history, with their time limits                                 |
//! | [`node_pair`]     | two nodes in memory, counted in bytes on the wire                                 |
//!
//! `cargo bench -p larder-tests` runs all benchmarks; words after `--` select those whose name contains one.
//! No limit is checked here. `docs/benchmarks.md` has the results.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "a bench says no by a panic")]

mod node_pair;
mod queries;
mod retraction;
mod sync;
mod write_latency;

use std::time::Duration;

/// The number of measurements of a figure. The median is printed.
const TRIALS: usize = 5;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let benches: [(&str, fn()); 6] = [
        ("visible", write_latency::measure_write_latency),
        ("reconnect", sync::measure_sync_of_equal_copies),
        ("merge", sync::measure_sync_of_diverged_copies),
        ("retract", retraction::measure_retraction),
        ("asked", queries::measure_100_000_changes),
        ("million", queries::measure_1_000_000_changes),
    ];
    for (name, bench) in benches {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            println!("\n{name}");
            bench();
        }
    }
}

/// The median; of an even number of figures, the upper one of the middle two.
fn median<T: Ord + Copy>(figures: &mut [T]) -> T {
    figures.sort_unstable();
    figures[figures.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
