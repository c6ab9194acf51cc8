//! See [`larder_fuzz::store_file::fuzz_store_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::store_file::fuzz_store_file(data));
