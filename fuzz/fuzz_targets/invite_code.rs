//! See [`larder_fuzz::codecs::fuzz_invite_code`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::codecs::fuzz_invite_code(data));
