//! The simulator, with bytes for its decisions: a whole world that is played as they say.

use larder_tests::sim::{generate_plan_from_bytes, run_plan};

/// Plays the plan that these bytes draw.
pub fn fuzz_sim(data: &[u8]) {
    let plan = generate_plan_from_bytes(data);
    if let Err(failure) = run_plan(&plan) {
        let json = serde_json::to_string(&plan).unwrap_or_default();
        panic!("{} {}\n{}\n{json}", failure.invariant.id(), failure.detail, plan.summary());
    }
}
