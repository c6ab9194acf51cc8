//! The test harness of this binary. It works like libtest, with one difference: a test that needs something
//! that this host lacks is reported as ignored, with the reason, and the run ends with the number of such
//! tests.
//!
//! A test is a function without arguments. Each module lists its tests in [`tests!`], and `main` lists the
//! modules. The compiler reports a test function or a module that is missing there as dead code.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{PanicHookInfo, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use larder_tests::requirement::MissingRequirement;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// A test of this binary.
pub(crate) struct Test {
    /// The path of the module, with the name of the binary.
    pub(crate) module: &'static str,
    /// The name of the function.
    pub(crate) name: &'static str,
    /// The function; it fails by a panic.
    pub(crate) run: fn(),
    /// The reason why the test runs only with `--ignored` or `--include-ignored`.
    pub(crate) ignored: Option<&'static str>,
}

/// Lists the tests of a module. `#[ignore = "reason"]` works as with libtest.
macro_rules! tests {
    ($($(#[ignore = $reason:literal])? $name:ident),* $(,)?) => {
        pub(crate) fn tests() -> Vec<$crate::harness::Test> {
            vec![$($crate::harness::Test {
                module: module_path!(),
                name: stringify!($name),
                run: $name,
                ignored: [$($reason)?].first().copied(),
            }),*]
        }
    };
}

/// Prints a line with `--nocapture`, or when the test fails.
macro_rules! report {
    ($($arg:tt)*) => { $crate::harness::report(&format!($($arg)*)) };
}

static NO_CAPTURE: AtomicBool = AtomicBool::new(false);
/// The missing requirements of tests that did not run, each with the number of these tests.
static MISSING: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

thread_local! {
    /// The lines of the test that runs on this thread; `None` on other threads.
    static OUTPUT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The function of [`report!`].
pub(crate) fn report(line: &str) {
    let captured = !NO_CAPTURE.load(Ordering::Relaxed) && append_output(line);
    if !captured {
        println!("{line}");
    }
}

fn append_output(line: &str) -> bool {
    OUTPUT.with_borrow_mut(|output| output.as_mut().map(|text| writeln!(text, "{line}"))).is_some()
}

/// Runs the `tests` that the command line selects. `LARDER_REQUIRE_LAB=1` makes tests that cannot run on this
/// host fail. `LARDER_SLOWEST_TESTS=N` prints the N slowest tests.
/// `LARDER_SLOWEST_TESTS=N` prints the N slowest.
pub(crate) fn run(tests: Vec<Test>) -> ExitCode {
    let mut args = Arguments::from_args();
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    args.test_threads = args.test_threads.or_else(|| number("RUST_TEST_THREADS"));
    NO_CAPTURE.store(args.nocapture, Ordering::Relaxed);
    let print_panic = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !append_output(&describe_panic(info)) {
            print_panic(info);
        }
    }));
    let trials = tests.into_iter().map(|test| trial(test, &args)).collect();
    let conclusion = libtest_mimic::run(&args, trials);
    print_slowest(number("LARDER_SLOWEST_TESTS").unwrap_or(0));
    print_missing();
    conclusion.exit_code()
}

fn describe_panic(info: &PanicHookInfo<'_>) -> String {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)");
    format!("panicked at {location}:\n{text}{backtrace}")
}

fn trial(test: Test, args: &Arguments) -> Trial {
    let module = test.module.split_once("::").map_or("", |(_, module)| module);
    let name = format!("{module}::{}", test.name);
    let runs_ignored = args.ignored || args.include_ignored;
    // `libtest_mimic` prints no reason for a test that is flagged, so the flag is set only where it selects
    // tests.
    let is_flagged = test.ignored.is_some() && (args.ignored || args.list);
    let reason = test.ignored.filter(|_| !runs_ignored);
    let run = {
        let name = name.clone();
        move || match reason {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => run_test(&name, test.run),
        }
    };
    Trial::ignorable_test(name, run).with_ignored_flag(is_flagged)
}

fn run_test(name: &str, run: fn()) -> Result<Completion, Failed> {
    OUTPUT.set(Some(String::new()));
    let start = Instant::now();
    let ended = catch_unwind(run);
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push((start.elapsed(), name.to_owned()));
    let output = OUTPUT.take().unwrap_or_default();
    let Err(payload) = ended else { return Ok(Completion::Completed) };
    let Some(missing) = payload.downcast_ref::<MissingRequirement>() else {
        return Err(output.into());
    };
    if std::env::var_os("LARDER_REQUIRE_LAB").is_some_and(|value| value == "1") {
        return Err(format!("{missing} (LARDER_REQUIRE_LAB=1 makes this a failure.)").into());
    }
    let mut all_missing = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
    *all_missing.entry(missing.to_string()).or_default() += 1;
    Ok(Completion::ignored_with(format!("needs {}", missing.what)))
}

fn print_slowest(count: usize) {
    let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    times.sort_by(|left, right| right.cmp(left));
    for (time, name) in times.iter().take(count) {
        println!("{:>7.1} s  {name}", time.as_secs_f64());
    }
}

fn print_missing() {
    let missing = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
    if missing.is_empty() {
        return;
    }
    println!(
        "{} tests DID NOT RUN, because this host lacks what they need:",
        missing.values().sum::<usize>()
    );
    for (text, count) in missing.iter() {
        println!("  {count} tests: {text}");
    }
    println!("LARDER_REQUIRE_LAB=1 makes such tests failures.\n");
}
