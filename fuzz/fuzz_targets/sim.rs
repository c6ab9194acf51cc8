//! See [`larder_fuzz::sim::fuzz_sim`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::sim::fuzz_sim(data));
