//! The simulator, with bytes for its decisions: a whole world that is played as they say.

use larder_tests::sim::{draw_from, play};

/// Plays the plan that these bytes draw.
pub fn sim_bytes(data: &[u8]) {
    let plan = draw_from(data);
    if let Err(failure) = play(&plan) {
        let json = serde_json::to_string(&plan).unwrap_or_default();
        panic!("{} {}\n{}\n{json}", failure.invariant.id(), failure.what, plan.summary());
    }
}
