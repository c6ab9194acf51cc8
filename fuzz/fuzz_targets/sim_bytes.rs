//! See [`larder_fuzz::fuzz_sim::fuzz_sim`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::sim_bytes::fuzz_sim(data));
