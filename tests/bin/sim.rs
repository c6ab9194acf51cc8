//! The simulator's command: long runs, replays, shrinking.

#![allow(clippy::panic, clippy::expect_used, reason = "this is a test: a panic is how it says no")]

use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand};
use larder_tests::sim::canary::{CANARIES, create_workspace};
use larder_tests::sim::{
    Coverage, FIRST_SMALL_SEED, Plan, RunFailure, SITUATIONS, generate_plan, run_plan, run_plan_logged,
    shrink_plan,
};

/// Plays worlds of nodes from seeds.
#[derive(Parser)]
#[command(name = "larder-sim")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play many seeds; say what failed, how fast it went and which rare situations were reached.
    Run {
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Small and short worlds in which members change, are copied, and lie.
        #[arg(long)]
        small: bool,
        /// How many.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// How many at the same time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// Fail if a rare situation was not reached.
        #[arg(long)]
        marks: bool,
        /// Stop at the first that fails.
        #[arg(long)]
        stop: bool,
    },
    /// Play one plan again, by seed or from a file, and tell its last events, or all.
    Replay {
        /// A seed, or a file that holds a plan.
        plan: String,
        /// Tell everything.
        #[arg(long)]
        loud: bool,
    },
    /// Cut a plan that fails down to the least that still does, and write it to a file.
    Shrink {
        /// A seed, or a file that holds a plan.
        plan: String,
        /// The file; by default one in tests/seeds, named by the invariant and the seed.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Print the hash over everything that happens in one run.
    Trace {
        /// The seed.
        seed: u64,
    },
    /// Plant defects in copies of the product, one at a time, and play until each is caught.
    Canaries {
        /// Only those whose name contains this.
        #[arg(default_value = "")]
        only: String,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Seeds that a defect may survive, and five times as many of small worlds; one that must hold is played with a
        /// fifth of them.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// How many at the same time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Print a plan as JSON.
    Plan {
        /// The seed.
        seed: u64,
    },
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run { first, small, seeds, jobs, marks, stop } => {
            let first = if small { first + FIRST_SMALL_SEED } else { first };
            options(&RunOptions { first, seeds, jobs, marks, stop })
        }
        Command::Canaries { only, first, seeds, jobs } => run_canaries(&only, first, seeds, jobs),
        Command::Replay { plan, loud } => replay_plan(&read_plan(&plan), loud),
        Command::Shrink { plan, out } => shrink_and_save(&read_plan(&plan), out),
        Command::Trace { seed } => match run_plan(&generate_plan(seed)) {
            Ok(outcome) => {
                println!("{}", hex(&outcome.trace));
                ExitCode::SUCCESS
            }
            Err(failure) => print_failure(&seed.to_string(), &failure),
        },
        Command::Plan { seed } => {
            println!("{}", json(&generate_plan(seed)));
            ExitCode::SUCCESS
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(plan: &Plan) -> String {
    serde_json::to_string_pretty(plan).expect("a plan is plain data")
}

/// A plan by its seed, or from a file.
fn read_plan(plan: &str) -> Plan {
    match plan.parse() {
        Ok(seed) => generate_plan(seed),
        Err(_) => {
            let text = std::fs::read_to_string(plan).unwrap_or_else(|error| panic!("{plan}: {error}"));
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{plan}: {error}"))
        }
    }
}

fn print_failure(name: &str, failure: &RunFailure) -> ExitCode {
    println!("{} {}: {}", failure.invariant.id(), name, failure.detail);
    for line in &failure.last_events {
        println!("    {line}");
    }
    ExitCode::FAILURE
}

fn replay_plan(plan: &Plan, loud: bool) -> ExitCode {
    let started = Instant::now();
    match run_plan_logged(plan, loud) {
        Ok(outcome) => {
            println!(
                "holds: {} events in {:.2?}, trace {}",
                outcome.events,
                started.elapsed(),
                hex(&outcome.trace)
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{}", plan.summary());
            print_failure(&format!("after {} of {} steps", failure.steps, plan.steps.len()), &failure)
        }
    }
}

fn shrink_and_save(plan: &Plan, out: Option<PathBuf>) -> ExitCode {
    // Plans that panic are tried again and again; what this program itself has to say is heard again afterwards.
    std::panic::set_hook(Box::new(|_| {}));
    let shrunk = shrink_plan(plan);
    drop(std::panic::take_hook());
    let Some(shrunk) = shrunk else {
        println!("nothing to shrink: the plan holds");
        return ExitCode::SUCCESS;
    };
    let name = format!("{}-{}.json", shrunk.failure.invariant.id().to_lowercase(), plan.seed);
    let out = out.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name));
    std::fs::write(&out, json(&shrunk.plan) + "\n")
        .unwrap_or_else(|error| panic!("{}: {error}", out.display()));
    println!(
        "{} of {} steps and {} of {} nodes are left after {} runs, in {}",
        shrunk.plan.steps.len(),
        plan.steps.len(),
        shrunk.plan.nodes,
        plan.nodes,
        shrunk.runs,
        out.display()
    );
    print_failure("still fails", &shrunk.failure)
}

#[derive(Default)]
struct RunTotals {
    marks: Coverage,
    events: u64,
    acknowledged: usize,
    slowest_heal_us: u64,
    failed: Vec<(u64, String)>,
}

struct RunOptions {
    first: u64,
    seeds: u64,
    jobs: usize,
    marks: bool,
    stop: bool,
}

fn options(run: &RunOptions) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicU64::new(run.first);
    let total = Mutex::new(RunTotals::default());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..run.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= run.first + run.seeds {
                        return;
                    }
                    if !run_seed(seed, &total) && run.stop {
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let total = total.into_inner().expect("no job panics");
    print_report(&total, run, started.elapsed().as_secs_f64())
}

/// So many small worlds are played in the time of a large one.
const SMALL_WORLDS_PER_LARGE: u64 = 5;

/// Plants every canary in a copy of the product, and plays until it is caught.
fn run_canaries(only: &str, first: u64, seeds: u64, jobs: usize) -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
    let (copy, built) = (root.join("target/canaries/src"), root.join("target/canaries/build"));
    let mut survived = Vec::new();
    for canary in CANARIES.iter().filter(|canary| canary.name.contains(only)) {
        let started = Instant::now();
        let planted = create_workspace(root, &copy).and_then(|()| canary.apply(&copy));
        planted.unwrap_or_else(|error| panic!("{}: {error}", canary.name));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Process::new(cargo);
        build.args(["build", "--quiet", "--offline", "--bin", "larder-sim"]).current_dir(&copy);
        // Altered code may well warn.
        build.env("CARGO_TARGET_DIR", &built).env("RUSTFLAGS", "--cap-lints warn -A warnings");
        assert!(build.status().is_ok_and(|status| status.success()), "{} does not build", canary.name);
        let seeds = if canary.must_hold { seeds.div_ceil(5) } else { seeds };
        // Small worlds first: there are many of them in a minute, and most defects show in a few.
        let caught = [true, false].into_iter().find_map(|small| {
            let seeds = if small { seeds.saturating_mul(SMALL_WORLDS_PER_LARGE) } else { seeds };
            let mut command = Process::new(built.join("debug/larder-sim"));
            command.args(["run", "--stop", "--first", &first.to_string()]);
            command.args(["--seeds", &seeds.to_string(), "--jobs", &jobs.to_string()]);
            command.args(small.then_some("--small"));
            let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", canary.name));
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            (!output.status.success()).then(|| stdout.lines().next().unwrap_or("-").to_owned())
        });
        let good = caught.is_none() == canary.must_hold;
        let caught = caught.unwrap_or_else(|| "-".to_owned());
        let verdict = match (good, canary.must_hold) {
            (true, true) => "holds",
            (true, false) => "caught",
            (false, true) => "FAILS",
            (false, false) => "SURVIVED",
        };
        println!("{verdict:<8} {:<16} {:>4.0?} {}", canary.name, started.elapsed(), canary.description);
        println!("         by {}", caught.chars().take(140).collect::<String>());
        if !good {
            survived.push(canary.name);
        }
    }
    if survived.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays one seed; false if something did not hold.
fn run_seed(seed: u64, total: &Mutex<RunTotals>) -> bool {
    let result = std::panic::catch_unwind(|| run_plan(&generate_plan(seed)));
    let mut total = total.lock().expect("no job panics");
    match result {
        Ok(Ok(outcome)) => {
            total.marks.merge(&outcome.marks);
            total.events += outcome.events;
            total.acknowledged += outcome.acknowledged;
            total.slowest_heal_us = total.slowest_heal_us.max(outcome.healed_after_us);
        }
        Ok(Err(failure)) => {
            let first = failure.detail.lines().next().unwrap_or_default().to_owned();
            println!("{} seed {seed}, step {}: {first}", failure.invariant.id(), failure.steps);
            total.failed.push((seed, failure.invariant.id()));
        }
        Err(_) => {
            println!("I11 seed {seed}: a panic");
            total.failed.push((seed, "I11".to_owned()));
        }
    }
    total.failed.is_empty()
}

fn print_report(total: &RunTotals, run: &RunOptions, seconds: f64) -> ExitCode {
    let RunOptions { seeds, jobs, marks: need_marks, .. } = *run;
    println!(
        "{seeds} seeds, {} events, {} writes acknowledged, {seconds:.1} s: {:.0} events a second and job; slowest heal {:.1} s",
        total.events,
        total.acknowledged,
        total.events as f64 / seconds / jobs.max(1) as f64,
        total.slowest_heal_us as f64 / 1e6,
    );
    for (name, what) in SITUATIONS {
        println!("{:>10}  {name:<20} {what}", total.marks.count(name));
    }
    let missing = total.marks.unreached();
    if !missing.is_empty() {
        println!("not reached: {}", missing.join(", "));
    }
    match total.failed.first() {
        Some((seed, _)) => {
            println!(
                "{} of {seeds} failed; again: cargo run --release -p larder-tests --bin larder-sim -- replay {seed}",
                total.failed.len()
            );
            ExitCode::FAILURE
        }
        None if need_marks && !missing.is_empty() => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}
