//! See [`larder_fuzz::text_parsers::fuzz_settings`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::text_parsers::fuzz_settings(data));
