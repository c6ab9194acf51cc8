//! Larder's first figures, each as a ratio to something measured in the same run, since machines differ and
//! are noisy.
//!
//! | room        | compares                                                                                       |
//! |-------------|------------------------------------------------------------------------------------------------|
//! | [`visible`] | a write seen on a neighbour, with what it cannot do without: a disk, a wire, two signatures    |
//! | [`meet`]    | two copies that meet, with Automerge's own sync protocol on the same two documents             |
//! | [`retract`] | a document that gives up what a removed member wrote, with opening its store                       |
//! | [`asked`]   | questions to a long history, with the time in which they are to be answered                      |
//! | [`pair`]    | two nodes with nothing between them but a count of the bytes                                   |
//!
//! `cargo bench -p larder-tests` runs all; a name behind `--` runs what contains it. No limit is set here:
//! what the figures were is in `docs/benchmarks.md`.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "a bench says no by a panic")]

mod node_pair;
mod queries;
mod retraction;
mod sync;
mod write_latency;

use std::time::Duration;

/// How often a figure is taken; the median is told.
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

/// The middle one, or of an even number the upper of the two.
fn median<T: Ord + Copy>(figures: &mut [T]) -> T {
    figures.sort_unstable();
    figures[figures.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
