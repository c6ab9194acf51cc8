//! Runs every fuzz target on its seeds and on random inputs, without libFuzzer. It needs neither a C++
//! compiler nor instrumentation. A panic ends the run, after the target and the input are printed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use clap::Parser;
use larder_fuzz::TARGETS;
use larder_fuzz::seeds::{decode_hex, encode_hex, generated_seeds};
use larder_tests::rng::TestRng;

/// The number of random inputs for each target, in addition to its seeds.
const RANDOM_INPUTS: u64 = 100;
const MAX_RANDOM_BYTES: u64 = 400;
/// The number of inputs of a target that simulates a whole world for each, about a third of a second.
/// `--seed` chooses them.
const MAX_WORLDS: usize = 40;

/// Runs every fuzz target on its seeds and on random inputs.
#[derive(Parser)]
struct Args {
    /// Run only the targets whose name contains this text.
    filter: Option<String>,
    /// Draw the random inputs from this seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the seeds that follow from the sources, instead of checking that they are up to date.
    #[arg(long)]
    write_seeds: bool,
}

fn main() {
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = BTreeSet::from(TARGETS.map(|(name, _)| name.to_owned()));
    assert_eq!(target_files(root), listed, "fuzz_targets and TARGETS");
    let filter = args.filter.unwrap_or_default();
    for (name, run) in TARGETS.iter().filter(|(name, _)| name.contains(&filter)) {
        let seed_file = root.join("seeds").join(format!("{name}.hex"));
        if args.write_seeds {
            write_generated_seeds(name, &seed_file);
        }
        let mut inputs = read_seeds(&seed_file);
        let is_current = generated_seeds(name).is_none_or(|generated| generated == inputs);
        assert!(is_current, "the seeds of {name} are old; write them again with --write-seeds");
        let seeds = inputs.len();
        let mut random_inputs = RANDOM_INPUTS;
        if *name == "sim" {
            inputs.rotate_left(usize::try_from(args.seed).unwrap_or(0) % seeds.max(1));
            inputs.truncate(MAX_WORLDS);
            random_inputs = MAX_WORLDS as u64 / 2;
        }
        let mut rng = TestRng::new(args.seed, name);
        inputs.extend((0..random_inputs).map(|_| {
            let len = rng.index(usize::try_from(MAX_RANDOM_BYTES).unwrap_or(0));
            rng.bytes(len)
        }));
        let start = Instant::now();
        for input in &inputs {
            let guard = PrintOnPanic { name, input };
            run(input);
            drop(guard);
        }
        println!(
            "{name:<15} {:>5} of {seeds} seeds, {random_inputs} random inputs, {:.1} s",
            inputs.len() - random_inputs as usize,
            start.elapsed().as_secs_f64()
        );
    }
}

/// Prints the input of a target that panics.
struct PrintOnPanic<'a> {
    name: &'a str,
    input: &'a [u8],
}

impl Drop for PrintOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{} fails on {}", self.name, encode_hex(self.input));
        }
    }
}

fn target_files(root: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(root.join("fuzz_targets")).expect("the targets are files");
    let paths = files.map(|entry| entry.expect("a readable entry").path());
    paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

/// Reads a file of seeds, one in hex on each line.
fn read_seeds(path: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(decode_hex).collect()
}

fn write_generated_seeds(target: &str, path: &Path) {
    let Some(seeds) = generated_seeds(target) else { return };
    let text: String = seeds.iter().map(|seed| encode_hex(seed) + "\n").collect();
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
