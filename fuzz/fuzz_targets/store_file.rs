//! See [`larder_fuzz::store_file::store_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::store_file::store_file(data));
