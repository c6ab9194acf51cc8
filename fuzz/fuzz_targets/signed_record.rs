//! See [`larder_fuzz::membership::fuzz_signed_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::membership::fuzz_signed_record(data));
