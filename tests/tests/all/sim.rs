//! The runs of the simulator that every change must pass. `docs/testing.md` says what they prove.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_tests::sim::canary::{CANARIES, Canary, create_workspace};
use larder_tests::sim::{Invariant, Plan, PlannedOp, generate_plan, run_plan, run_plan_logged};

tests! {
    every_canary_can_be_planted,
    every_world_converges_and_loses_nothing,
    every_saved_plan_that_once_failed_now_holds,
    the_same_plan_makes_the_same_history_in_any_process,
    wrong_clocks_change_no_final_value,
    plans_round_trip_through_json,
}

/// The seeds to run. `LARDER_SIM_FIRST` and `LARDER_SIM_SEEDS` choose others.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("LARDER_SIM_FIRST").unwrap_or(0);
    first..first + number("LARDER_SIM_SEEDS").unwrap_or(40)
}

/// Runs a plan. Returns a description of its failure with the last events, or `None` if it passes.
fn describe_failure(name: &str, plan: &Plan) -> Option<String> {
    let outcome = std::panic::catch_unwind(|| run_plan(plan));
    if let Ok(Ok(_)) = outcome {
        return None;
    }
    let again = format!("cargo run --release -p larder-tests --bin larder-sim -- replay {name}");
    let Ok(Err(failure)) = std::panic::catch_unwind(|| run_plan_logged(plan, false)) else {
        return Some(format!("{}: {name} panics; again:\n  {again}", Invariant::Sound.id()));
    };
    let (id, what, last) = (failure.invariant.id(), failure.detail, failure.last_events.join("\n    "));
    let plan = plan.summary();
    Some(format!("{id}: {name}, step {}: {what}\n  {plan}\n  again: {again}\n    {last}", failure.steps))
}

/// A canary whose text is not in the sources proves nothing. Without this test, that would be found only an
/// hour into a run.
fn every_canary_can_be_planted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace above this crate");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("canaries");
    let plant = |canary: &Canary| create_workspace(root, &copy).and_then(|()| canary.apply(&copy));
    let fails = |canary: &Canary| Some(format!("{}: {}", canary.name, plant(canary).err()?));
    let wrong: Vec<String> = CANARIES.iter().filter_map(fails).collect();
    std::fs::remove_dir_all(&copy).expect("a copy that can be removed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(CANARIES.len() > 20);
}

fn every_world_converges_and_loses_nothing() {
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    failed.lock().unwrap().extend(describe_failure(&seed.to_string(), &generate_plan(seed)));
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Every plan that ever failed is run again.
fn every_saved_plan_that_once_failed_now_holds() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    assert!(!files.is_empty());
    let read =
        |path: &PathBuf| serde_json::from_str::<Plan>(&std::fs::read_to_string(path).unwrap()).unwrap();
    let failed: Vec<String> =
        files.iter().filter_map(|path| describe_failure(&path.display().to_string(), &read(path))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn the_same_plan_makes_the_same_history_in_any_process() {
    let simulator = env!("CARGO_BIN_EXE_larder-sim");
    for seed in 1000..1003 {
        let outcome = run_plan(&generate_plan(seed)).unwrap();
        assert_eq!(run_plan(&generate_plan(seed)).as_ref(), Ok(&outcome), "seed {seed}");
        let other =
            std::process::Command::new(simulator).args(["trace", &seed.to_string()]).output().unwrap();
        let hash: String = outcome.trace.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(String::from_utf8_lossy(&other.stdout).trim(), hash, "seed {seed}");
    }
}

/// Wall clocks that jump by days change no final value.
fn wrong_clocks_change_no_final_value() {
    for seed in 2000..2006 {
        let mut plan = generate_plan(seed);
        plan.faults.drift = 0;
        // The sides of a conflict are sorted by id, and the id of a change covers its time. A resolution by
        // position would therefore take another side.
        plan.steps.retain(|step| !matches!(step.op, PlannedOp::Clock { .. } | PlannedOp::Resolve { .. }));
        let straight = run_plan(&plan).unwrap();
        // A clock jump takes no time, so it changes no other event.
        let wild_steps: Vec<_> = plan.steps.iter().flat_map(|step| with_clock_jump(step.clone())).collect();
        plan.steps = wild_steps;
        let wild = run_plan(&plan).unwrap();
        assert_ne!(wild.trace, straight.trace, "seed {seed}: the clocks stepped");
        assert_eq!(wild.values, straight.values, "seed {seed}");
    }
}

/// The step, preceded by a clock jump of the same node.
fn with_clock_jump(step: larder_tests::sim::Step) -> [larder_tests::sim::Step; 2] {
    let by = i64::try_from(step.after % 4_000_000).unwrap_or(0) * 60 - 86_400;
    let clock = larder_tests::sim::Step { after: 0, node: step.node, op: PlannedOp::Clock { by } };
    [clock, step]
}

fn plans_round_trip_through_json() {
    for seed in 0..50 {
        let plan = generate_plan(seed);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
