//! The simulator's runs that every change must pass.

use larder_tests::sim::play;

/// How many seeds are tried. `LARDER_SIM_FIRST` and `LARDER_SIM_SEEDS` choose others.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("LARDER_SIM_FIRST").unwrap_or(0);
    first..first + number("LARDER_SIM_SEEDS").unwrap_or(60)
}

#[test]
fn every_world_converges_and_loses_nothing() {
    let mut failed = Vec::new();
    let (mut inputs, mut acknowledged, mut conflicts) = (0, 0, 0);
    for seed in seeds() {
        match std::panic::catch_unwind(|| play(seed)) {
            Ok(Ok(outcome)) => {
                inputs += outcome.inputs;
                acknowledged += outcome.acknowledged;
                conflicts += outcome.conflicts;
            }
            Ok(Err(what)) => failed.push(format!("seed {seed}: {what}")),
            Err(_) => failed.push(format!("seed {seed}: panicked")),
        }
    }
    eprintln!("{inputs} inputs, {acknowledged} writes acknowledged, {conflicts} conflicts left");
    assert!(failed.is_empty(), "replay with LARDER_SIM_FIRST=SEED LARDER_SIM_SEEDS=1\n{}", failed.join("\n"));
    assert!(acknowledged > 0 && conflicts > 0, "the worlds must do something");
}

#[test]
fn the_same_seed_makes_the_same_history() {
    for seed in 1000..1004 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}
