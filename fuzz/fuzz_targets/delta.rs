//! See [`larder_fuzz::codecs::fuzz_delta`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::codecs::fuzz_delta(data));
