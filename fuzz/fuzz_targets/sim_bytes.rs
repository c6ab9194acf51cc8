//! See [`larder_fuzz::sim_bytes::sim_bytes`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::sim_bytes::sim_bytes(data));
