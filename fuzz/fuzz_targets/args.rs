//! See [`larder_fuzz::texts::args`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::texts::args(data));
