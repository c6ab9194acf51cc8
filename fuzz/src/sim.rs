//! A run of the simulator with a plan that the bytes describe.

use larder_tests::sim::{generate_plan_from_bytes, run_plan};

/// Runs the plan that the bytes describe.
pub fn fuzz_sim(data: &[u8]) {
    let plan = generate_plan_from_bytes(data);
    if let Err(failure) = run_plan(&plan) {
        let json = serde_json::to_string(&plan).unwrap_or_default();
        panic!("{} {}\n{}\n{json}", failure.invariant.id(), failure.detail, plan.summary());
    }
}
