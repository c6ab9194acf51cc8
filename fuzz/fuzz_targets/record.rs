//! See [`larder_fuzz::records::fuzz_records`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::records::fuzz_records(data));
