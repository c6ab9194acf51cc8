//! See [`larder_fuzz::damaged_rows::fuzz_rows`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::damaged_rows::fuzz_rows(data));
