//! The simulator's command: long runs, replays, shrinking, canaries.

#![allow(clippy::panic, clippy::expect_used, reason = "this is a test: a panic is how it fails")]

use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand};
use larder_tests::sim::canary::{CANARIES, Canary, create_workspace};
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
    /// Play many seeds; print failures, speed, and the rare situations that were reached.
    Run(RunOptions),
    /// Play one plan again and print its last events.
    Replay {
        /// A seed, or a file that holds a plan.
        plan: String,
        /// Print all events.
        #[arg(long)]
        print_events: bool,
    },
    /// Cut a failing plan down to the smallest one that still fails, and write it to a file.
    Shrink {
        /// A seed, or a file that holds a plan.
        plan: String,
        /// The file; by default one in tests/seeds, named by the invariant and the seed.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Print the hash over all events of one run.
    Trace {
        /// The seed.
        seed: u64,
    },
    /// Plant defects in copies of the product, one at a time, and play until each is caught.
    Canaries(CanaryOptions),
    /// Print a plan as JSON.
    Plan {
        /// The seed.
        seed: u64,
    },
}

#[derive(clap::Args)]
struct RunOptions {
    /// Play from this seed on.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Play small and short worlds in which members change, are copied, and forge history.
    #[arg(long)]
    small: bool,
    /// Play this number of seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Play this number of worlds at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Fail if a rare situation was not reached.
    #[arg(long)]
    require_coverage: bool,
    /// Stop at the first failure.
    #[arg(long)]
    fail_fast: bool,
}

#[derive(clap::Args)]
struct CanaryOptions {
    /// Plant only the canaries whose name contains this text.
    filter: Option<String>,
    /// Play from this seed on.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Play this number of seeds, and five times as many of small worlds, until a defect counts as missed. A
    /// canary that must hold is played with a fifth of them.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Play this number of worlds at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Play only this number of the defects; `--first` selects them.
    #[arg(long)]
    rotate: Option<usize>,
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(options) => run_seeds(&options),
        Command::Canaries(options) => run_canaries(&options),
        Command::Replay { plan, print_events } => replay_plan(&read_plan(&plan), print_events),
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

/// Reads a plan from a file, or generates the plan of a seed.
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

fn replay_plan(plan: &Plan, print_events: bool) -> ExitCode {
    let started = Instant::now();
    match run_plan_logged(plan, print_events) {
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
    // Shrinking runs many plans that panic, so their messages are dropped.
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
    coverage: Coverage,
    events: u64,
    acknowledged: usize,
    slowest_heal_us: u64,
    failed: Vec<(u64, String)>,
}

fn run_seeds(run: &RunOptions) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let first = if run.small { run.first + FIRST_SMALL_SEED } else { run.first };
    let next = AtomicU64::new(first);
    let total = Mutex::new(RunTotals::default());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..run.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + run.seeds {
                        return;
                    }
                    if !run_seed(seed, &total) && run.fail_fast {
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let total = total.into_inner().expect("no job panics");
    print_report(&total, run, started.elapsed().as_secs_f64())
}

/// The number of small worlds that take as long as a large one.
const SMALL_WORLDS_PER_LARGE: u64 = 5;

/// The directories in which canaries are planted and built.
struct CanaryWorkspace {
    root: &'static Path,
    copy: PathBuf,
    built: PathBuf,
}

impl CanaryWorkspace {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
        Self { root, copy: root.join("target/canaries/src"), built: root.join("target/canaries/build") }
    }

    /// Plants a canary in a fresh copy of the product, and builds it.
    fn plant(&self, canary: &Canary) {
        let planted = create_workspace(self.root, &self.copy).and_then(|()| canary.apply(&self.copy));
        planted.unwrap_or_else(|error| panic!("{}: {error}", canary.name));
        let mut cargo = Process::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--offline", "--bin", "larder-sim"]).current_dir(&self.copy);
        // A planted defect may cause warnings.
        cargo.env("CARGO_TARGET_DIR", &self.built).env("RUSTFLAGS", "--cap-lints warn -A warnings");
        assert!(cargo.status().is_ok_and(|status| status.success()), "{} does not compile", canary.name);
    }

    /// Plays worlds of the planted product; returns the first failure.
    fn first_failure(&self, canary: &Canary, options: &CanaryOptions) -> Option<String> {
        let seeds = if canary.must_hold { options.seeds.div_ceil(5) } else { options.seeds };
        // Small worlds run first: many of them fit into a minute, and a few of them show most defects.
        [true, false].into_iter().find_map(|small| {
            let seeds = if small { seeds.saturating_mul(SMALL_WORLDS_PER_LARGE) } else { seeds };
            let mut command = Process::new(self.built.join("debug/larder-sim"));
            command.args(["run", "--fail-fast", "--first", &options.first.to_string()]);
            command.args(["--seeds", &seeds.to_string(), "--jobs", &options.jobs.to_string()]);
            command.args(small.then_some("--small"));
            let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", canary.name));
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            (!output.status.success()).then(|| stdout.lines().next().unwrap_or("-").to_owned())
        })
    }
}

/// True for a canary that is played: one that must hold, or a selected defect.
fn is_played(canary: &Canary, options: &CanaryOptions) -> bool {
    let Some(rotate) = options.rotate else { return true };
    let defects: Vec<&str> =
        CANARIES.iter().filter(|canary| !canary.must_hold).map(|canary| canary.name).collect();
    let start = usize::try_from(options.first % defects.len() as u64).unwrap_or(0);
    let mut turn = defects.iter().cycle().skip(start).take(rotate);
    canary.must_hold || turn.any(|name| *name == canary.name)
}

/// Plants each canary in a copy of the product, and plays until it is caught.
fn run_canaries(options: &CanaryOptions) -> ExitCode {
    let workspace = CanaryWorkspace::new();
    let filter = options.filter.as_deref().unwrap_or_default();
    let mut wrong = Vec::new();
    for canary in CANARIES.iter().filter(|canary| canary.name.contains(filter)) {
        let started = Instant::now();
        if !is_played(canary, options) {
            continue;
        }
        workspace.plant(canary);
        let failure = workspace.first_failure(canary, options);
        let verdict = match (&failure, canary.must_hold) {
            (None, true) => "holds",
            (Some(_), false) => "caught",
            (Some(_), true) => "FAILS",
            (None, false) => "SURVIVED",
        };
        println!("{verdict:<8} {:<16} {:>4.0?} {}", canary.name, started.elapsed(), canary.description);
        println!("         by {}", failure.as_deref().unwrap_or("-").chars().take(140).collect::<String>());
        if failure.is_none() != canary.must_hold {
            wrong.push(canary.name);
        }
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays one seed; returns false if an invariant was violated.
fn run_seed(seed: u64, total: &Mutex<RunTotals>) -> bool {
    let result = std::panic::catch_unwind(|| run_plan(&generate_plan(seed)));
    let mut total = total.lock().expect("no job panics");
    match result {
        Ok(Ok(outcome)) => {
            total.coverage.merge(&outcome.coverage);
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
    let RunOptions { seeds, jobs, require_coverage, .. } = *run;
    println!(
        "{seeds} seeds, {} events, {} writes acknowledged, {seconds:.1} s: {:.0} events a second and job; \
         slowest heal {:.1} s",
        total.events,
        total.acknowledged,
        total.events as f64 / seconds / jobs.max(1) as f64,
        total.slowest_heal_us as f64 / 1e6,
    );
    for (name, what) in SITUATIONS {
        println!("{:>10}  {name:<20} {what}", total.coverage.count(name));
    }
    let missing = total.coverage.unreached();
    if !missing.is_empty() {
        println!("not reached: {}", missing.join(", "));
    }
    match total.failed.first() {
        Some((seed, _)) => {
            println!(
                "{} of {seeds} failed; again: cargo run --release -p larder-tests --bin larder-sim -- \
                 replay {seed}",
                total.failed.len()
            );
            ExitCode::FAILURE
        }
        None if require_coverage && !missing.is_empty() => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}
